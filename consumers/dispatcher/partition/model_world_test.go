package partition

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"time"

	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// world is everything around the machines: the three logs, the router, the
// configuration, the group, the receivers and the clock. It also keeps what the
// promises are judged by.
type world struct {
	rnd     *rand.Rand
	cfg     Config
	without rule
	now     time.Duration
	trace   []string

	deliveries     []*facts.DeliveryCommand
	deliveriesFrom int64
	lanes          []*facts.LaneRecord
	lanesFrom      int64
	attempts       []*facts.AttemptFact
	keys           map[string]*facts.LaneRecord
	ghosts         []ghost // appends and trims of the dead
	trims          []Trim  // asked for, by whomever, not yet landed

	procs   []*proc
	owner   *proc // as the group believes
	gen     int32
	beat    time.Duration // the last heartbeat that the group answered
	hooks   []*hook
	changes []change
	router  *routerModel
	retries []*facts.DeliveryRetry // decided by the API, not yet appended

	epoch    uint64 // valid in `lanes`
	judge    *judge
	deafness bool  // see deaf
	swarm    []int // weights of the actions, of this schedule
	weight   int   // their sum
	err      error
	stats    struct{ sends, takeovers, repeats, crashes, drains int }
}

// ghost is an append of a process that died, which may land later.
type ghost struct {
	lane *facts.LaneRecord
	fact *facts.AttemptFact
}

// hook is a webhook with its receiver.
type hook struct {
	id      ids.ID
	state   State
	version uint64
	fails   float64 // probability
}

type change struct {
	hook    int
	state   State
	version uint64
	since   int64
}

func modelConfig() Config {
	c := Defaults()
	c.Schedule = []time.Duration{500 * time.Millisecond, time.Second}
	c.GiveUpAfter = 30 * time.Second
	c.Hold = 20 * time.Second
	c.PerWebhook = 2
	c.Breaker = Breaker{Failures: 3, Tries: 4, Percent: 75, ProbeAfter: 300 * time.Millisecond, ProbeMost: time.Second}
	c.MaxUndecided = 8
	c.SpillAfter = 100 * time.Millisecond
	c.LoadBatch = 4
	c.CheckpointEvery = 300 * time.Millisecond
	c.IdleAfter = 2 * time.Second
	c.ClockSkew = 200 * time.Millisecond
	c.RememberEnds = 20 * time.Second
	c.CarryBatch = 3
	c.CleanAbove = 6
	return c
}

const modelSession = 4 * time.Second

func newWorld(seed uint64, without rule) *world {
	w := &world{rnd: rand.New(rand.NewPCG(seed, 7)), cfg: modelConfig(), without: without, keys: make(map[string]*facts.LaneRecord)}
	w.judge = newJudge(w)
	// Each schedule has a taste of its own: what it does seldom lets it do
	// other things oftener.
	for _, a := range actions {
		if n := 4 * a.weight; a.weight < 100 {
			w.swarm = append(w.swarm, n*w.rnd.IntN(3)/2)
		} else {
			w.swarm = append(w.swarm, n)
		}
		w.weight += w.swarm[len(w.swarm)-1]
	}
	w.deafness = w.chance(0.4)
	w.router = newRouter(w)
	for i := range 3 {
		w.hooks = append(w.hooks, &hook{id: hookID(i), state: Active, version: 1, fails: []float64{0, 0.5}[w.rnd.IntN(2)]})
		w.changes = append(w.changes, change{hook: i, state: Active, version: 1})
	}
	w.landLane(InitialCheckpoint(0, 0))
	for i := range 3 {
		w.procs = append(w.procs, newProc(w, fmt.Sprintf("p%d", i)))
	}
	return w
}

func hookID(i int) ids.ID {
	var id ids.ID
	id[0], id[15] = 0xaa, byte(i+1)
	return id
}

func (w *world) say(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf("%8.3f ", w.now.Seconds())+fmt.Sprintf(format, args...))
}

func (w *world) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
		w.say("VIOLATION %v", w.err)
	}
}

// chance is true with this probability.
func (w *world) chance(p float64) bool { return w.rnd.Float64() < p }

func (w *world) landLane(r *facts.LaneRecord) int64 {
	at := int64(len(w.lanes))
	if other := w.keys[string(r.GetKey())]; len(r.GetKey()) > 0 && other != nil && other != r {
		w.fail("the key %x is written twice, by %s and %s", r.GetKey(), laneText(other), laneText(r))
	}
	w.keys[string(r.GetKey())] = r
	w.lanes = append(w.lanes, r)
	if o := r.GetOwner(); o != nil && o.GetReplacedEpoch() == w.epoch {
		w.epoch = uint64(at)
	}
	w.judge.lane(at, r)
	return at
}

func (w *world) landFact(f *facts.AttemptFact) int64 {
	at := int64(len(w.attempts))
	w.attempts = append(w.attempts, f)
	w.judge.fact(at, f)
	return at
}

// trim lands a DeleteRecords: never beyond the end.
func (w *world) trim(t Trim) {
	w.say("trim %s below %d", t.Log, t.Before)
	switch t.Log {
	case LogLanes:
		w.lanesFrom = max(w.lanesFrom, min(t.Before, int64(len(w.lanes))))
	case LogDeliveries:
		w.deliveriesFrom = max(w.deliveriesFrom, min(t.Before, int64(len(w.deliveries))))
	case LogAttempts:
	}
}

// change sets a webhook's state, as a fact of `config`.
func (w *world) change(i int, s State) {
	h := w.hooks[i]
	if h.state == Deleted {
		return
	}
	h.state = s
	h.version++
	w.say("webhook %d is %d, version %d", i, s, h.version)
	w.changes = append(w.changes, change{hook: i, state: s, version: h.version, since: w.now.Milliseconds()})
}

func (w *world) hookOf(id []byte) *hook {
	for _, h := range w.hooks {
		if string(h.id[:]) == string(id) {
			return h
		}
	}
	return nil
}

// routerModel appends requests as incarnations of the router do: in order, from
// the last commit on, while the one before still goes on as a zombie.
type routerModel struct {
	w      *world
	events [2]int // events per source partition
	commit [2]int
	runs   []*routerRun
}

type routerRun struct {
	part, event, hook int
	zombie            bool
}

func newRouter(w *world) *routerModel {
	r := &routerModel{w: w}
	for p := range 2 {
		r.runs = append(r.runs, &routerRun{part: p})
	}
	return r
}

// advance appends the run's next output, or passes to its next event.
func (r *routerModel) advance(run *routerRun) bool {
	if run.event >= r.events[run.part] {
		return false
	}
	if run.hook == len(r.w.hooks) {
		run.hook = 0
		run.event++
		if !run.zombie {
			r.commit[run.part] = run.event
		}
		return true
	}
	h := r.w.hooks[run.hook]
	run.hook++
	// Which webhooks match may change between incarnations.
	if h.state == Deleted || (run.part+run.event+run.hook)%3 == 0 && r.w.chance(0.7) {
		return true
	}
	r.w.request(run.part, run.event, h, int64(h.version))
	return true
}

// restart lets a new incarnation begin at the commit, beside the old one.
func (r *routerModel) restart(part int) {
	for _, run := range r.runs {
		if run.part == part {
			run.zombie = true
		}
	}
	r.runs = append(r.runs, &routerRun{part: part, event: r.commit[part]})
	r.w.say("router of events/%d begins again at %d", part, r.commit[part])
}

func deliveryID(part, event int, h *hook) ids.ID {
	var d ids.ID
	binary.BigEndian.PutUint16(d[6:], uint16(part))
	binary.BigEndian.PutUint32(d[8:], uint32(event))
	d[15] = h.id[15]
	return d
}

// request appends a delivery request; its content has the metadata of now.
func (w *world) request(part, event int, h *hook, metadata int64) uint64 {
	d := deliveryID(part, event, h)
	webhook := h.id
	c := &facts.Content{
		Source: &facts.Source{Partition: int32(part), Offset: int64(event)}, MetadataOffset: metadata,
		BodyHash: fmt.Appendf(nil, "%d/%d/%d", part, event, metadata),
	}
	req := &facts.DeliveryRequest{
		Subject: &facts.Subject{DeliveryId: d[:], WebhookId: webhook[:], Account: "a", EventId: fmt.Sprint(part, "/", event)},
		Content: c,
	}
	if w.chance(0.5) {
		req.Body = []byte("body")
	}
	at := uint64(len(w.deliveries))
	w.deliveries = append(w.deliveries, &facts.DeliveryCommand{Command: &facts.DeliveryCommand_Request{Request: req}})
	fresh := w.judge.request(at, d, h, c, part, event)
	w.say("D%d request %s new=%v", at, name(d), fresh)
	return at
}

func name(d ids.ID) string {
	return fmt.Sprintf("d%d.%d.%d", binary.BigEndian.Uint16(d[6:]), binary.BigEndian.Uint32(d[8:]), d[15])
}

// decideRetry is the API's part of a retry by hand: it looks at all of
// `attempts` and names what it saw. The append comes later.
func (w *world) decideRetry(d ids.ID) bool {
	v := w.judge.view(d)
	if v == nil || v.end == facts.End_END_DELIVERED || w.hookOf(v.subject.WebhookId).state == Deleted {
		return false
	}
	w.retries = append(w.retries, &facts.DeliveryRetry{
		Subject: v.subject, Content: v.content, Round: v.round, Ended: v.end != 0, Attempts: v.attempts, Actor: "me",
	})
	w.say("the API decides a retry of %s round %d ended=%v", name(d), v.round, v.end != 0)
	return true
}

func (w *world) appendRetry(i int) uint64 {
	r := w.retries[i]
	w.retries = append(w.retries[:i], w.retries[i+1:]...)
	at := uint64(len(w.deliveries))
	w.deliveries = append(w.deliveries, &facts.DeliveryCommand{Command: &facts.DeliveryCommand_Retry{Retry: r}})
	w.say("D%d retry %s round %d ended=%v", at, name(deliveryOf(r.Subject)), r.Round, r.Ended)
	w.judge.retry(at, r)
	return at
}

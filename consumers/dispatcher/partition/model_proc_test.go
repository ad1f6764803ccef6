package partition

import (
	"fmt"
	"slices"
	"time"

	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// proc is a process with a machine, and the I/O between it and the logs.
type proc struct {
	w     *world
	name  string
	m     *Machine
	lives int
	alive bool
	hung  bool
	skew  int64 // of its wall clock

	fx       Effects
	lanes    []LaneAppend
	facts    []FactAppend
	acks     []ack
	loads    []int64
	seeks    []Seek
	flights  []flight
	readers  [3]modelReader
	applied  int           // changes of config that its fold has
	notify   []ids.ID      // changes that its machine was not told yet
	group    []func(*proc) // what the group said, not yet heard
	beatSent time.Duration
	hooks    map[ids.ID]Webhook
}

type ack struct {
	token  uint64
	offset int64
	failed bool
	fact   *facts.AttemptFact
}

type flight struct {
	id   ids.ID
	hook *hook
	at   time.Duration
}

type modelReader struct {
	open bool
	next int64
}

func newProc(w *world, name string) *proc {
	p := &proc{w: w, name: name}
	p.start()
	return p
}

// start is the beginning of a process, or its next life.
func (p *proc) start() {
	w, name, lives := p.w, p.name, p.lives+1
	*p = proc{w: w, name: name, lives: lives, alive: true, beatSent: -1, hooks: make(map[ids.ID]Webhook)}
	p.skew = int64(w.rnd.IntN(100))
	p.m = New(w.cfg, 0, fmt.Sprintf("%s.%d", name, lives), p, w.rnd.Float64)
	p.m.without = w.without
	p.applyConfig()
	p.notify = nil
}

// Webhook implements View.
func (p *proc) Webhook(id ids.ID) Webhook { return p.hooks[id] }

func (p *proc) applyConfig() {
	for _, c := range p.w.changes[p.applied:] {
		id := p.w.hooks[c.hook].id
		p.hooks[id] = Webhook{State: c.state, Version: c.version, Since: c.since}
		p.notify = append(p.notify, id)
	}
	p.applied = len(p.w.changes)
}

func (p *proc) time() Time {
	return Time{Mono: p.w.now + 5*time.Second, Wall: p.w.now.Milliseconds() + p.skew}
}

// took performs the effects: what they append is on its way.
func (p *proc) took() {
	p.m.Take(&p.fx)
	for _, s := range p.fx.Seeks {
		p.readers[s.Log] = modelReader{}
		p.seeks = slices.DeleteFunc(p.seeks, func(x Seek) bool { return x.Log == s.Log })
		p.seeks = append(p.seeks, s)
	}
	p.lanes = append(p.lanes, p.fx.Lanes...)
	p.facts = append(p.facts, p.fx.Attempts...)
	for _, a := range p.fx.Attempts {
		if k := a.Fact.GetKind(); (k == facts.FactKind_FACT_KIND_ENDED || k == facts.FactKind_FACT_KIND_RETRY_REFUSED) && a.Fact.GetEpoch() != p.w.epoch {
			p.w.fail("%s decides, under epoch %d, while %d owns the partition: %s", p.name, a.Fact.GetEpoch(), p.w.epoch, factText(a.Fact))
		}
	}
	p.loads = append(p.loads, p.fx.Loads...)
	p.w.trims = append(p.w.trims, p.fx.Trims...)
	for _, d := range p.fx.Disables {
		for i, h := range p.w.hooks {
			if h.id == d.Webhook && h.version == d.Version && h.state == Active {
				p.w.change(i, Disabled)
			}
		}
	}
	if err := p.m.Err(); err != nil {
		p.w.fail("%s: %v", p.name, err)
	}
}

// crash kills the process; what it had sent to the broker may still land.
func (p *proc) crash() {
	p.w.say("%s crashes", p.name)
	p.w.stats.crashes++
	p.w.stats.takeovers += p.m.takeovers
	for _, a := range p.lanes {
		p.w.ghosts = append(p.w.ghosts, ghost{lane: a.Record})
	}
	for _, a := range p.facts {
		p.w.ghosts = append(p.w.ghosts, ghost{fact: a.Fact})
	}
	p.w.judge.crashed(p)
	p.alive = false
}

// landLane lands the first append to `lanes`; the acknowledgement comes later.
func (p *proc) landLane() {
	a := p.lanes[0]
	p.lanes = p.lanes[1:]
	at := p.w.landLane(a.Record)
	p.w.say("%s L%d %s", p.name, at, laneText(a.Record))
	p.acks = append(p.acks, ack{token: a.Token, offset: at})
}

func (p *proc) landFact() {
	a := p.facts[0]
	p.facts = p.facts[1:]
	at := p.w.landFact(a.Fact)
	p.w.say("%s A%d %s", p.name, at, factText(a.Fact))
	p.acks = append(p.acks, ack{token: a.Token, offset: at, fact: a.Fact})
}

// failLane fails the first append to `lanes`: it is lost, has landed, or lands
// later. The driver's next producer begins after it.
func (p *proc) failLane() {
	a := p.lanes[0]
	p.lanes = p.lanes[1:]
	p.w.say("%s append fails: %s", p.name, laneText(a.Record))
	p.w.ghosts = append(p.w.ghosts, ghost{lane: a.Record})
	p.acks = append(p.acks, ack{token: a.Token, failed: true})
}

func (p *proc) failFact() {
	a := p.facts[0]
	p.facts = p.facts[1:]
	p.w.say("%s append fails: %s", p.name, factText(a.Fact))
	p.w.ghosts = append(p.w.ghosts, ghost{fact: a.Fact})
	p.acks = append(p.acks, ack{token: a.Token, failed: true})
}

func (p *proc) acknowledge() {
	a := p.acks[0]
	p.acks = p.acks[1:]
	if a.failed {
		p.m.AppendFailed(p.time(), a.token)
	} else {
		p.m.Appended(p.time(), a.token, a.offset)
		p.w.judge.acked(p, a.fact)
	}
	p.took()
}

func (p *proc) open() {
	s := p.seeks[0]
	p.seeks = p.seeks[1:]
	start, end := p.bounds(s.Log)
	from := s.From
	if from == FromStart {
		from = start
	}
	p.w.say("%s opens %s at %d of %d to %d", p.name, s.Log, from, start, end)
	if from >= start && from <= end {
		p.readers[s.Log] = modelReader{open: true, next: from}
	}
	p.m.Opened(p.time(), s.Log, start, end)
	p.took()
}

func (p *proc) bounds(l Log) (start, end int64) {
	switch l {
	case LogLanes:
		return p.w.lanesFrom, int64(len(p.w.lanes))
	case LogAttempts:
		return 0, int64(len(p.w.attempts))
	default:
		return p.w.deliveriesFrom, int64(len(p.w.deliveries))
	}
}

// behind reports whether a reader has something to read.
func (p *proc) behind(l Log) bool {
	_, end := p.bounds(l)
	r := p.readers[l]
	if l == LogDeliveries && p.m.Stats().Undecided >= p.w.cfg.MaxUndecided {
		return false
	}
	return r.open && r.next < end
}

// read feeds up to n records of a log.
func (p *proc) read(l Log, n int) {
	start, end := p.bounds(l)
	r := &p.readers[l]
	if r.next < start {
		r.open = false
		p.w.say("%s is below the start of %s", p.name, l)
		p.m.LogStart(p.time(), l, start)
		if p.w.without&ruleNeverSkip != 0 && l == LogLanes {
			*r = modelReader{open: true, next: start}
		}
		p.took()
		return
	}
	from := r.next
	to := min(end, from+int64(n))
	r.next = to
	now := p.time()
	switch l {
	case LogLanes:
		list := make([]LaneRead, 0, to-from)
		for i := from; i < to; i++ {
			list = append(list, LaneRead{Offset: i, Record: p.w.lanes[i]})
		}
		p.m.Lanes(now, list)
	case LogAttempts:
		list := make([]FactRead, 0, to-from)
		for i := from; i < to; i++ {
			f := p.w.attempts[i]
			if p.m.t.mode == owning && epochOf(f.GetFactId()) == p.m.t.epoch {
				f = nil // as the driver does
			}
			list = append(list, FactRead{Offset: i, Fact: f})
		}
		p.m.Attempts(now, list)
	case LogDeliveries:
		list := make([]Command, 0, to-from)
		for i := from; i < to; i++ {
			list = append(list, Command{Offset: i, Record: p.w.deliveries[i]})
		}
		p.m.Deliveries(now, list, end)
	}
	p.took()
}

func (p *proc) load(fail bool) {
	at := p.loads[0]
	p.loads = p.loads[1:]
	if fail || at < p.w.lanesFrom {
		p.m.LoadFailed(p.time(), at)
	} else {
		p.m.Loaded(p.time(), at, p.w.lanes[at])
	}
	p.took()
}

// begin passes the barrier and starts what may start.
func (p *proc) begin(slots int) {
	if !p.m.Ready(p.time()) {
		return
	}
	p.applyConfig()
	for _, s := range p.m.Start(p.time(), slots) {
		h := p.w.hookOf(s.Subject.GetWebhookId())
		p.w.judge.send(p, &s, h)
		p.flights = append(p.flights, flight{id: s.AttemptID, hook: h, at: p.w.now})
	}
	p.took()
}

// result ends a try.
func (p *proc) result(i int, r Result) {
	f := p.flights[i]
	p.flights = slices.Delete(p.flights, i, i+1)
	p.w.judge.result(f.id, r.Outcome)
	p.w.say("%s result of %d: %s", p.name, counterOf(f.id[:]), r.Outcome)
	p.m.Sent(p.time(), f.id, r)
	p.took()
}

func (p *proc) unsent(i int, why NotSent) {
	f := p.flights[i]
	p.flights = slices.Delete(p.flights, i, i+1)
	p.w.judge.unsent(f.id)
	p.w.say("%s %d was not sent", p.name, counterOf(f.id[:]))
	p.m.Unsent(p.time(), f.id, why)
	p.took()
}

func (p *proc) tick() {
	p.m.Tick(p.time())
	p.took()
}

func (p *proc) tell() {
	id := p.notify[0]
	p.notify = p.notify[1:]
	p.m.WebhookChanged(p.time(), id)
	p.took()
}

func (p *proc) hear() {
	f := p.group[0]
	p.group = p.group[1:]
	f(p)
	p.took()
}

// heartbeat is sent now, or answered if it was: by the group, if it still
// knows the member. An answer comes behind what the group said before it.
func (p *proc) heartbeat() {
	if p.beatSent < 0 {
		p.beatSent = p.time().Mono
		return
	}
	if p.w.owner == p {
		p.w.beat = p.w.now
		if len(p.group) == 0 {
			p.m.Heartbeat(p.beatSent)
		}
	}
	p.beatSent = -1
}

func laneText(r *facts.LaneRecord) string {
	c := ""
	if r.Carried {
		c = "carried "
	}
	switch x := r.Record.(type) {
	case *facts.LaneRecord_Waiting:
		return fmt.Sprintf("e%d %swaiting %s round %d attempts %d upto %d due %d fact %v", r.Epoch, c, name(deliveryOf(x.Waiting.Subject)),
			x.Waiting.Round, x.Waiting.Attempts, x.Waiting.Upto, x.Waiting.DueMs, x.Waiting.Fact != nil)
	case *facts.LaneRecord_Health:
		return fmt.Sprintf("e%d %shealth %d failures %d", r.Epoch, c, x.Health.WebhookId[15], x.Health.ConsecutiveFailures)
	case *facts.LaneRecord_Checkpoint:
		k := x.Checkpoint
		return fmt.Sprintf("e%d checkpoint R%d low %d unfinished %v L%d A%d E%d clean %v", r.Epoch, k.Position, k.Low, k.Unfinished, k.LanesFloor, k.AttemptsFloor, k.EndsFloor, k.Clean)
	case *facts.LaneRecord_Owner:
		return fmt.Sprintf("owner %s replaces %d", x.Owner.Node, x.Owner.ReplacedEpoch)
	case *facts.LaneRecord_Deletion:
		return fmt.Sprintf("e%d deletion %s at %d", r.Epoch, name(ids.ID(x.Deletion.DeliveryId)), x.Deletion.Offset)
	}
	return "?"
}

func factText(f *facts.AttemptFact) string {
	return fmt.Sprintf("%s e%d %s round %d attempt %d id %d %s end %s upto %d cmd %d completed %v", f.Kind, f.Epoch, name(deliveryOf(f.Subject)), f.Round,
		f.Attempt, counterOf(f.FactId), f.Outcome, f.End, f.Upto, f.CommandOffset, f.Completed)
}

package partition

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	modelSchedules = flag.Int("model.schedules", 1500, "random schedules of TestModel")
	modelSeed      = flag.Uint64("model.seed", 1, "seed of the first schedule of TestModel")
	modelSteps     = flag.Int("model.steps", 500, "steps of a schedule")
)

// TestModel runs the machine itself through random schedules: crashes, hangs,
// zombies, appends that are lost or land late, cleaning, late trims, pauses,
// deletes and retries by hand, and checks the five promises.
//
//	go test ./consumers/dispatcher/partition -run TestModel -model.schedules=200000 -model.seed=1
func TestModel(t *testing.T) {
	var total struct{ schedules, sends, takeovers, repeats, crashes, drains int }
	for i := range *modelSchedules {
		seed := *modelSeed + uint64(i)
		w := runSchedule(seed, *modelSteps, 0)
		if w.err != nil {
			seed, steps := seed, shrink(seed, *modelSteps, 0)
			w = runSchedule(seed, steps, 0)
			t.Fatalf("seed %d, %d steps: %v\n%s", seed, steps, w.err, tail(w.trace, 120))
		}
		total.schedules++
		total.sends += w.stats.sends
		total.takeovers += w.stats.takeovers
		total.repeats += w.stats.repeats
		total.crashes += w.stats.crashes
		total.drains += w.stats.drains
	}
	t.Logf("%d schedules, %d takeovers, %d crashes, %d drains, %d sends, %d of them repeats, no violation",
		total.schedules, total.takeovers, total.crashes, total.drains, total.sends, total.repeats)
}

// runSchedule runs one random schedule and then lets everything come to rest.
func runSchedule(seed uint64, steps int, without rule) (w *world) {
	w = newWorld(seed, without)
	defer func() {
		if r := recover(); r != nil {
			if without == 0 {
				panic(fmt.Sprintf("seed %d, %d steps: %v\n%s", seed, steps, r, tail(w.trace, 60)))
			}
			w.fail("panic: %v", r)
		}
	}()
	w.assign(w.procs[0])
	for range steps {
		n := w.rnd.IntN(w.weight)
		for i, weight := range w.swarm {
			if n -= weight; n < 0 {
				actions[i].do(w)
				break
			}
		}
		if w.err != nil {
			return w
		}
	}
	w.rest()
	return w
}

// shrink finds fewer steps that still fail.
func shrink(seed uint64, steps int, without rule) int {
	for n := 10; n < steps; n += max(1, n/20) {
		if runSchedule(seed, n, without).err != nil {
			return n
		}
	}
	return steps
}

func tail(trace []string, n int) string {
	return strings.Join(trace[max(0, len(trace)-n):], "\n")
}

// rest stops the adversary: one process owns the partition, all that is late
// lands, and everything runs until nothing happens any more. First with the
// webhooks as they are, to compare the owner with a fresh reader; then with
// all receivers well and all webhooks resumed, to see every round end.
func (w *world) rest() {
	w.say("the adversary rests")
	for len(w.ghosts) > 0 {
		w.landGhost(0, w.chance(0.5))
	}
	for _, run := range w.router.runs {
		for w.router.advance(run) {
		}
	}
	for len(w.retries) > 0 {
		w.appendRetry(0)
	}
	for _, p := range w.procs {
		if !p.alive || p.m.draining {
			if p.alive {
				p.crash()
			}
			p.start()
		}
		p.hung = false
	}
	for len(w.ghosts) > 0 {
		w.landGhost(0, w.chance(0.5))
	}
	for _, p := range w.procs[1:] {
		p.group = append(p.group, func(p *proc) { p.m.Lost(p.time()) })
	}
	w.assign(w.procs[0])
	w.settle()
	w.compare()
	for i, h := range w.hooks {
		h.fails = 0
		if h.state != Active && h.state != Deleted {
			w.change(i, Active)
		}
	}
	w.settle()
	w.compare()
	if w.err == nil {
		w.judge.final()
	}
	p := w.procs[0]
	if s := p.m.Stats(); w.err == nil && (s.Waiting != 0 || s.Undecided != 0 || s.InFlight != 0 || p.m.t.ix.n != 0) {
		w.fail("at rest the owner still has %+v", s)
	}
	if low := p.m.t.checkpoint.GetLow(); w.err == nil && low != uint64(len(w.deliveries)) {
		w.fail("at rest the low watermark is %d of %d", low, len(w.deliveries))
	}
	for _, x := range p.m.works[1:] {
		if x.stage != toHealth && x.stage != toCheckpoint && !slices.Contains(p.m.unused, x) {
			w.fail("at rest a work is not given back: %+v", x)
		}
	}
	for _, p := range w.procs {
		w.stats.takeovers += p.m.takeovers
	}
}

// settle runs everything until nothing is left to do but to wait for long.
func (w *world) settle() {
	for quiet := 0; quiet < 60 && w.err == nil; {
		w.now += 100 * time.Millisecond
		busy := false
		for _, p := range w.procs {
			busy = p.pump() || busy
		}
		for len(w.trims) > 0 {
			w.trim(w.trims[0])
			w.trims = w.trims[1:]
		}
		if quiet++; busy {
			quiet = 0
		}
		if w.now > 24*time.Hour {
			w.fail("it does not come to rest")
		}
	}
}

// pump does all I/O of a process once, and reports whether there was any but checkpoints.
func (p *proc) pump() (busy bool) {
	p.heartbeat()
	p.heartbeat()
	for range 1000 {
		n := len(p.group) + len(p.seeks) + len(p.facts) + len(p.loads) + len(p.flights) + len(p.notify)
		did := n > 0 || len(p.lanes)+len(p.acks) > 0
		if n > 0 || slices.ContainsFunc(p.lanes, func(a LaneAppend) bool { return a.Record.GetCheckpoint() == nil }) {
			busy = true
		}
		for len(p.group) > 0 {
			p.hear()
		}
		for len(p.notify) > 0 {
			p.applyConfig()
			p.tell()
		}
		for len(p.seeks) > 0 {
			p.open()
		}
		for len(p.lanes) > 0 {
			p.landLane()
		}
		for len(p.facts) > 0 {
			p.landFact()
		}
		for len(p.acks) > 0 {
			p.acknowledge()
		}
		for len(p.loads) > 0 {
			p.load(false)
		}
		for l := range Log(3) {
			for p.behind(l) {
				did = true
				busy = busy || l != LogLanes
				p.read(l, 100)
			}
		}
		for len(p.flights) > 0 {
			p.result(0, p.w.outcome(p.flights[0].hook))
		}
		p.applyConfig()
		p.tick()
		p.begin(100)
		if !did && len(p.flights) == 0 {
			break
		}
	}
	// What waits for its time is not at rest.
	for range p.m.t.timers.ids {
		return true
	}
	return busy || p.m.t.mode != owning && p.w.owner == p || p.m.t.changed
}

// compare lets a fresh reader fold `lanes` and `attempts`: it must have the
// idle owner's state.
func (w *world) compare() {
	if w.err != nil {
		return
	}
	owner := w.procs[0]
	reader := newProc(w, "reader")
	reader.m.Assigned(reader.time(), 1<<30)
	reader.took()
	reader.open()
	for reader.behind(LogLanes) {
		reader.read(LogLanes, 7)
	}
	// It does not append its claim: what it folded is compared as it is.
	a, b := dump(owner.m), dump(reader.m)
	if a != b {
		w.fail("a fresh reader differs from the idle owner\nowner:\n%s\nreader:\n%s", a, b)
	}
	if live := owner.m.t.live.alive - 1 - len(owner.m.t.byWebhook); w.err == nil && live > owner.m.t.ix.n {
		w.fail("`lanes` holds %d live records for %d deliveries", live, owner.m.t.ix.n)
	}
}

// dump is the state that `lanes` holds.
func dump(m *Machine) string {
	var lines []string
	t := m.t
	for _, n := range t.byWebhook {
		l := t.lanes[n]
		if l.at >= 0 {
			lines = append(lines, fmt.Sprintf("webhook %d failures %d suspect %v at %d", l.webhook[15], l.failures, l.suspect, l.at))
		}
		for id := l.first; id != 0; id = t.ix.at(id).next {
			e := t.ix.at(id)
			lines = append(lines, fmt.Sprintf("%s order %d upto %d attempts %d tries %d at %d reopened %v",
				name(e.delivery), e.order, e.upto, e.attempts, e.tries, e.offset, e.is(flagReopened)))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

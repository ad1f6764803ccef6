package partition

import (
	"slices"
	"testing"
	"time"

	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// held is what a script keeps from happening in a process.
type held uint16

const (
	heldLanes held = 1 << iota // appends to `lanes` don't land
	heldFacts
	heldLaneAcks
	heldReadLanes
	heldReadDeliveries
	heldReadAttempts
	heldStart
	heldGroup
)

// run does everything between a process and the world until nothing is left
// but results, and what is held.
func (p *proc) run(h held) {
	for len(p.group) > 0 && h&heldGroup == 0 {
		p.hear()
	}
	p.heartbeat()
	p.heartbeat()
	for did := true; did && p.w.err == nil; {
		did = false
		step := func(when bool, do func()) {
			for when && p.w.err == nil {
				do()
				did, when = true, false
			}
		}
		step(len(p.group) > 0 && h&heldGroup == 0, p.hear)
		step(len(p.notify) > 0, p.tell)
		step(len(p.seeks) > 0, p.open)
		step(len(p.lanes) > 0 && h&heldLanes == 0, p.landLane)
		step(len(p.facts) > 0 && h&heldFacts == 0, p.landFact)
		step(len(p.acks) > 0 && (h&heldLaneAcks == 0 || p.acks[0].fact != nil), p.acknowledge)
		step(len(p.loads) > 0, func() { p.load(false) })
		step(p.behind(LogLanes) && h&heldReadLanes == 0, func() { p.read(LogLanes, 1) })
		step(p.behind(LogDeliveries) && h&heldReadDeliveries == 0, func() { p.read(LogDeliveries, 1) })
		step(p.behind(LogAttempts) && h&heldReadAttempts == 0, func() { p.read(LogAttempts, 1) })
		step(p.m.Ready(p.time()) && h&heldStart == 0, func() { p.begin(10) })
	}
	p.applyConfig()
	p.tick()
}

// pass lets time pass for a process, step by step.
func (p *proc) pass(d time.Duration, h held) {
	for end := p.w.now + d; p.w.now < end; {
		p.w.now += 50 * time.Millisecond
		p.run(h)
	}
}

// takes makes a process the owner, after the session of the one before.
func (p *proc) takes(h held) {
	if p.w.owner != nil && p.w.owner != p {
		p.w.now = max(p.w.now, p.w.beat+modelSession+time.Millisecond)
	}
	p.w.assign(p)
	p.run(h)
}

func (p *proc) answer(o facts.Outcome) {
	status := uint32(500)
	if o == facts.Outcome_OUTCOME_DELIVERED {
		status = 200
	}
	p.result(0, Result{Outcome: o, StatusCode: status, RequestSent: true})
}

const (
	ok   = facts.Outcome_OUTCOME_DELIVERED
	bad  = facts.Outcome_OUTCOME_HTTP_STATUS
	slow = facts.Outcome_OUTCOME_TIMEOUT
)

// buried drops or lands what the dead had on its way.
func (w *world) buried(lands func(ghost) bool) {
	for len(w.ghosts) > 0 {
		w.landGhost(0, lands(w.ghosts[0]))
	}
}

func none(ghost) bool  { return false }
func every(ghost) bool { return true }

// publish is an event for the first webhook.
func (w *world) publish() uint64 {
	n := w.router.events[0]
	w.router.events[0]++
	for _, r := range w.router.runs {
		if r.part == 0 {
			r.event, r.hook = n+1, 0
		}
	}
	return w.request(0, n, w.hooks[0], int64(w.hooks[0].version))
}

// ask is a retry by hand of the only delivery.
func (w *world) ask() {
	w.decideRetry(w.judge.order[0].id)
	w.appendRetry(len(w.retries) - 1)
}

// holds runs a script with all rules, which must keep every promise, and with
// one rule taken away, which must break one.
func holds(t *testing.T, without rule, script func(w *world, a, b, c *proc)) {
	t.Helper()
	run := func(without rule) *world {
		w := newWorld(1, without)
		script(w, w.procs[0], w.procs[1], w.procs[2])
		if w.err == nil {
			w.rest()
		}
		return w
	}
	if w := run(0); w.err != nil {
		t.Fatalf("with all rules: %v\n%s", w.err, tail(w.trace, 80))
	}
	if without == 0 {
		return
	}
	w := run(without)
	if w.err == nil {
		t.Fatalf("without rule %#x nothing breaks\n%s", without, tail(w.trace, 80))
	}
	t.Logf("without its rule: %v", w.err)
}

// waits makes the only delivery wait in `lanes` after a failed try.
func (w *world) waits(a *proc) {
	w.publish()
	a.takes(0)
	a.answer(bad)
	a.run(0)
}

// pausedPair makes two deliveries wait in `lanes`, held by a pause.
func (w *world) pausedPair(a *proc) {
	w.change(0, Paused)
	a.takes(0)
	w.publish()
	w.publish()
	a.pass(200*time.Millisecond, 0)
}

func isCheckpoint(g ghost) bool { return g.lane.GetCheckpoint() != nil }

// cleanUntilCarried lets checkpoints pile up until the oldest waiting record,
// alone, is carried; its copy stays on its way.
func (p *proc) cleanUntilCarried() {
	p.m.cfg.CarryBatch = 1
	for range 200 {
		p.w.now += 50 * time.Millisecond
		p.run(heldLanes)
		if slices.ContainsFunc(p.lanes, func(a LaneAppend) bool { return a.Record.GetCarried() && a.Record.GetWaiting() != nil }) {
			return
		}
		for len(p.lanes) > 0 {
			p.landLane()
		}
	}
	p.w.fail("nothing is carried")
}

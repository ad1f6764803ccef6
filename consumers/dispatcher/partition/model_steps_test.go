package partition

import (
	"time"

	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// action is something that may happen in the world; it reports whether it did.
type action struct {
	weight int
	do     func(w *world) bool
}

// ofProc is an action of a random process that is up and not hung.
func ofProc(do func(w *world, p *proc) bool) func(w *world) bool {
	return func(w *world) bool {
		p := w.procs[w.rnd.IntN(len(w.procs))]
		// The owner does most.
		if w.owner != nil && w.chance(0.6) {
			p = w.owner
		}
		return p.alive && !p.hung && do(w, p)
	}
}

var actions = []action{
	{30, func(w *world) bool { // time
		w.now += time.Duration(w.rnd.IntN(60)) * time.Millisecond
		return true
	}},
	{2, func(w *world) bool {
		w.now += time.Duration(w.rnd.IntN(3000)) * time.Millisecond
		return true
	}},
	{6, func(w *world) bool { // events
		w.router.events[w.rnd.IntN(2)]++
		return true
	}},
	{14, func(w *world) bool {
		return w.router.advance(w.router.runs[w.rnd.IntN(len(w.router.runs))])
	}},
	{1, func(w *world) bool {
		w.router.restart(w.rnd.IntN(2))
		return true
	}},
	{3, func(w *world) bool { // retries by hand
		if len(w.judge.order) == 0 {
			return false
		}
		x := w.judge.order[w.rnd.IntN(len(w.judge.order))]
		return w.decideRetry(x.id) && w.chance(0.5) && w.decideRetry(x.id)
	}},
	{4, func(w *world) bool {
		if len(w.retries) == 0 {
			return false
		}
		w.appendRetry(w.rnd.IntN(len(w.retries)))
		return true
	}},
	{3, func(w *world) bool { // configuration
		i := w.rnd.IntN(len(w.hooks))
		switch {
		case w.hooks[i].state != Active:
			w.change(i, Active)
		case w.chance(0.5):
			w.change(i, Paused)
		case w.chance(0.1):
			w.change(i, Deleted)
		default:
			w.change(i, Active) // other metadata
		}
		return true
	}},
	{2, func(w *world) bool {
		h := w.hooks[w.rnd.IntN(len(w.hooks))]
		h.fails = []float64{0, 0.3, 0.6, 1}[w.rnd.IntN(4)]
		return true
	}},
	{4, func(w *world) bool { // the dead
		if len(w.ghosts) == 0 {
			return false
		}
		i := w.rnd.IntN(len(w.ghosts))
		w.landGhost(i, w.chance(0.6))
		return true
	}},
	{4, func(w *world) bool {
		if len(w.trims) == 0 {
			return false
		}
		i := w.rnd.IntN(len(w.trims))
		t := w.trims[i]
		w.trims = append(w.trims[:i], w.trims[i+1:]...)
		if w.chance(0.8) {
			w.trim(t)
		}
		return true
	}},
	{5, func(w *world) bool { return w.regroup() }},
	{4, func(w *world) bool { // the owner sleeps through its session, or only its heartbeats are lost
		if !w.ripe() {
			return false
		}
		w.owner.hung = w.chance(0.6)
		w.say("%s is not heard of, hangs=%v", w.owner.name, w.owner.hung)
		w.now = max(w.now, w.beat+modelSession+time.Millisecond)
		return w.regroup()
	}},
	{2, func(w *world) bool { // the owner loses the partition to one that claims and dies, and has it back before it hears of that
		a, b := w.owner, w.procs[w.rnd.IntN(len(w.procs))]
		if a == nil || a == b || a.hung || !w.ripe() {
			return false
		}
		if !b.alive {
			b.start()
		}
		b.hung = false
		w.now = max(w.now, w.beat+modelSession+time.Millisecond)
		w.assign(b)
		b.run(heldLanes | heldStart)
		b.crash()
		w.assign(a)
		return true
	}},
	{4, func(w *world) bool { // the owner dies, and itself or another takes over
		if !w.ripe() {
			return false
		}
		w.owner.crash()
		return w.regroup()
	}},
	{2, func(w *world) bool { // all of the dead's appends land, or none
		lands := w.chance(0.5)
		for len(w.ghosts) > 0 {
			w.landGhost(0, lands)
		}
		return true
	}},
	{1, ofProc(func(w *world, p *proc) bool { // processes
		if w.chance(0.3) {
			p.crash()
			return true
		}
		p.hung = true
		w.say("%s hangs", p.name)
		return true
	})},
	{3, func(w *world) bool {
		p := w.procs[w.rnd.IntN(len(w.procs))]
		switch {
		case !p.alive:
			p.start()
			w.say("%s starts", p.name)
		case p.hung && w.chance(0.5):
			p.hung = false
			w.say("%s wakes", p.name)
		default:
			return false
		}
		return true
	}},
	{300, ofProc((*world).io)},
}

// ripe reports whether the owner has something on its way: then it is
// interesting to harm it.
func (w *world) ripe() bool {
	p := w.owner
	return p != nil && p.alive && len(p.flights)+len(p.lanes)+len(p.facts)+len(p.acks)-w.rnd.IntN(4) > 0
}

// io does one thing, of those that wait, between a process and the world.
func (w *world) io(p *proc) bool {
	for range 6 {
		if w.tryIO(p, w.rnd.IntN(13)) {
			return true
		}
	}
	return false
}

func (w *world) tryIO(p *proc, what int) bool {
	switch {
	case what == 0 && len(p.lanes) > 0:
		if w.chance(0.005) {
			p.failLane()
		} else {
			p.landLane()
		}
	case what == 1 && len(p.facts) > 0:
		if w.chance(0.01) {
			p.failFact()
		} else {
			p.landFact()
		}
	case what == 2 && len(p.acks) > 0:
		p.acknowledge()
	case what == 3 && len(p.seeks) > 0:
		p.open()
	case what == 4+int(LogLanes) && p.deaf(), what == 12 && p.deaf():
		return false
	case what >= 4 && what <= 6 && p.behind(Log(what-4)):
		p.read(Log(what-4), 1+w.rnd.IntN(12))
	case what == 7 && len(p.loads) > 0:
		p.load(w.chance(0.05))
	case what == 8 && p.m.Ready(p.time()):
		p.begin(1 + w.rnd.IntN(4))
	case what == 9 && len(p.flights) > 0:
		i := w.rnd.IntN(len(p.flights))
		switch {
		case w.chance(0.02):
			p.unsent(i, SendLater)
		case w.chance(0.01):
			p.unsent(i, ContentGone)
		default:
			p.result(i, w.outcome(p.flights[i].hook))
		}
	case what == 10:
		p.tick()
		p.heartbeat()
	case what == 11 && len(p.notify) > 0:
		p.tell()
	case what == 12 && len(p.group) > 0:
		p.hear()
	default:
		return false
	}
	return true
}

// deaf reports whether a process that the group no longer means hears nothing
// now: in some schedules word of its successor comes late, while its own appends
// are still answered.
func (p *proc) deaf() bool { return p.w.deafness && p.w.owner != p && p.w.chance(0.9) }

// outcome is how a receiver answers.
func (w *world) outcome(h *hook) Result {
	r := Result{Outcome: facts.Outcome_OUTCOME_DELIVERED, RequestSent: true, StatusCode: 200, StartedMs: w.now.Milliseconds()}
	if !w.chance(h.fails) {
		return r
	}
	switch {
	case w.chance(0.2):
		r.Outcome, r.StatusCode = facts.Outcome_OUTCOME_TIMEOUT, 0
	case w.chance(0.05):
		r.Outcome, r.StatusCode = facts.Outcome_OUTCOME_HTTP_STATUS, 410
	case w.chance(0.1):
		r.Outcome, r.StatusCode, r.RetryAfter = facts.Outcome_OUTCOME_HTTP_STATUS, 503, 2*time.Second
	default:
		r.Outcome, r.StatusCode = facts.Outcome_OUTCOME_HTTP_STATUS, 500
	}
	return r
}

func (w *world) landGhost(i int, lands bool) {
	g := w.ghosts[i]
	w.ghosts = append(w.ghosts[:i], w.ghosts[i+1:]...)
	switch {
	case !lands:
	case g.lane != nil:
		at := w.landLane(g.lane)
		w.say("late L%d %s", at, laneText(g.lane))
	default:
		at := w.landFact(g.fact)
		w.say("late A%d %s", at, factText(g.fact))
	}
}

// regroup is the group's coordinator. It gives the partition away when its
// owner is silent for a session, or was replaced by its own next life, or gave
// it up when asked.
func (w *world) regroup() bool {
	to := w.procs[w.rnd.IntN(len(w.procs))]
	if !to.alive {
		if w.chance(0.5) {
			return false
		}
		to.start()
		w.say("%s starts", to.name)
	}
	old := w.owner
	switch {
	case old == nil || !old.alive || w.now-w.beat > modelSession:
	case old.hung:
		return false
	case old.m.Drained() && w.chance(0.5):
		w.say("%s has drained", old.name)
		w.stats.drains++
		old.crash()
		if to == old {
			to.start()
		}
	case w.chance(0.7):
		return false
	case old == to && w.chance(0.5): // named anew
	case old != to && w.chance(0.3): // graceful: what is in flight is settled first
		old.m.Drain(old.time())
		old.took()
		w.say("%s drains", old.name)
		return true
	default: // told, and stopped, before another is named
		for len(old.group) > 0 {
			old.hear()
		}
		old.m.Lost(old.time())
		old.took()
		w.say("%s lost the partition", old.name)
	}
	// Who slept may never be told what it lost, only what it is given next.
	if old != nil && old != to && !(old.hung && w.chance(0.4)) {
		old.group = append(old.group, func(p *proc) { p.m.Lost(p.time()) })
	}
	w.assign(to)
	return true
}

func (w *world) assign(to *proc) {
	w.gen++
	gen := w.gen
	w.owner, w.beat = to, w.now
	w.say("the group names %s in generation %d", to.name, gen)
	to.group = append(to.group, func(p *proc) { p.m.Assigned(p.time(), gen) })
}

package partition

import (
	"time"

	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// leased reports whether ownership is proven now: by a checkpoint of this
// epoch that was read back, and by an answered heartbeat.
func (m *Machine) leased(now time.Duration) bool {
	if m.off(ruleLease) {
		return true
	}
	return now-m.t.proven <= m.cfg.Lease && now-m.heartbeat <= m.cfg.Lease
}

// urgent reports whether something could start but for the lease. An idle
// partition writes no checkpoints; the first work after a silence waits for one.
func (m *Machine) urgent(now time.Duration) bool {
	t := m.t
	return m.wanting() && now-t.proven > m.cfg.Lease && now-t.made > m.cfg.Lease/4
}

// wanting reports whether something waits that needs the lease.
func (m *Machine) wanting() bool {
	t := m.t
	return t.turns.len()+len(t.dying)+t.expired.len()+len(t.deferred) > 0
}

// nextCheckpoint is when the next checkpoint is to be made.
func (m *Machine) nextCheckpoint() (time.Duration, bool) {
	t := m.t
	switch {
	case t.checkpointing || t.lastWord:
		return 0, false
	case m.draining:
		return t.now.Mono, m.quiet()
	case m.urgent(t.now.Mono):
		return t.now.Mono, true
	case m.wanting() && t.now.Mono-t.proven > m.cfg.Lease:
		return t.made + m.cfg.Lease/4, true
	case t.changed || t.now.Mono-t.lastChange < m.cfg.IdleAfter:
		return t.made + m.cfg.CheckpointEvery, true
	}
	return 0, false
}

// quiet reports whether a drain has nothing left to wait for.
func (m *Machine) quiet() bool { return len(m.pending) == 0 && len(m.t.loads) == 0 }

// checkpoint appends a checkpoint when it is time.
func (m *Machine) checkpoint(now Time) {
	t := m.t
	at, ok := m.nextCheckpoint()
	if !ok || now.Mono < at {
		return
	}
	m.writeHealth(now)
	w := m.newWork(toCheckpoint)
	w.made, w.floor, w.low = now.Mono, m.lanesFloor(), t.window.low()
	w.last = m.draining
	floor := m.attemptsFloor()
	c := &facts.Checkpoint{
		Position: t.window.position, Low: w.low, Unfinished: t.window.unfinished(), Sources: t.sources.marks(),
		LanesFloor: uint64(w.floor), AttemptsFloor: uint64(floor), EndsFloor: uint64(m.endsFloor(floor)),
		Clean: w.last && t.reader >= t.claimEnd && t.repeats == 0,
	}
	m.appendLane(now, w, &facts.LaneRecord{Record: &facts.LaneRecord_Checkpoint{Checkpoint: c}})
	t.checkpointing, t.changed, t.made = true, false, now.Mono
}

// checkpointed goes on when this owner's checkpoint was read back: it proves
// ownership as of when it was made, and what lies below it may be trimmed.
func (m *Machine) checkpointed(_ Time, w *work) {
	t := m.t
	if w == nil {
		return
	}
	t.checkpointing = false
	t.proven = max(t.proven, w.made)
	t.readBackFloor = w.floor
	t.readBack = true
	if low := int64(w.low); low > t.trimmedDelivered {
		t.trimmedDelivered = low
		m.out.Trims = append(m.out.Trims, Trim{Log: LogDeliveries, Before: low})
	}
	t.lastWord = w.last
	m.unclean = false
	m.finish(w)
}

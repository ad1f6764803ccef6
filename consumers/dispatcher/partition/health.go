package partition

import (
	"math"
	"time"

	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// health is what is known of a webhook's receiver. It is written to `lanes`
// with the next checkpoint, not with each failure: a takeover may forget the
// last second of it, which costs a try, never a delivery.
type health struct {
	failures uint32 // in a row
	suspect  bool   // one at a time, after a timeout
	breaker
	firstFailure int64 // of those in a row
	lastFailure  int64
	lastSuccess  int64
	at           int64 // its live record in `lanes`, -1 if there is none
	soiled       bool  // to be written
	writing      bool
}

// trivial reports whether there is nothing worth remembering: a trivial record
// only says that the one before is void, and is dead itself.
func (l *lane) trivial(now Time) bool {
	return l.failures == 0 && !l.suspect && !l.open && l.probes == 0 && l.closed <= now.Mono && l.heldMs == 0 && (l.heldSince == 0 || l.entries == 0)
}

// soil wants the lane's health written.
func (m *Machine) soil(n uint32) {
	t := m.t
	l := t.lanes[n]
	if l.soiled {
		return
	}
	l.soiled = true
	t.dirty = append(t.dirty, n)
	t.touch()
}

// judgeHealth follows the result of a try; probe says that it was one.
func (m *Machine) judgeHealth(now Time, n uint32, l *lane, r *Result, probe bool) {
	slow := r.Outcome == facts.Outcome_OUTCOME_TIMEOUT
	if r.Outcome == facts.Outcome_OUTCOME_INTERRUPTED {
		if m.draining {
			return // it says nothing about the receiver
		}
		slow = true // cut to make room for others
	}
	if r.Outcome == facts.Outcome_OUTCOME_DELIVERED {
		l.lastSuccess = now.Wall
		if l.failures > 0 || l.suspect {
			l.failures, l.suspect, l.firstFailure, l.lastFailure = 0, false, 0, 0
			m.soil(n)
		}
		m.judgeBreaker(now, n, l, true, probe)
		return
	}
	if l.failures == 0 {
		l.firstFailure = now.Wall
	}
	l.failures++
	l.lastFailure = now.Wall
	if slow && !l.suspect {
		l.suspect = true
		m.unload(l)
	}
	if r.RetryAfter > 0 {
		l.closed = max(l.closed, now.Mono+min(r.RetryAfter, m.cfg.MaxRetryAfter))
		m.ring(l.closed, n)
		m.unload(l)
	}
	m.soil(n)
	m.judgeBreaker(now, n, l, false, probe)
	m.judgeDisable(l, r)
}

// judgeDisable asks for a webhook to be disabled: at once when its receiver
// says that it is gone for good, else after days of nothing but failures.
// Failures in a row have no success between them, so the first of them says how
// long there was none.
func (m *Machine) judgeDisable(l *lane, r *Result) {
	reason := Failing
	switch {
	case r.Outcome == facts.Outcome_OUTCOME_HTTP_STATUS && r.StatusCode == 410:
		reason = Gone
	case int(l.failures) < m.cfg.DisableFailures,
		l.lastFailure-l.firstFailure < m.cfg.DisableSpread.Milliseconds(),
		l.lastFailure-l.firstFailure < m.cfg.DisableAfter.Milliseconds():
		return
	}
	if l.held || l.dying {
		return
	}
	version := r.WebhookVersion
	if version == 0 {
		version = l.version
	}
	m.out.Disables = append(m.out.Disables, Disable{Webhook: l.webhook, Account: l.account, Version: version, Reason: reason})
}

// writeHealth appends the health of the lanes where it changed.
func (m *Machine) writeHealth(now Time) {
	t := m.t
	dirty := t.dirty
	t.dirty = t.dirty[:0]
	for _, n := range dirty {
		l := t.lanes[n]
		if l.writing { // its last record is on its way: after that
			t.dirty = append(t.dirty, n)
			continue
		}
		l.soiled = false
		if l.at < 0 && l.trivial(now) {
			m.leave(now, n)
			continue
		}
		m.appendHealth(now, n, l, false)
	}
}

func (m *Machine) appendHealth(now Time, n uint32, l *lane, copied bool) {
	l.writing = true
	webhook := l.webhook
	h := &facts.Health{
		WebhookId: webhook[:], Account: l.account, ConsecutiveFailures: l.failures, Suspect: l.suspect,
		LastSuccessMs: l.lastSuccess, FirstFailureMs: l.firstFailure, LastFailureMs: l.lastFailure, WebhookVersion: l.version,
		HeldMs: l.heldMs, Open: l.open, Probes: l.probes,
	}
	if l.closed > now.Mono {
		h.ClosedUntilMs = wall(now, l.closed)
	}
	if l.heldSince != 0 && l.entries > 0 {
		h.HeldSinceMs = wall(now, l.heldSince)
	}
	w := m.newWork(toHealth)
	w.lane = n
	m.appendLane(now, w, &facts.LaneRecord{Carried: copied, Record: &facts.LaneRecord_Health{Health: h}})
}

// applyHealth makes a valid health record the one of its webhook.
func (m *Machine) applyHealth(now Time, at int64, r *facts.LaneRecord, h *facts.Health) {
	t := m.t
	n, l := m.laneOf(ids.ID(h.GetWebhookId()), h.GetAccount())
	if l.at >= 0 {
		t.live.kill(l.at)
		l.at = -1
	}
	if nothing := h.GetConsecutiveFailures() == 0 && !h.GetSuspect() && h.GetClosedUntilMs() == 0 &&
		!h.GetOpen() && h.GetProbes() == 0 && h.GetHeldMs() == 0 && h.GetHeldSinceMs() == 0; !nothing {
		l.at = at
		t.live.set(at, tagHealth|n)
	}
	if t.mode == owning {
		l.writing = false
		m.finish(m.pending[counterOf(r.GetKey())])
		m.leave(now, n)
		return
	}
	l.failures, l.suspect, l.version = h.GetConsecutiveFailures(), h.GetSuspect(), h.GetWebhookVersion()
	l.firstFailure, l.lastFailure, l.lastSuccess = h.GetFirstFailureMs(), h.GetLastFailureMs(), h.GetLastSuccessMs()
	m.remember(l, h)
	l.closed, l.heldMs, l.heldSince = math.MinInt64, h.GetHeldMs(), 0
	if c := h.GetClosedUntilMs(); c != 0 {
		l.closed = min(mono(now, c), now.Mono+m.cfg.MaxRetryAfter)
	}
	if c := h.GetHeldSinceMs(); c != 0 {
		l.heldSince = mono(now, c)
	}
}

// expireHeld ends what a pause has held for too long: a delivery counts as held
// from the later of the pause and its own due time. A lane is looked through
// once in a hundredth of that time at most.
func (m *Machine) expireHeld(now Time, n uint32, l *lane) {
	t := m.t
	if !l.held || now.Mono < l.heldSince+m.cfg.Hold {
		return
	}
	next := time.Duration(math.MaxInt64)
	for id := l.first; id != 0; {
		e := t.ix.at(id)
		if e.state == ready || e.state == fresh || e.state == timed {
			at := max(l.heldSince, e.due) + m.cfg.Hold
			if at <= now.Mono {
				t.expired.push(ref{id: id, order: e.order})
			}
			next = min(next, at)
		}
		id = e.next
	}
	if next < math.MaxInt64 {
		m.ring(max(next, now.Mono+m.cfg.Hold/100), n)
	} else {
		m.ring(now.Mono+m.cfg.Hold, n)
	}
}

package partition

import facts "hookledger/schemas/proto/hookledger/facts/v1"

// pumpEnds ends what a deleted webhook has and what was held for too long, a
// batch at a time: each needs its lane record. Like a try it needs the lease:
// an end without a try is a decision, and one who was superseded decides nothing.
func (m *Machine) pumpEnds(now Time) {
	t := m.t
	if len(t.dying)+t.expired.len() == 0 || t.ending > m.cfg.LoadBatch/2 || m.draining || !m.leased(now.Mono) {
		return
	}
	if len(t.dying) > 0 {
		m.cancelling, t.dying = append(m.cancelling[:0], t.dying...), t.dying[:0]
		for _, n := range m.cancelling {
			l := t.lanes[n]
			l.listed = false
			if m.cancel(now, l) {
				m.dies(n, l)
			}
			m.leave(now, n)
		}
	}
	for t.expired.len() > 0 && t.ending < m.cfg.LoadBatch {
		r := t.expired.pop()
		if e := t.same(r); e != nil && t.lanes[e.lane].held {
			m.finishEntry(now, r.id, e, facts.End_END_GIVEN_UP, facts.EndReason_END_REASON_HOLD_EXPIRED)
		}
	}
}

// cancel cancels what the lane has, and reports whether some is left to begin with.
func (m *Machine) cancel(now Time, l *lane) (more bool) {
	t := m.t
	for id := l.first; id != 0; {
		e := t.ix.at(id)
		next := e.next
		if e.state == timed || e.state == ready || e.state == fresh {
			if t.ending >= m.cfg.LoadBatch {
				return true
			}
			m.finishEntry(now, id, e, facts.End_END_CANCELLED, facts.EndReason_END_REASON_WEBHOOK_DELETED)
		}
		id = next
	}
	return false
}

// finishEntry ends a round without a try.
func (m *Machine) finishEntry(now Time, id uint32, e *entry, end facts.End, reason facts.EndReason) {
	switch e.state {
	case fresh:
		w := m.workOf(e)
		m.lift(id, e)
		m.t.ending++
		w.body, w.end, w.endReason, w.ending = nil, end, reason, true
		m.appendEnd(now, w, e)
	case timed, ready:
		m.t.ending++
		m.withRecord(now, id, e, toFinish, func(w *work) { w.end, w.endReason, w.ending = end, reason, true })
	case free, inFlight, moving, parked:
	}
}

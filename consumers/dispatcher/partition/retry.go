package partition

import (
	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// queued is a retry by hand that waits for the delivery's transition to end.
type queued struct {
	offset uint64
	retry  *facts.DeliveryRetry
}

// judge applies a retry by hand, or refuses it. It names the round, and
// whether that had ended, as the API saw it; what does not match any more is
// refused, on the record.
//
//   - The round is open and was named as open: it is due now. In flight,
//     success absorbs the retry and failure is due now. Held by a pause, it
//     stays held, and is due at resume. A receiver that asked to be left alone
//     (Retry-After) is tried at once.
//   - The round has ended and was named so: a new round, due now, whose attempt
//     numbers go on. Its own offset names it. If it can't start (the webhook is
//     paused, its breaker is open, there is no room), retry_asked is said of it
//     with its lane record, so that the history shows the round as open; else
//     its try says so.
//   - Anything else is refused: the round ended meanwhile, or a retry that came
//     before has opened another.
func (m *Machine) judge(now Time, o uint64, r *facts.DeliveryRetry) {
	t := m.t
	delivery := deliveryOf(r.GetSubject())
	id := t.ix.find(&delivery)
	if id == 0 {
		m.reopen(now, o, r, delivery)
		return
	}
	e := t.ix.at(id)
	// What is about to start takes the retry along when it comes back.
	busy := e.state == fresh || e.state == inFlight || e.state == moving || e.state == parked
	if busy || len(t.commands[delivery]) > 0 {
		if e.state == fresh {
			m.probe(now, e.lane)
		}
		t.commands[delivery] = append(t.commands[delivery], queued{offset: o, retry: r})
		return
	}
	if e.order != r.GetRound() || r.GetEnded() {
		m.refuse(now, o, r, e.order)
		return
	}
	m.probe(now, e.lane)
	m.withRecord(now, id, e, toRetry, func(w *work) { w.asked, w.askedAt = r, o })
}

// reopen judges a retry of a delivery that has no open round.
func (m *Machine) reopen(now Time, o uint64, r *facts.DeliveryRetry, delivery ids.ID) {
	t := m.t
	inf, known := t.ends[delivery]
	known = known && inf.end != facts.End_END_UNSPECIFIED && !m.off(ruleEnds)
	stale := known && (inf.round > r.GetRound() || inf.round == r.GetRound() && inf.end == facts.End_END_DELIVERED)
	if !r.GetEnded() || stale {
		m.refuse(now, o, r, inf.round)
		return
	}
	t.commanded--
	w := m.newWork(undecided)
	w.subject, w.content = r.GetSubject(), r.GetContent()
	_, e := m.enter(now, o, w)
	e.flags |= flagReopened
	e.attempts = max(r.GetAttempts(), inf.attempts)
	w.opened = r
	m.probe(now, e.lane)
}

// probe lets a lane that is closed try at once.
func (m *Machine) probe(now Time, n uint32) {
	if l := m.t.lanes[n]; l.closed > now.Mono {
		l.closed = 0
		m.soil(n)
		m.wake(now, n)
	}
}

// refuse settles a retry that does not match. The fact's id is made of the
// command's offset, so that every repeat of it has the same.
//
// It is a decision in `attempts`, where nothing tells a superseded owner's from
// another's: so it needs the lease, and waits for it.
func (m *Machine) refuse(now Time, o uint64, r *facts.DeliveryRetry, round uint64) {
	if !m.leased(now.Mono) {
		m.t.deferred = append(m.t.deferred, queued{offset: o, retry: r})
		return
	}
	id := newID(m.p, 1<<48-1, o)
	w := m.newWork(refusing)
	w.askedAt = o
	m.appendFact(w, refusing, &facts.AttemptFact{
		FactId: id[:], Kind: facts.FactKind_FACT_KIND_RETRY_REFUSED, Epoch: m.t.epoch, Subject: r.GetSubject(), Content: r.GetContent(),
		Round: round, Upto: 0, Attempt: r.GetAttempts(), StartedMs: now.Wall,
		Actor: r.GetActor(), RequestId: r.GetRequestId(), CommandOffset: o,
	})
}

// judgeDeferred judges what waited for the lease.
func (m *Machine) judgeDeferred(now Time) {
	t := m.t
	if len(t.deferred) == 0 || !m.leased(now.Mono) {
		return
	}
	list := t.deferred
	t.deferred = nil
	for _, q := range list {
		m.judge(now, q.offset, q.retry)
	}
}

// appendRetry makes a waiting delivery due now, on the record.
func (m *Machine) appendRetry(now Time, w *work, e *entry) {
	w.remember(w.record.GetWaiting())
	reason := w.record.GetWaiting().GetReason()
	r := w.asked
	w.record, w.asked = nil, nil
	e.upto = w.askedAt
	e.due = min(e.due, now.Mono)
	f := m.retryAsked(now, w, e, r, w.askedAt)
	w.settles = append(w.settles, w.askedAt)
	w.stage, w.fact = toLane, f
	m.appendWaiting(now, w, e, reason, f)
}

// retryAsked is the fact that a retry by hand was applied.
func (m *Machine) retryAsked(now Time, w *work, e *entry, r *facts.DeliveryRetry, at uint64) *facts.AttemptFact {
	f := m.newFact(now, w, e, facts.FactKind_FACT_KIND_RETRY_ASKED)
	f.Actor, f.RequestId, f.CommandOffset = r.GetActor(), r.GetRequestId(), at
	f.NextRetryMs = now.Wall
	return f
}

// judgeQueued judges the retries that came while the delivery was busy.
func (m *Machine) judgeQueued(now Time, delivery ids.ID) {
	t := m.t
	list := t.commands[delivery]
	if len(list) == 0 {
		return
	}
	delete(t.commands, delivery)
	for i, q := range list {
		m.judge(now, q.offset, q.retry)
		if len(t.commands[delivery]) > 0 { // it is busy again: the rest wait behind
			t.commands[delivery] = append(t.commands[delivery], list[i+1:]...)
			return
		}
	}
}

// absorbQueued takes the retries that came during a try into its round.
func (m *Machine) absorbQueued(w *work, e *entry) bool {
	t := m.t
	list := t.commands[e.delivery]
	if len(list) == 0 {
		return false
	}
	var rest []queued
	took := false
	for _, q := range list {
		if q.retry.GetRound() == e.order && !q.retry.GetEnded() {
			e.upto = max(e.upto, q.offset)
			w.settles = append(w.settles, q.offset)
			took = true
		} else {
			rest = append(rest, q)
		}
	}
	if len(rest) == 0 {
		delete(t.commands, e.delivery)
	} else {
		t.commands[e.delivery] = rest
	}
	return took
}

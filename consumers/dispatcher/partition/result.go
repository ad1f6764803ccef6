package partition

import (
	"time"

	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// Sent gives the result of a try.
func (m *Machine) Sent(now Time, attempt ids.ID, r Result) {
	t := m.t
	t.now = now
	w := m.pending[counterOf(attempt[:])]
	if w == nil || w.attempt != attempt {
		return
	}
	token := w.token
	delete(m.pending, token)
	w.token = 0
	f := &facts.AttemptFact{
		FactId: append([]byte(nil), w.attempt[:]...), Kind: facts.FactKind_FACT_KIND_ATTEMPT, Epoch: w.epoch,
		Subject: w.subject, Content: w.content, Round: w.round, Attempt: w.number, Outcome: r.Outcome,
		Upto: w.upto, MaybeRepeat: w.repeat, RequestSent: r.RequestSent,
		StartedMs: r.StartedMs, DurationUs: r.DurationUs, StatusCode: r.StatusCode,
		ResponseHeaders: r.Headers, ResponseBody: r.Body, BodyTruncated: r.BodyTruncated, Error: r.Error, Url: r.URL,
		WebhookVersion: r.WebhookVersion, RoundStartedMs: w.roundStarted, Reopened: w.reopened,
	}
	delivered := r.Outcome == facts.Outcome_OUTCOME_DELIVERED
	if w.stage == orphaned {
		// The round belongs to another owner: a success is a success, a failure
		// says nothing about what comes next.
		if delivered {
			f.End = facts.End_END_DELIVERED
		}
		m.appendFact(w, factOnly, f)
		if !delivered {
			m.orphanDone(now, w, false)
		} else {
			m.orphanDelivered(deliveryOf(w.subject))
		}
		m.step(now)
		return
	}
	id := w.entry
	e := t.ix.at(id)
	n := e.lane
	l := t.lanes[n]
	l.flights--
	t.inFlight--
	e.state = moving
	e.attempts = w.number
	m.unmark(e)
	w.record = nil
	m.judgeHealth(now, n, l, &r, l.probed(token))
	asked := m.absorbQueued(w, e)
	f.Upto = e.upto
	if delivered {
		f.End = facts.End_END_DELIVERED
		m.endRound(now, w, e, f)
	} else {
		m.failed(now, w, e, l, f, &r, asked)
	}
	m.wake(now, n)
	m.step(now)
}

// endRound appends the fact that ends the round; a deletion follows it.
func (m *Machine) endRound(now Time, w *work, e *entry, f *facts.AttemptFact) {
	if m.off(ruleFactFirst) && e.offset >= 0 {
		m.deleteFirst(now, e)
	}
	if m.off(ruleOneFact) && f.GetEnd() == facts.End_END_GIVEN_UP {
		second := m.newFact(now, w, e, facts.FactKind_FACT_KIND_ENDED)
		second.End, second.EndReason = f.GetEnd(), f.GetEndReason()
		f.End, f.EndReason = facts.End_END_UNSPECIFIED, facts.EndReason_END_REASON_UNSPECIFIED
		w.second = second
	}
	m.appendFact(w, toEnd, f)
}

// failed decides what comes after a failure: the next try, or the end.
func (m *Machine) failed(now Time, w *work, e *entry, l *lane, f *facts.AttemptFact, r *Result, asked bool) {
	if e.is(flagClosed) { // somebody else ended the round: the try is a fact, and nothing follows
		m.appendFact(w, toEnd, f)
		return
	}
	if m.view.Webhook(l.webhook).State == Deleted {
		f.End, f.EndReason = facts.End_END_CANCELLED, facts.EndReason_END_REASON_WEBHOOK_DELETED
		m.endRound(now, w, e, f)
		return
	}
	wait, more := m.next(now, w, e, l, r, asked)
	if !more {
		f.End, f.EndReason = facts.End_END_GIVEN_UP, facts.EndReason_END_REASON_EXHAUSTED
		m.endRound(now, w, e, f)
		return
	}
	e.due = now.Mono + wait
	if !asked && r.RetryAfter > 0 {
		e.due = max(e.due, l.closed)
	}
	f.NextRetryMs = wall(now, e.due)
	w.fact = f
	if m.off(ruleLaneFirst) {
		m.appendFact(w, factThenLane, f)
		return
	}
	w.stage = toLane
	m.appendWaiting(now, w, e, facts.WaitReason_WAIT_REASON_RETRY, f)
}

// next is the wait before the round's next try; more is false when it was the
// last. A try that a drain cut does not count against the schedule, and is
// made again at once by the next owner. Every other failure does, whatever its
// kind: what is wrong today, an address or a 404, can be mended tomorrow.
func (m *Machine) next(now Time, w *work, e *entry, l *lane, r *Result, asked bool) (wait time.Duration, more bool) {
	if r.Outcome == facts.Outcome_OUTCOME_INTERRUPTED && m.draining {
		return 0, true
	}
	n := int(e.tries)
	if n < len(m.cfg.Schedule) {
		e.tries++
	}
	if asked {
		return 0, true
	}
	if n >= len(m.cfg.Schedule) {
		return 0, false
	}
	wait = m.cfg.Schedule[n]
	wait += time.Duration((2*m.rnd() - 1) * m.cfg.Jitter * float64(wait))
	held := w.held + max(l.heldUntil(now)-w.laneHeld, 0)
	spent := time.Duration(now.Wall-w.roundStarted-held) * time.Millisecond
	return wait, spent+wait <= m.cfg.GiveUpAfter
}

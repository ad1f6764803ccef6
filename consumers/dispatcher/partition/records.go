package partition

import (
	"slices"

	"google.golang.org/protobuf/proto"

	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// bodyInLane is how much of a response body a lane record carries.
const bodyInLane = 512

// appendWaiting appends the waiting record of an entry as it stands.
func (m *Machine) appendWaiting(now Time, w *work, e *entry, reason facts.WaitReason, fact *facts.AttemptFact) {
	l := m.t.lanes[e.lane]
	held := l.heldUntil(now)
	if w.roundStarted != 0 {
		w.held += max(held-w.laneHeld, 0)
	}
	w.laneHeld = held
	waiting := &facts.Waiting{
		Subject: w.subject, Content: w.content, Round: e.order, Order: e.order, Upto: e.upto,
		Attempts: e.attempts, RoundAttempts: uint32(e.tries), DueMs: wall(now, e.due), Reason: reason,
		Fact: cut(fact), RoundStartedMs: w.roundStarted, HeldMs: w.held, LaneHeldMs: w.laneHeld,
		MaybeRepeat: e.is(flagRepeat), Reopened: e.is(flagReopened),
	}
	if l.held && !isAttempt(fact) {
		waiting.HeldSinceMs = wall(now, max(l.heldSince, e.due))
	}
	m.appendLane(now, w, &facts.LaneRecord{Record: &facts.LaneRecord_Waiting{Waiting: waiting}})
}

// cut makes a fact small enough for a lane record. Subject and content stand
// beside it there.
func cut(f *facts.AttemptFact) *facts.AttemptFact {
	if len(f.GetResponseBody()) <= bodyInLane {
		return f
	}
	c := proto.CloneOf(f)
	c.ResponseBody = slices.Clone(f.GetResponseBody()[:bodyInLane])
	c.BodyCut = true
	return c
}

// remember takes what a try needs of a lane record.
func (w *work) remember(waiting *facts.Waiting) {
	w.subject, w.content = waiting.GetSubject(), waiting.GetContent()
	w.roundStarted, w.held, w.laneHeld = waiting.GetRoundStartedMs(), waiting.GetHeldMs(), waiting.GetLaneHeldMs()
}

// newFact is a fact about the entry's round that is no try.
func (m *Machine) newFact(now Time, w *work, e *entry, kind facts.FactKind) *facts.AttemptFact {
	m.counter++
	id := newID(m.p, m.t.epoch, m.counter)
	return &facts.AttemptFact{
		FactId: id[:], Kind: kind, Epoch: m.t.epoch, Subject: w.subject, Content: w.content,
		Round: e.order, Upto: e.upto, Attempt: e.attempts, StartedMs: now.Wall,
		RoundStartedMs: w.roundStarted, Reopened: e.is(flagReopened),
	}
}

// appendEnd ends a round without a try.
func (m *Machine) appendEnd(now Time, w *work, e *entry) {
	if w.record != nil {
		w.remember(w.record.GetWaiting())
		w.record = nil
	}
	f := m.newFact(now, w, e, facts.FactKind_FACT_KIND_ENDED)
	f.End, f.EndReason = w.end, w.endReason
	e.state = moving
	if m.off(ruleFactFirst) && e.offset >= 0 {
		m.deleteFirst(now, e)
	}
	m.appendFact(w, toEnd, f)
}

// deleteFirst is what ruleFactFirst forbids.
func (m *Machine) deleteFirst(now Time, e *entry) {
	delivery := e.delivery
	m.counter++
	key := newID(m.p, m.t.epoch, m.counter)
	m.out.Lanes = append(m.out.Lanes, LaneAppend{Token: m.counter, Record: &facts.LaneRecord{
		Key: key[:], Epoch: m.t.epoch, AtMs: now.Wall,
		Record: &facts.LaneRecord_Deletion{Deletion: &facts.Deletion{
			DeliveryId: delivery[:], Offset: uint64(e.offset),
		}},
	}})
}

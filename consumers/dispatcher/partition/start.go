package partition

import (
	"time"

	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// Ready reports whether Start would send something.
func (m *Machine) Ready(now Time) bool {
	return m.err == nil && m.t.mode == owning && !m.draining && m.t.turns.len() > 0 && m.leased(now.Mono)
}

// Start decides what was fetched and what is due: at most slots sends. It must
// be called right after the config barrier was passed, and what it returns is
// to be sent at once. It is the only way in which anything is sent. The
// returned slice is valid until the next call.
//
// Lanes take turns, one send each, so that no webhook keeps others waiting
// when slots are short.
func (m *Machine) Start(now Time, slots int) []Send {
	t := m.t
	t.now = now
	clear(m.sends)
	m.sends = m.sends[:0]
	m.step(now)
	if t != m.t || !m.Ready(now) {
		return nil
	}
	for len(m.sends) < slots && t.turns.len() > 0 {
		n := t.turns.pop()
		l := t.lanes[n]
		l.queued = false
		if !l.seen || !m.off(ruleBarrierView) {
			l.queued = true // this is its turn: look gives it no other
			m.look(now, n)
			l.queued = false
		}
		m.begins(now, n)
		m.wake(now, n)
		m.leave(now, n)
	}
	t.short = t.turns.len() > 0 && slots < m.cfg.StartBatch
	m.step(now)
	return m.sends
}

// sendAgain is how long a lane waits when a send did not become a try.
const sendAgain = time.Second

// begins starts the lane's next one, if it still can.
func (m *Machine) begins(now Time, n uint32) {
	t := m.t
	l := t.lanes[n]
	id, e := m.head(now, l)
	if e == nil || e.order >= t.reader && !m.off(ruleRememberSettled) {
		return
	}
	w := m.workOf(e)
	if w == nil || w.stage != undecided && w.stage != loaded {
		return
	}
	if w.stage == undecided {
		m.undecidedNoMore(w)
	} else {
		m.unloaded(id, e, w)
		w.remember(w.record.GetWaiting())
	}
	l.ready.remove(t.ix, id)
	e.state = inFlight
	l.flights++
	t.inFlight++
	t.touch()

	m.counter++
	w.stage, w.token = trying, m.counter
	m.paced(now, n, l, id, w.token)
	m.pending[w.token] = w
	w.attempt, w.epoch, w.number = newID(m.p, t.epoch, m.counter), t.epoch, e.attempts+1
	w.round, w.upto, w.repeat, w.reopened = e.order, e.upto, e.is(flagRepeat), e.is(flagReopened)
	if w.began = w.roundStarted == 0; w.began {
		w.roundStarted, w.held, w.laneHeld = now.Wall, 0, l.heldUntil(now)
	}
	m.sends = append(m.sends, Send{
		AttemptID: w.attempt, Subject: w.subject, Content: w.content, Body: w.body,
		Number: w.number, Round: w.round, MaybeRepeat: w.repeat, WebhookVersion: l.version,
	})
	w.body = nil
	if m.off(ruleFrozen) {
		c := m.sends[len(m.sends)-1].Content
		m.sends[len(m.sends)-1].Content = &facts.Content{
			Source: c.GetSource(), MetadataOffset: int64(l.version), BodyHash: c.GetBodyHash(), BodySize: c.GetBodySize(),
		}
	}
}

// Unsent says that a Send did not become a try.
func (m *Machine) Unsent(now Time, attempt ids.ID, why NotSent) {
	t := m.t
	t.now = now
	w := m.pending[counterOf(attempt[:])]
	if w == nil || w.attempt != attempt {
		return
	}
	token := w.token
	delete(m.pending, token)
	w.token = 0
	if w.stage == orphaned {
		m.orphanDone(now, w, true)
		m.step(now)
		return
	}
	e := t.ix.at(w.entry)
	n := e.lane
	l := t.lanes[n]
	l.probed(token)
	l.flights--
	t.inFlight--
	if w.began {
		w.roundStarted = 0
	}
	switch {
	case e.is(flagClosed):
		e.state = moving
		m.erase(now, w.entry, e)
	case why == ContentGone && m.leased(now.Mono): // a decision, as in finishEntry
		e.state = moving
		m.absorbQueued(w, e)
		w.end, w.endReason, w.record = facts.End_END_GIVEN_UP, facts.EndReason_END_REASON_PAYLOAD_EXPIRED, nil
		m.appendEnd(now, w, e)
	default:
		// The lane waits, not the delivery, so that nothing overtakes it.
		l.closed = max(l.closed, now.Mono+sendAgain)
		m.ring(l.closed, n)
		id := w.entry
		if w.record != nil {
			m.done(w)
			e.slot = 0
			e.state = ready
			l.ready.push(t.ix, id)
		} else {
			w.made = now.Mono
			m.queueFresh(now, id, e, w, l)
		}
		m.judgeQueued(now, e.delivery)
	}
	m.wake(now, n)
	m.step(now)
}

// orphanDelivered leaves the entry parked until its fact is read in `attempts`.
func (m *Machine) orphanDelivered(delivery ids.ID) {
	if m.orphans[delivery]--; m.orphans[delivery] <= 0 {
		delete(m.orphans, delivery)
	}
}

// orphanDone ends a try of a lost epoch: what this owner holds of the same
// delivery need not wait for it any longer.
func (m *Machine) orphanDone(now Time, w *work, nothingSaid bool) {
	t := m.t
	delivery := deliveryOf(w.subject)
	m.orphanDelivered(delivery)
	if nothingSaid {
		m.done(w)
	}
	if t.mode != owning || m.orphans[delivery] > 0 {
		return
	}
	id := t.ix.find(&delivery)
	if id == 0 || t.ix.at(id).state != parked {
		return
	}
	e := t.ix.at(id)
	if x := m.workOf(e); x != nil {
		x.made = now.Mono
		m.queueFresh(now, id, e, x, t.lanes[e.lane])
		m.judgeQueued(now, delivery)
		return
	}
	m.sleep(now, id, e)
}

package partition

import (
	"fmt"
	"time"

	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// Deliveries feeds records of `deliveries`; end is the log's end as the fetch knew it.
func (m *Machine) Deliveries(now Time, commands []Command, end int64) {
	t := m.t
	t.now = now
	if t.mode != owning || m.draining {
		return
	}
	for _, c := range commands {
		o := uint64(c.Offset)
		if o < t.reader {
			continue
		}
		if o > t.reader {
			m.damaged(LogDeliveries, fmt.Sprintf("records from %d to %d are missing", t.reader, o))
			return
		}
		t.reader++
		m.accept(now, o, c.Record)
	}
	m.ungate(now)
	m.step(now)
}

// accept decides whether a command is new. Below the position only what is
// unfinished is, whatever the sources map says: it was accepted before.
func (m *Machine) accept(now Time, o uint64, c *facts.DeliveryCommand) {
	t := m.t
	below := o < t.window.position
	if below && !t.window.unsettled(o) {
		return
	}
	t.touch()
	switch command := c.GetCommand().(type) {
	case *facts.DeliveryCommand_Request:
		r := command.Request
		webhook := ids.ID(r.GetSubject().GetWebhookId())
		if !below || m.off(ruleUnfinishedBypass) {
			if !t.sources.accept(r.GetContent().GetSource(), webhook) {
				t.window.pass(o)
				t.window.settle(o)
				return
			}
		}
		t.window.open(o)
		delivery := deliveryOf(r.GetSubject())
		if m.applied(&delivery, o) || t.ix.find(&delivery) != 0 {
			m.settle(o)
			return
		}
		w := m.newWork(undecided)
		w.subject, w.content, w.body = r.GetSubject(), r.GetContent(), r.GetBody()
		m.enter(now, o, w)
	case *facts.DeliveryCommand_Retry:
		t.window.open(o)
		delivery := deliveryOf(command.Retry.GetSubject())
		if t.refused[o] {
			delete(t.refused, o)
			m.settle(o)
			return
		}
		if m.applied(&delivery, o) {
			m.settle(o)
			return
		}
		t.commanded++
		m.judge(now, o, command.Retry)
	default: // it can't be read, and lies in the dead letters
		t.window.pass(o)
		t.window.settle(o)
	}
}

// applied reports whether a command is part of what was done already.
func (m *Machine) applied(delivery *ids.ID, o uint64) bool {
	t := m.t
	if m.off(ruleUpto) {
		return false
	}
	if inf, ok := t.ends[*delivery]; ok && inf.upto >= o && (inf.end != facts.End_END_UNSPECIFIED || m.off(ruleTerminalSettles)) {
		return true
	}
	id := t.ix.find(delivery)
	return id != 0 && t.ix.at(id).upto >= o
}

// enter makes an entry of a new round, which is decided in Start.
func (m *Machine) enter(now Time, o uint64, w *work) (uint32, *entry) {
	t := m.t
	id, e := t.ix.add(deliveryOf(w.subject))
	n, l := m.laneOf(ids.ID(w.subject.GetWebhookId()), w.subject.GetAccount())
	t.join(id, e, n)
	e.order, e.upto, e.due, e.slot = o, o, now.Mono, w.slot
	w.entry, w.lane, w.made = id, n, now.Mono
	if o < t.claimEnd && (t.unclean || !t.handed) {
		m.mark(e)
	}
	if m.orphans[e.delivery] > 0 {
		e.state = parked
		return id, e
	}
	m.queueFresh(now, id, e, w, l)
	return id, e
}

// queueFresh puts an undecided request among its lane's ready ones.
func (m *Machine) queueFresh(now Time, id uint32, e *entry, w *work, l *lane) {
	t := m.t
	e.state, w.stage = fresh, undecided
	t.undecided++
	t.bodyBytes += len(w.body)
	if t.bodyBytes > m.cfg.MaxBodyBytes { // it can be made again
		t.bodyBytes -= len(w.body)
		w.body = nil
	}
	l.ready.push(t.ix, id)
	t.freshQueue.push(ref{id: id, order: e.order, at: w.made})
	m.wake(now, e.lane)
}

// spill writes to `lanes` what is held, and what can't start because its lane
// or the node has no room: at once when memory is half full of such, else after
// a moment. It is settled then, and waits there. What only waits for the
// barrier, the lease or the processor stays: writing it would be more work at
// the worst time, and fetching stops before there is too much of it.
func (m *Machine) spill(now Time) {
	t := m.t
	for t.freshQueue.len() > 0 {
		r := t.freshQueue.front()
		e := t.same(*r)
		if e == nil || e.state != fresh {
			t.freshQueue.pop()
			continue
		}
		l := t.lanes[e.lane]
		if l.dying {
			m.dies(e.lane, l)
			t.freshQueue.pop()
			continue
		}
		ripe := m.blocked(now, l) && (now.Mono >= r.at+m.cfg.SpillAfter || t.undecided > m.cfg.MaxUndecided/2)
		if m.draining || !ripe && !l.held {
			return
		}
		id := r.id
		t.freshQueue.pop()
		m.toLanes(now, id, e, l)
	}
}

// blocked reports whether what is ready in the lane can't start for lack of room.
func (m *Machine) blocked(now Time, l *lane) bool {
	return m.t.short || m.room(l) <= 0 || now.Mono < l.closed
}

// nextSpill is when spill has something to do next.
func (m *Machine) nextSpill() (time.Duration, bool) {
	t := m.t
	if t.freshQueue.len() == 0 || m.draining {
		return 0, false
	}
	r := t.freshQueue.front()
	e := t.same(*r)
	return r.at + m.cfg.SpillAfter, e != nil && m.blocked(t.now, t.lanes[e.lane])
}

// toLanes appends the waiting record of an undecided request. That of a new
// round carries the fact that its retry was applied.
func (m *Machine) toLanes(now Time, id uint32, e *entry, l *lane) {
	w := m.workOf(e)
	m.lift(id, e)
	w.body = nil
	reason := facts.WaitReason_WAIT_REASON_QUEUED
	if l.held {
		reason = facts.WaitReason_WAIT_REASON_HELD
	}
	w.stage, w.fact = toLane, nil
	if w.opened != nil {
		w.fact, w.opened = m.retryAsked(now, w, e, w.opened, e.order), nil
	}
	m.appendWaiting(now, w, e, reason, w.fact)
}

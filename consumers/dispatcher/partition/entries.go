package partition

import (
	"time"

	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// sleep puts a waiting delivery that nothing is done with among those that
// wait for their time or, when it is due, for their turn. Commands that came
// meanwhile are judged now.
func (m *Machine) sleep(now Time, id uint32, e *entry) {
	t := m.t
	if w := m.workOf(e); w != nil {
		e.slot = 0
		m.done(w)
	}
	if e.is(flagClosed) {
		m.erase(now, id, e)
		return
	}
	if e.due > now.Mono {
		e.state = timed
		t.timers.push(t.ix, id)
	} else {
		e.state = ready
		t.lanes[e.lane].ready.push(t.ix, id)
	}
	n := e.lane
	m.judgeQueued(now, e.delivery)
	m.wake(now, n)
}

// awaken makes ready what is due, and looks at the lanes whose bell rings.
func (m *Machine) awaken(now Time) {
	t := m.t
	for len(t.timers.ids) > 0 {
		id := t.timers.ids[0]
		e := t.ix.at(id)
		if e.due > now.Mono {
			break
		}
		t.timers.remove(t.ix, id)
		e.state = ready
		t.lanes[e.lane].ready.push(t.ix, id)
		m.wake(now, e.lane)
	}
	for len(t.bells.items) > 0 && t.bells.items[0].at <= now.Mono {
		n := t.bells.pop().lane
		l := t.lanes[n]
		if l.entries < 0 {
			continue // freed meanwhile
		}
		m.expireHeld(now, n, l)
		m.wake(now, n)
		m.leave(now, n)
	}
}

// lift takes a sleeping or undecided entry out of whatever it waits in, for a
// transition. If it was due, nothing younger of its lane may start meanwhile.
func (m *Machine) lift(id uint32, e *entry) {
	t := m.t
	l := t.lanes[e.lane]
	switch e.state {
	case timed:
		t.timers.remove(t.ix, id)
	case ready, fresh:
		l.ready.remove(t.ix, id)
		t.stilled(l)
		l.moving.push(ref{id: id, order: e.order})
	case free, inFlight, moving, parked:
		return
	}
	if e.state == fresh {
		m.undecidedNoMore(m.workOf(e))
	}
	e.state = moving
}

// undecidedNoMore takes a request out of the count of what is undecided.
func (m *Machine) undecidedNoMore(w *work) {
	m.t.undecided--
	m.t.bodyBytes -= len(w.body)
}

// drop removes an entry for good: its round has ended and `lanes` holds
// nothing for it. Commands that came meanwhile are judged without it.
func (m *Machine) drop(now Time, id uint32, e *entry) {
	t := m.t
	m.lift(id, e)
	if w := m.workOf(e); w != nil {
		m.unloaded(id, e, w)
		m.cancelLoad(w)
		if w.ending {
			t.ending--
		}
		if w.token != 0 && m.pending[w.token] == w {
			delete(m.pending, w.token)
		}
		m.done(w)
	}
	if e.offset >= 0 {
		t.live.kill(e.offset)
		t.waiting--
	}
	m.unmark(e)
	t.part(e)
	delivery, n := e.delivery, e.lane
	t.ix.remove(id)
	t.touch()
	m.judgeQueued(now, delivery)
	m.wake(now, n)
	m.leave(now, n)
}

// mark says that the entry's next try may repeat one that was in flight.
func (m *Machine) mark(e *entry) {
	if !e.is(flagRepeat) && !m.off(ruleMarks) {
		e.flags |= flagRepeat
		m.t.repeats++
	}
}

func (m *Machine) unmark(e *entry) {
	if e.is(flagRepeat) {
		e.flags &^= flagRepeat
		m.t.repeats--
	}
}

// load asks for the entry's lane record.
func (m *Machine) load(id uint32, e *entry, why purpose) *work {
	w := m.newWork(loading)
	w.why, w.entry, w.lane, w.offset = why, id, e.lane, e.offset
	e.slot = w.slot
	m.t.loads[e.offset] = w
	m.out.Loads = append(m.out.Loads, e.offset)
	return w
}

// withRecord begins a transition that needs the entry's lane record.
func (m *Machine) withRecord(now Time, id uint32, e *entry, why purpose, prepare func(*work)) {
	w := m.workOf(e)
	if w != nil {
		m.unloaded(id, e, w)
	}
	m.lift(id, e)
	if w == nil {
		w = m.load(id, e, why)
	}
	w.why = why
	if prepare != nil {
		prepare(w)
	}
	if w.stage == loaded {
		m.recordAtHand(now, w)
	}
}

// Loaded answers a Load.
func (m *Machine) Loaded(now Time, offset int64, record *facts.LaneRecord) {
	t := m.t
	t.now = now
	w := t.loads[offset]
	if w == nil {
		return // not wanted any more
	}
	waiting := record.GetWaiting()
	if waiting == nil || w.entry != 0 && string(waiting.GetSubject().GetDeliveryId()) != string(t.ix.at(w.entry).delivery[:]) {
		m.damaged(LogLanes, "the record of a waiting delivery is not where it was read before")
		return
	}
	delete(t.loads, offset)
	w.record = record
	w.stage = loaded
	if w.why == toSend {
		m.wake(now, w.lane)
	} else {
		m.recordAtHand(now, w)
	}
	m.step(now)
}

// LoadFailed says that a Load could not be answered now; it is asked again.
func (m *Machine) LoadFailed(now Time, offset int64) {
	m.t.now = now
	if m.t.loads[offset] != nil {
		m.t.again = append(m.t.again, offset)
		m.t.againAt = now.Mono + time.Second
	}
}

// reload asks again for what could not be loaded.
func (m *Machine) reload() {
	t := m.t
	if len(t.again) == 0 || t.now.Mono < t.againAt {
		return
	}
	for _, offset := range t.again {
		if t.loads[offset] != nil {
			m.out.Loads = append(m.out.Loads, offset)
		}
	}
	t.again = t.again[:0]
}

// cancelLoad forgets a load that is under way.
func (m *Machine) cancelLoad(w *work) {
	if w.stage == loading {
		delete(m.t.loads, w.offset)
		m.arrived(w)
	}
}

// arrived counts off what was loaded for a bounded number of transitions.
func (m *Machine) arrived(w *work) {
	if w.why == toCarry {
		m.t.carrying--
	}
}

// recordAtHand goes on with a transition whose lane record has come.
func (m *Machine) recordAtHand(now Time, w *work) {
	t := m.t
	if w.why == toComplete {
		m.complete(w)
		return
	}
	e := t.ix.at(w.entry)
	m.arrived(w)
	if e.is(flagClosed) {
		m.erase(now, w.entry, e)
		return
	}
	waiting := w.record.GetWaiting()
	w.subject, w.content = waiting.GetSubject(), waiting.GetContent()
	switch w.why {
	case toCarry:
		m.appendCarried(now, w, e)
	case toRetry:
		m.appendRetry(now, w, e)
	case toFinish:
		m.appendEnd(now, w, e)
	case toSend, toComplete:
	}
}

package partition

import (
	"google.golang.org/protobuf/proto"

	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// appendLane appends a record to `lanes` under this epoch and a key of its own.
func (m *Machine) appendLane(now Time, w *work, r *facts.LaneRecord) {
	m.counter++
	key := newID(m.p, m.t.epoch, m.counter)
	r.Key, r.Epoch, r.AtMs = key[:], m.t.epoch, now.Wall
	w.token = m.counter
	m.pending[w.token] = w
	m.out.Lanes = append(m.out.Lanes, LaneAppend{Token: w.token, Record: r})
}

// appendFact appends a fact to `attempts`. The floor passes no place at which
// it may land before it is acknowledged.
func (m *Machine) appendFact(w *work, s stage, f *facts.AttemptFact) {
	m.counter++
	w.token, w.fact, w.stage = m.counter, f, s
	m.pending[w.token] = w
	if m.t.mode == owning {
		m.t.unacked.push(unacked{token: w.token, tail: m.t.attemptsPos})
	}
	m.out.Attempts = append(m.out.Attempts, FactAppend{Token: w.token, Fact: f})
}

// finish forgets a work that waits for something.
func (m *Machine) finish(w *work) {
	if w == nil {
		return
	}
	if w.token != 0 && m.pending[w.token] == w {
		delete(m.pending, w.token)
	}
	m.done(w)
}

// Appended acknowledges an append.
func (m *Machine) Appended(now Time, token uint64, offset int64) {
	m.t.now = now
	w := m.pending[token]
	if w == nil {
		return
	}
	switch w.stage {
	case toLane, carried:
		if m.off(ruleReadBack) && m.t.mode == owning {
			m.trusted(now, w, offset)
		}
	case factAfterLane:
		if w.hold != nil {
			w.hold.done = true
		}
		delete(m.pending, token)
		m.sleep(now, w.entry, m.t.ix.at(w.entry))
	case factThenLane:
		delete(m.pending, token)
		f := w.fact
		w.stage, w.fact = toLane, nil
		m.appendWaiting(now, w, m.t.ix.at(w.entry), facts.WaitReason_WAIT_REASON_RETRY, f)
	case toEnd:
		m.ended(now, w, offset)
	case factOnly:
		m.finish(w)
	case completion:
		w.hold.done = true
		if w.counted {
			m.t.incomplete--
		}
		m.finish(w)
		m.completed(now)
	case refusing:
		m.settle(w.askedAt)
		m.t.commanded--
		m.finish(w)
	case undecided, loading, loaded, trying, orphaned, deleting, toHealth, toCheckpoint: // `lanes` counts when read back
	}
	m.step(now)
}

// AppendFailed says that an append failed, whether it was written or not.
//
// A fact is appended again: it has its id. A record of `lanes` may still land
// later, after whatever would be appended in its place, so the epoch ends: the
// machine claims anew, and what the record said is void.
func (m *Machine) AppendFailed(now Time, token uint64) {
	m.t.now = now
	w := m.pending[token]
	if w == nil {
		return
	}
	switch w.stage {
	case factAfterLane, factThenLane, toEnd, factOnly, completion, refusing:
		delete(m.pending, token)
		m.counter++
		w.token = m.counter
		m.pending[w.token] = w
		if m.t.mode == owning {
			m.t.factHolds.push(factHold{at: m.tailOf(token), token: w.token})
		}
		m.out.Attempts = append(m.out.Attempts, FactAppend{Token: w.token, Fact: w.fact})
	case toLane, deleting, toHealth, toCheckpoint, carried:
		m.claimAnew(now)
	case undecided, loading, loaded, trying, orphaned: // not appended
	}
	m.step(now)
}

// landed goes on with a transition whose waiting record was read back.
func (m *Machine) landed(now Time, at int64, w *work) {
	if w == nil {
		return
	}
	t := m.t
	e := t.ix.at(w.entry)
	delete(m.pending, w.token)
	m.settle(e.order)
	m.settle(e.upto)
	for _, o := range w.settles {
		m.settle(o)
	}
	t.commanded -= len(w.settles)
	w.settles = w.settles[:0]
	t.touch()
	if w.stage == carried {
		t.carrying--
	}
	if w.fact == nil || w.stage == carried {
		m.sleep(now, w.entry, e)
		return
	}
	w.hold = &laneHold{at: at}
	t.laneHolds.push(w.hold)
	m.appendFact(w, factAfterLane, w.fact)
}

// trusted is what ruleReadBack forbids: it takes the acknowledgement of a
// record for its effect, and deletes what it takes for replaced.
func (m *Machine) trusted(now Time, w *work, _ int64) {
	if e := m.t.ix.at(w.entry); e.offset >= 0 {
		m.deleteFirst(now, e)
	}
}

// ended goes on with a round whose last fact is acknowledged: `deliveries` is
// settled, and what `lanes` has of it is deleted.
func (m *Machine) ended(now Time, w *work, at int64) {
	t := m.t
	e := t.ix.at(w.entry)
	delete(m.pending, w.token)
	if w.second != nil { // without ruleOneFact
		f := w.second
		w.second = nil
		m.appendFact(w, toEnd, f)
		return
	}
	m.settleRound(e, w)
	if end := w.fact.GetEnd(); end != facts.End_END_UNSPECIFIED {
		m.noteEnd(e.delivery, endOf(w.fact, e.upto), at)
	}
	if e.offset >= 0 && !m.off(ruleFloors) {
		t.factHolds.push(factHold{at: at, id: w.entry, order: e.order})
	}
	m.erase(now, w.entry, e)
}

// settleRound settles every command of the entry's round.
func (m *Machine) settleRound(e *entry, w *work) {
	m.settle(e.order)
	m.settle(e.upto)
	if w != nil {
		for _, o := range w.settles {
			m.settle(o)
		}
		m.t.commanded -= len(w.settles)
		w.settles = w.settles[:0]
	}
}

func (m *Machine) settle(o uint64) {
	m.t.window.settle(o)
	m.t.touch()
}

// erase removes an ended entry: from `lanes` first, if that has it.
func (m *Machine) erase(now Time, id uint32, e *entry) {
	w := m.workOf(e)
	m.settleRound(e, w)
	if e.offset < 0 {
		m.drop(now, id, e)
		return
	}
	if w == nil {
		w = m.newWork(deleting)
		e.slot = w.slot
	}
	m.unloaded(id, e, w)
	m.cancelLoad(w)
	e.state = moving
	w.stage, w.entry, w.lane, w.record = deleting, id, e.lane, nil
	delivery := e.delivery
	m.appendLane(now, w, &facts.LaneRecord{Record: &facts.LaneRecord_Deletion{Deletion: &facts.Deletion{
		DeliveryId: delivery[:], Offset: uint64(e.offset),
	}}})
}

// complete appends the fact of a lane record that `attempts` lacks.
func (m *Machine) complete(w *work) {
	t := m.t
	f := proto.CloneOf(w.record.GetWaiting().GetFact())
	f.Completed = true
	if m.off(ruleAttemptID) {
		m.counter++
		id := newID(m.p, t.epoch, m.counter)
		f.FactId = id[:]
	}
	w.record = nil
	m.appendFact(w, completion, f)
}

// appendCarried appends an equal copy of a waiting record, so that the log
// below it can be trimmed.
func (m *Machine) appendCarried(now Time, w *work, e *entry) {
	r := &facts.LaneRecord{Carried: true, Record: &facts.LaneRecord_Waiting{Waiting: w.record.GetWaiting()}}
	w.stage, w.record, w.fact = carried, nil, nil
	m.t.carrying++
	if m.off(ruleCarriedReadBack) {
		m.t.live.kill(e.offset)
	}
	m.appendLane(now, w, r)
}

func deliveryOf(s *facts.Subject) ids.ID {
	if len(s.GetDeliveryId()) != ids.Size {
		return ids.ID{}
	}
	return ids.ID(s.GetDeliveryId())
}

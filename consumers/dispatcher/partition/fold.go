package partition

import (
	"fmt"
	"slices"

	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// candidate is a lane record whose fact may be missing in `attempts`.
type candidate struct {
	fact    ids.ID
	at      int64
	attempt bool
}

// laneHold keeps the floor of `lanes` at a record until the fact in it is in
// `attempts`.
type laneHold struct {
	at   int64
	done bool
}

// Lanes feeds records of `lanes`.
func (m *Machine) Lanes(now Time, records []LaneRead) {
	for _, r := range records {
		t := m.t
		t.now = now
		if m.err != nil || !t.lanesOpen || t.mode == idle || t.mode == deposed || r.Offset < t.lanesPos {
			continue
		}
		if r.Offset > t.lanesPos {
			m.damaged(LogLanes, fmt.Sprintf("records from %d to %d are missing", t.lanesPos, r.Offset))
			return
		}
		t.live.push()
		t.lanesPos++
		m.applyLane(now, r.Offset, r.Record)
		if m.t == t {
			m.claim(now)
		}
	}
	m.t.now = now
	m.step(now)
}

// applyLane folds one record. The same code serves the claimant, who learns
// the state, and the owner, whose appends count when they come back here.
func (m *Machine) applyLane(now Time, at int64, r *facts.LaneRecord) {
	t := m.t
	switch record := r.GetRecord().(type) {
	case *facts.LaneRecord_Owner:
		m.applyOwner(now, at, r, record.Owner)
	case *facts.LaneRecord_Deletion:
		m.applyDeletion(now, r, record.Deletion)
	case *facts.LaneRecord_Waiting:
		m.names(r.GetEpoch())
		valid := r.GetEpoch() == t.epoch || m.off(ruleEpochs)
		t.clean = t.clean && !valid
		m.candidate(at, r, record.Waiting, valid)
		if valid {
			m.applyWaiting(now, at, r, record.Waiting)
		}
	case *facts.LaneRecord_Health:
		m.names(r.GetEpoch())
		if r.GetEpoch() == t.epoch {
			t.clean = false
			m.applyHealth(now, at, r, record.Health)
		}
	case *facts.LaneRecord_Checkpoint:
		m.names(r.GetEpoch())
		if r.GetEpoch() == t.epoch {
			m.applyCheckpoint(now, at, r, record.Checkpoint)
		}
	}
}

// names takes note of an epoch that a record names. Owner records below the
// log's start are known by this only: the greatest is the epoch that holds at
// the start, and all that was folded under a lesser one is void, owner records
// too.
func (m *Machine) names(epoch uint64) {
	t := m.t
	if t.mode > claiming || epoch <= t.base || epoch >= uint64(max(t.lanesStart, 0)) {
		return
	}
	fresh := newTenure()
	fresh.mode, fresh.now, fresh.claim = t.mode, t.now, t.claim
	fresh.lanesOpen, fresh.lanesStart, fresh.lanesPos, fresh.lanesEnd = true, t.lanesStart, t.lanesPos, t.lanesEnd
	fresh.live.reset(t.lanesStart)
	for fresh.live.end() < t.live.end() {
		fresh.live.push()
	}
	// Attempts in void records are completed too.
	for _, c := range t.candidates[t.firstCandidate:] {
		if c.attempt {
			fresh.candidates = append(fresh.candidates, c)
		}
	}
	fresh.base, fresh.epoch = epoch, epoch
	*t = *fresh
}

func (m *Machine) applyOwner(now Time, at int64, r *facts.LaneRecord, o *facts.Owner) {
	t := m.t
	m.names(o.GetReplacedEpoch())
	mine := t.mode == claiming && string(r.GetKey()) == string(t.claim[:])
	if mine {
		m.finish(t.claimWork)
	}
	if o.GetReplacedEpoch() != t.epoch && !m.off(ruleNamesReplaced) {
		if mine { // another valid claim came between: name that one
			t.mode, t.lanesEnd = reading, t.lanesPos
		}
		return
	}
	if t.mode > claiming {
		m.depose(now)
		return
	}
	t.epoch = uint64(at)
	if mine {
		m.claimed()
	}
}

// depose ends the tenure because of a newer owner. If the group still names
// this node, it claims anew; a heartbeat sent after this moment says so.
func (m *Machine) depose(now Time) {
	m.abandon()
	m.t.mode, m.t.now = deposed, now
	m.deposed = now.Mono
}

// candidate notes a record whose fact may be missing in `attempts`; the owner
// completes what lands void under its eyes at once.
func (m *Machine) candidate(at int64, r *facts.LaneRecord, waiting *facts.Waiting, valid bool) {
	t := m.t
	f := waiting.GetFact()
	if f == nil || r.GetCarried() || !valid && !isAttempt(f) {
		return
	}
	if t.mode <= claiming {
		t.candidates = append(t.candidates, candidate{fact: ids.ID(f.GetFactId()), at: at, attempt: isAttempt(f)})
		return
	}
	if !valid {
		hold := &laneHold{at: at}
		t.laneHolds.push(hold)
		w := m.newWork(loaded)
		w.record, w.hold = r, hold
		if t.mode != owning {
			t.incomplete++
			w.counted = true
		}
		m.complete(w)
	}
}

// applyWaiting makes a valid record the live one of its delivery.
func (m *Machine) applyWaiting(now Time, at int64, r *facts.LaneRecord, waiting *facts.Waiting) {
	t := m.t
	delivery := ids.ID(waiting.GetSubject().GetDeliveryId())
	id := t.ix.find(&delivery)
	var e *entry
	if id == 0 {
		id, e = t.ix.add(delivery)
		n, _ := m.laneOf(ids.ID(waiting.GetSubject().GetWebhookId()), waiting.GetSubject().GetAccount())
		t.join(id, e, n)
	} else {
		e = t.ix.at(id)
	}
	if e.offset >= 0 {
		if m.off(ruleReplaces) {
			m.supersede(now, e)
		}
		t.live.kill(e.offset)
	} else {
		t.waiting++
	}
	e.offset = at
	if m.off(ruleReplaces) {
		t.former[delivery] = append(t.former[delivery], former{at, r})
	}
	t.live.set(at, id)
	e.order, e.upto = waiting.GetOrder(), max(e.upto, waiting.GetUpto())
	e.attempts, e.tries = waiting.GetAttempts(), uint16(waiting.GetRoundAttempts())
	if waiting.GetReopened() {
		e.flags |= flagReopened
	}
	if t.mode == owning {
		m.landed(now, at, m.pending[counterOf(r.GetKey())])
		return
	}
	e.due = mono(now, waiting.GetDueMs())
	if e.tries == 0 { // it only waits for its turn: clocks that differ must not let others overtake it
		e.due = min(e.due, now.Mono)
	}
	t.highest = max(t.highest, e.order+1)
	m.unmark(e)
	if waiting.GetMaybeRepeat() {
		m.mark(e)
	}
}

// applyDeletion is valid in any epoch: the delivery has ended.
func (m *Machine) applyDeletion(now Time, r *facts.LaneRecord, d *facts.Deletion) {
	t := m.t
	if t.mode == owning && r.GetEpoch() == t.epoch {
		if w := m.pending[counterOf(r.GetKey())]; w != nil && w.stage == deleting {
			m.drop(now, w.entry, t.ix.at(w.entry))
			return
		}
	}
	if len(d.GetDeliveryId()) != ids.Size {
		return
	}
	delivery := ids.ID(d.GetDeliveryId())
	if m.off(ruleReplaces) {
		defer m.revive(now, delivery, int64(d.GetOffset()))
	}
	id := t.ix.find(&delivery)
	if id == 0 {
		return
	}
	e := t.ix.at(id)
	if uint64(e.offset) != d.GetOffset() {
		return
	}
	t.live.kill(e.offset)
	e.offset = -1
	t.waiting--
	if t.mode != owning {
		m.unmark(e)
		t.part(e)
		t.ix.remove(id)
		return
	}
	m.close(now, id, e)
}

// former is a record of `lanes` that nobody has deleted.
type former struct {
	at     int64
	record *facts.LaneRecord
}

// supersede is what ruleReplaces forbids: what a record replaces lives until its
// own deletion.
func (m *Machine) supersede(now Time, e *entry) {
	if m.t.mode == owning {
		m.deleteFirst(now, e)
	}
}

// revive is the other half of it: when a delivery's record is deleted, one that
// it had replaced lives again.
func (m *Machine) revive(now Time, delivery ids.ID, deleted int64) {
	t := m.t
	t.former[delivery] = slices.DeleteFunc(t.former[delivery], func(f former) bool { return f.at == deleted })
	list := t.former[delivery]
	if n := len(list); n > 0 && t.mode != owning && t.ix.find(&delivery) == 0 {
		last := list[n-1]
		t.former[delivery] = list[:n-1]
		m.applyWaiting(now, last.at, last.record, last.record.GetWaiting())
	}
}

// close follows somebody else's end of the entry's round.
func (m *Machine) close(now Time, id uint32, e *entry) {
	e.flags |= flagClosed
	switch e.state {
	case timed, ready, fresh, parked:
		m.lift(id, e)
		m.erase(now, id, e)
	case inFlight, moving, free: // its transition ends first
	}
}

// applyCheckpoint makes a valid checkpoint the one that counts.
func (m *Machine) applyCheckpoint(now Time, at int64, r *facts.LaneRecord, c *facts.Checkpoint) {
	t := m.t
	t.live.kill(t.checkpointAt)
	t.checkpoint, t.checkpointAt, t.clean = c, at, c.GetClean()
	t.live.set(at, tagCheckpoint)
	if t.mode == owning {
		m.checkpointed(now, m.pending[counterOf(r.GetKey())])
		return
	}
	for t.firstCandidate < len(t.candidates) && t.candidates[t.firstCandidate].at < int64(c.GetLanesFloor()) {
		t.firstCandidate++
	}
}

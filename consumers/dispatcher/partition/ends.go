package partition

import (
	"fmt"
	"time"

	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// ended is the newest end that is known of a delivery. It is kept while
// `deliveries` is not read past it, because commands below were applied; ends
// of rounds that a retry opened are kept for a while longer, because a second
// retry may name the round before.
type ended struct {
	round, upto uint64
	end         facts.End
	attempts    uint32
	reopened    bool
	until       time.Duration
}

func endOf(f *facts.AttemptFact, upto uint64) ended {
	return ended{round: f.GetRound(), upto: max(upto, f.GetUpto()), end: f.GetEnd(), attempts: f.GetAttempt(), reopened: f.GetReopened()}
}

// factHold keeps a floor of `attempts` at a fact until `deliveries` was read
// past what it ended, the entry is gone, the append is acknowledged, and the
// time to remember it is over.
type factHold struct {
	at       int64
	upto     uint64
	passed   bool // upto counts
	id       uint32
	order    uint64
	token    uint64
	until    time.Duration
	delivery ids.ID
}

// unacked is a fact on its way: it can't land below the tail that was read then.
type unacked struct {
	token uint64
	tail  int64
}

func (m *Machine) free(h *factHold) bool {
	t := m.t
	if h.passed && t.reader <= h.upto || h.until > t.now.Mono {
		return false
	}
	if inf, ok := t.ends[h.delivery]; ok && h.passed && t.reader <= inf.upto { // its round absorbed more
		return false
	}
	if h.token != 0 && m.pending[h.token] != nil {
		return false
	}
	return h.id == 0 || t.same(ref{id: h.id, order: h.order}) == nil
}

// attemptsFloor is what the next owner has to read `attempts` from.
func (m *Machine) attemptsFloor() int64 {
	t := m.t
	for len(t.factHolds.items) > 0 && m.free(&t.factHolds.items[0]) {
		m.unremember(t.factHolds.pop())
	}
	for t.unacked.len() > 0 && m.pending[t.unacked.front().token] == nil {
		t.unacked.pop()
	}
	floor := t.attemptsPos
	if m.off(ruleFloors) {
		return floor
	}
	if len(t.factHolds.items) > 0 {
		floor = min(floor, t.factHolds.items[0].at)
	}
	if t.unacked.len() > 0 {
		floor = min(floor, t.unacked.front().tail)
	}
	return floor
}

// tailOf is the place below which a fact on its way can't land.
func (m *Machine) tailOf(token uint64) int64 {
	q := &m.t.unacked
	for _, u := range q.items[q.head:] {
		if u.token == token {
			return u.tail
		}
	}
	return m.attemptsFloor()
}

// lanesFloor is the lowest lane record whose fact is not in `attempts` yet.
func (m *Machine) lanesFloor() int64 {
	t := m.t
	for t.laneHolds.len() > 0 && (*t.laneHolds.front()).done {
		t.laneHolds.pop()
	}
	if t.laneHolds.len() > 0 && !m.off(ruleFloors) {
		return (*t.laneHolds.front()).at
	}
	return t.lanesPos
}

// endsFloor is the lowest end that is remembered.
func (m *Machine) endsFloor(floor int64) int64 {
	t := m.t
	for len(t.remembered.items) > 0 && m.free(&t.remembered.items[0]) {
		m.unremember(t.remembered.pop())
	}
	if len(t.remembered.items) > 0 {
		return min(floor, t.remembered.items[0].at)
	}
	return floor
}

// forget drops what need not be remembered any more.
func (m *Machine) forget(Time) {
	t := m.t
	if len(t.remembered.items) > 0 && m.free(&t.remembered.items[0]) {
		m.unremember(t.remembered.pop())
		t.touch()
	}
	if len(t.factHolds.items) > 0 && m.free(&t.factHolds.items[0]) {
		m.unremember(t.factHolds.pop())
		t.touch()
	}
}

func (m *Machine) unremember(h factHold) {
	t := m.t
	if inf, ok := t.ends[h.delivery]; ok && inf.upto < t.reader && inf.until <= t.now.Mono {
		delete(t.ends, h.delivery)
	}
}

// noteEnd remembers an end as far as it is needed.
func (m *Machine) noteEnd(delivery ids.ID, inf ended, at int64) {
	t := m.t
	old, known := t.ends[delivery]
	again := known || inf.reopened && !m.off(ruleEnds)
	// A fact that comes later in `attempts` may show that the round absorbed
	// commands which are not read yet: a claimant keeps every end that it finds.
	unread := (inf.upto >= t.reader || t.mode == folding) && !m.off(ruleRememberSettled)
	if !again && !unread {
		return
	}
	if known && old.round > inf.round {
		return
	}
	if inf.reopened {
		inf.until = t.now.Mono + m.cfg.RememberEnds
	}
	if known && old.round == inf.round {
		inf.upto, inf.until, inf.attempts = max(inf.upto, old.upto), max(inf.until, old.until), max(inf.attempts, old.attempts)
		inf.end = max(inf.end, old.end)
	}
	t.ends[delivery] = inf
	if unread {
		t.factHolds.push(factHold{at: at, upto: inf.upto, passed: true, delivery: delivery})
	}
	if inf.until > 0 {
		t.remembered.push(factHold{at: at, upto: inf.upto, passed: true, until: inf.until, delivery: delivery})
	}
}

// Attempts feeds records of `attempts`.
func (m *Machine) Attempts(now Time, records []FactRead) {
	for _, r := range records {
		t := m.t
		t.now = now
		if m.err != nil || !t.attemptsOpen || r.Offset < t.attemptsPos {
			continue
		}
		if r.Offset > t.attemptsPos {
			m.damaged(LogAttempts, fmt.Sprintf("records from %d to %d are missing", t.attemptsPos, r.Offset))
			return
		}
		t.attemptsPos++
		if r.Fact != nil {
			m.applyFact(now, r.Offset, r.Fact)
		}
		m.folded(now)
	}
	m.t.now = now
	m.step(now)
}

// applyFact follows a fact of another epoch.
func (m *Machine) applyFact(now Time, at int64, f *facts.AttemptFact) {
	t := m.t
	if len(f.GetFactId()) == ids.Size {
		if hold := t.wanted[ids.ID(f.GetFactId())]; hold != nil && t.mode == folding {
			hold.done = true
		}
	}
	if t.mode == owning && (f.GetEpoch() == t.epoch || m.off(ruleTail)) {
		return
	}
	switch f.GetKind() {
	case facts.FactKind_FACT_KIND_RETRY_REFUSED:
		if o := f.GetCommandOffset(); o >= t.reader {
			t.refused[o] = true
			t.factHolds.push(factHold{at: at, upto: o, passed: true})
		}
		return
	case facts.FactKind_FACT_KIND_TEST, facts.FactKind_FACT_KIND_UNSPECIFIED:
		return
	case facts.FactKind_FACT_KIND_ATTEMPT, facts.FactKind_FACT_KIND_ENDED, facts.FactKind_FACT_KIND_RETRY_ASKED:
	}
	delivery := deliveryOf(f.GetSubject())
	inf := endOf(f, 0)
	if inf.end == facts.End_END_UNSPECIFIED {
		if m.off(ruleTerminalSettles) {
			m.noteEnd(delivery, inf, at)
			return
		}
		m.absorb(delivery, inf, at)
		return
	}
	id := t.ix.find(&delivery)
	if id == 0 {
		m.noteEnd(delivery, inf, at)
		return
	}
	e := t.ix.at(id)
	if e.order != inf.round {
		m.noteEnd(delivery, inf, at)
		return
	}
	if !m.off(ruleAbsorb) {
		inf.upto = max(inf.upto, e.upto)
	}
	inf.reopened = inf.reopened || e.is(flagReopened)
	m.noteEnd(delivery, inf, at)
	if !m.off(ruleFloors) {
		t.factHolds.push(factHold{at: at, id: id, order: e.order})
	}
	if t.mode != owning {
		e.flags |= flagClosed
		return
	}
	m.close(now, id, e)
}

// absorb notes the commands that a round has applied without ending.
func (m *Machine) absorb(delivery ids.ID, inf ended, at int64) {
	t := m.t
	if inf.upto <= inf.round || inf.upto < t.reader || m.off(ruleAbsorb) {
		return
	}
	old, known := t.ends[delivery]
	switch {
	case known && old.round > inf.round:
	case known && old.round == inf.round:
		old.upto = max(old.upto, inf.upto)
		t.ends[delivery] = old
	default:
		t.ends[delivery] = inf
		t.factHolds.push(factHold{at: at, upto: inf.upto, passed: true, delivery: delivery})
	}
}

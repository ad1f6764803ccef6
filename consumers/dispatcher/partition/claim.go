package partition

import (
	"fmt"
	"math"

	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// claimAnew throws away what is known and reads `lanes` from its start.
func (m *Machine) claimAnew(now Time) {
	m.abandon()
	m.t.now = now
	m.t.mode = reading
	m.seek(LogLanes, FromStart)
}

func (m *Machine) seek(log Log, from int64) {
	m.out.Seeks = append(m.out.Seeks, Seek{Log: log, From: from})
}

// abandon ends the tenure. What is in flight goes on as orphans, whose facts
// are appended to `attempts` and nothing else; so are the attempts' facts that
// were on their way.
func (m *Machine) abandon() {
	works, pending := m.works, m.pending
	m.t = newTenure()
	m.works, m.unused, m.pending = make([]*work, 1), nil, make(map[uint64]*work)
	m.out.Lanes, m.out.Loads, m.out.Seeks, m.out.Trims = m.out.Lanes[:0], m.out.Loads[:0], m.out.Seeks[:0], m.out.Trims[:0]
	for _, w := range works[1:] {
		if w.token == 0 || pending[w.token] != w {
			continue
		}
		w.entry, w.lane, w.hold, w.settles = 0, 0, nil, nil
		switch w.stage {
		case trying, orphaned:
			if w.stage == trying {
				w.stage = orphaned
				m.orphans[deliveryOf(w.subject)]++
			}
			w.record, w.body = nil, nil
			m.keep(w)
			m.pending[w.token] = w
		case toLane:
			// Its record may be void: the attempt in it is completed.
			if isAttempt(w.fact) {
				m.keep(w)
				m.appendFact(w, factOnly, w.fact)
			}
		case factAfterLane, factThenLane, toEnd, factOnly, completion:
			w.second = nil
			if isAttempt(w.fact) {
				w.stage = factOnly
				m.keep(w)
				m.pending[w.token] = w
			}
		case undecided, loading, loaded, deleting, toHealth, toCheckpoint, refusing, carried:
		}
	}
}

// keep gives a work of an earlier tenure a number in this one.
func (m *Machine) keep(w *work) {
	w.slot = uint32(len(m.works))
	m.works = append(m.works, w)
}

func isAttempt(f *facts.AttemptFact) bool {
	return f.GetKind() == facts.FactKind_FACT_KIND_ATTEMPT
}

// Opened answers a Seek with the log's start and end at that moment.
func (m *Machine) Opened(now Time, log Log, start, end int64) {
	t := m.t
	t.now = now
	switch {
	case log == LogLanes && t.mode == reading:
		t.lanesOpen, t.lanesStart, t.lanesPos, t.lanesEnd = true, start, start, end
		t.live.reset(start)
		m.claim(now)
	case log == LogAttempts && t.mode == folding:
		from := t.attemptsPos
		floor := int64(t.checkpoint.GetAttemptsFloor())
		if start > floor {
			m.doubt(now, LogAttempts, start, fmt.Sprintf("it starts at %d, above %d, which the newest checkpoint needs", start, floor))
			return
		}
		if end < floor {
			m.damaged(LogAttempts, fmt.Sprintf("it ends at %d, below %d, which the newest checkpoint has seen", end, floor))
			return
		}
		if start > from { // remembered ends are gone, which only makes retries by hand more welcome
			t.attemptsPos = start
			m.seek(LogAttempts, start)
			return
		}
		t.attemptsOpen, t.attemptsEnd = true, end
		m.folded(now)
	case log == LogDeliveries && t.mode == opening:
		low, position := int64(t.window.low()), int64(t.window.position)
		if start > low {
			m.doubt(now, LogDeliveries, start, fmt.Sprintf("it starts at %d, above %d, which is not settled", start, low))
			return
		}
		if end < position {
			m.damaged(LogDeliveries, fmt.Sprintf("it ends at %d, below %d, which the newest checkpoint has read", end, position))
			return
		}
		if end < int64(t.highest) {
			m.damaged(LogDeliveries, fmt.Sprintf("it ends at %d, and a waiting delivery came from %d", end, t.highest-1))
			return
		}
		t.reader, t.claimEnd = uint64(low), uint64(end)
		m.begin(now)
	}
	m.step(now)
}

// LogStart tells the start of a log, from a fetch or because a reader fell
// below it. What lies between is not known: readers never skip. Another owner
// may have trimmed what this one still reads, so it is no damage by itself; the
// machine claims anew, if the group still names it, and finds out.
func (m *Machine) LogStart(now Time, log Log, start int64) {
	t := m.t
	t.now = now
	below := false
	switch log {
	case LogLanes:
		below = t.lanesOpen && start > t.lanesPos
		if below && m.off(ruleNeverSkip) {
			m.skipTo(start)
			return
		}
	case LogAttempts:
		below = t.attemptsOpen && start > t.attemptsPos
	case LogDeliveries:
		below = t.mode == owning && start > int64(t.reader)
	}
	if below {
		m.depose(now)
	}
	m.step(now)
}

// doubt is for a log that starts above what the newest checkpoint needs. A
// claimant that slept may only not have read the checkpoint of the owner who
// trimmed: it claims anew. Whoever trimmed had read its checkpoint back, so
// when the log starts no higher after all of that was read again, it is damage.
func (m *Machine) doubt(now Time, log Log, start int64, what string) {
	if start <= m.doubts[log] {
		m.damaged(log, what)
		return
	}
	m.doubts[log] = start
	m.depose(now)
}

// claim appends the owner record, once `lanes` was read to its end, and only
// while an answered heartbeat says that the group still means it: a process
// that slept would dethrone the living owner by an assignment of long ago.
func (m *Machine) claim(now Time) {
	t := m.t
	if t.mode != reading || !t.lanesOpen || t.lanesPos < t.lanesEnd || now.Mono-m.heartbeat > m.cfg.Lease {
		return
	}
	t.mode = claiming
	// Two claimants of one epoch need different keys.
	counter := uint64(m.rnd()*(1<<32))<<32 | uint64(m.rnd()*(1<<32))
	t.claim = newID(m.p, t.epoch, counter)
	claim := t.claim
	t.claimWork = m.newWork(toCheckpoint)
	r := &facts.LaneRecord{Record: &facts.LaneRecord_Owner{
		Owner: &facts.Owner{Generation: m.generation, Node: m.node, ReplacedEpoch: t.epoch},
	}}
	m.appendLane(now, t.claimWork, r)
	r.Key, r.Epoch = claim[:], 0
}

// claimed goes on with the takeover when the claim was read back, valid.
func (m *Machine) claimed() {
	t := m.t
	t.mode, t.handed, t.unclean = folding, t.clean, m.unclean
	if t.checkpoint == nil {
		m.damaged(LogLanes, "it has no checkpoint")
		return
	}
	if floor := int64(t.checkpoint.GetLanesFloor()); t.lanesStart > floor {
		m.damaged(LogLanes, fmt.Sprintf("it starts at %d, above %d, which the newest checkpoint needs", t.lanesStart, floor))
		return
	}
	t.window = newWindow(t.checkpoint)
	if m.off(ruleInherit) {
		t.window = newWindow(&facts.Checkpoint{Position: t.checkpoint.GetPosition(), Low: t.checkpoint.GetPosition()})
		t.window.base = t.checkpoint.GetLow() &^ 63
	}
	t.sources = newSources(t.checkpoint)
	t.reader = t.checkpoint.GetLow()
	for _, c := range t.candidates[t.firstCandidate:] {
		hold := &laneHold{at: c.at}
		t.laneHolds.push(hold)
		t.wanted[c.fact] = hold
	}
	t.candidates = nil
	t.attemptsPos = int64(min(t.checkpoint.GetAttemptsFloor(), t.checkpoint.GetEndsFloor()))
	m.seek(LogAttempts, t.attemptsPos)
}

// folded goes on when `attempts` was read to its end: what lane records have
// and it has not is completed.
func (m *Machine) folded(now Time) {
	t := m.t
	if t.mode != folding || t.attemptsPos < t.attemptsEnd {
		return
	}
	t.mode = completing
	for i := t.laneHolds.head; i < len(t.laneHolds.items); i++ {
		hold := t.laneHolds.items[i]
		if hold.done || m.off(ruleCompleteReplaced) && t.live.tag(max(hold.at, t.live.base)) == tagDead {
			hold.done = true
			continue
		}
		w := m.newWork(loading)
		w.why, w.offset, w.hold, w.counted = toComplete, hold.at, hold, true
		t.loads[hold.at] = w
		t.incomplete++
		m.out.Loads = append(m.out.Loads, hold.at)
	}
	m.completed(now)
}

// completed goes on when all of them are acknowledged.
func (m *Machine) completed(_ Time) {
	t := m.t
	if t.mode != completing || t.incomplete > 0 {
		return
	}
	t.mode = opening
	m.seek(LogDeliveries, int64(t.window.low()))
}

// begin makes the machine the owner: what waits gets its due time, and what
// the former owner may have had in flight is marked.
func (m *Machine) begin(now Time) {
	t := m.t
	t.mode = owning
	m.takeovers++
	t.lastChange = now.Mono
	t.changed = true
	t.proven, t.made = math.MinInt64/2, math.MinInt64/2
	marked := now.Mono + m.cfg.ClockSkew
	for n := uint32(1); n < uint32(len(t.lanes)); n++ {
		l := t.lanes[n]
		if l.entries < 0 {
			continue
		}
		for id := l.first; id != 0; {
			e := t.ix.at(id)
			next := e.next
			if t.unclean || e.due <= marked && !t.handed {
				m.mark(e)
			}
			if e.is(flagClosed) {
				e.state = moving
				m.erase(now, id, e)
			} else {
				m.settleIn(now, id, e)
			}
			id = next
		}
		if l.closed > now.Mono {
			m.ring(l.closed, n)
		}
		m.look(now, n)
		m.leave(now, n)
	}
	t.wanted = nil
}

// settleIn gives an entry that was folded its place.
func (m *Machine) settleIn(now Time, id uint32, e *entry) {
	t := m.t
	switch {
	case m.orphans[e.delivery] > 0:
		e.state = parked
	case e.due > now.Mono:
		e.state = timed
		t.timers.push(t.ix, id)
	default:
		e.state = ready
		t.lanes[e.lane].ready.push(t.ix, id)
	}
}

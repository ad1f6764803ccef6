package partition

// clean keeps `lanes` short. What is dead at its beginning is trimmed, and
// when more than half of it is dead the oldest that live are carried forward:
// appended again, so that the log below them can go.
//
// The bound of a trim is the lowest of every live record (the newest
// checkpoint is one) and of the floor of this epoch's newest checkpoint that
// was read back. It depends only on what was read back, so it stays right
// however late the trim lands, and whoever owns the partition then.
func (m *Machine) clean(now Time) {
	t := m.t
	if !t.readBack || m.draining {
		return
	}
	bound := min(t.live.lowest(), t.readBackFloor)
	if m.off(ruleTrimBound) {
		bound = t.live.lowest()
		for bound < t.lanesPos && (t.live.tag(bound) == tagCheckpoint || t.live.tag(bound) == tagDead) {
			bound++
		}
	}
	from := max(t.lanesStart, t.trimmedLanes)
	if bound-from >= max(1, int64(m.cfg.CleanAbove/8)) {
		t.trimmedLanes, from = bound, bound
		m.out.Trims = append(m.out.Trims, Trim{Log: LogLanes, Before: bound})
	}
	total := int(t.lanesPos - from)
	if t.carrying == 0 && t.live.lowest() < t.readBackFloor && total > m.cfg.CleanAbove && 2*t.live.alive < total {
		m.carry(now)
	}
}

// carry begins to carry the oldest live records forward, as far as the newest
// checkpoint lets the log be trimmed. It stops at one that is busy: nothing
// below that can be trimmed anyway.
func (m *Machine) carry(now Time) {
	t := m.t
	for at, n := t.live.lowest(), 0; at < t.readBackFloor && n < m.cfg.CarryBatch; at++ {
		switch tag := t.live.tag(at); {
		case tag == tagDead || tag == tagCheckpoint:
		case tag&tagHealth != 0:
			n++
			number := tag &^ tagHealth
			l := t.lanes[number]
			if l.writing {
				return
			}
			m.appendHealth(now, number, l, true)
		default:
			n++
			e := t.ix.at(tag)
			if e.state != timed && e.state != ready {
				return
			}
			t.carrying++
			m.withRecord(now, tag, e, toCarry, nil)
		}
	}
}

// skipTo is what ruleNeverSkip forbids: it reads on above a gap.
func (m *Machine) skipTo(start int64) {
	t := m.t
	for t.live.end() < start {
		t.live.push()
	}
	t.lanesPos = start
}

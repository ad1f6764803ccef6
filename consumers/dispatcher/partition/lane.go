package partition

import (
	"slices"
	"time"

	"hookledger/ledger/ids"
)

// lane is one webhook with open deliveries, or with a receiver whose health is
// worth remembering.
type lane struct {
	webhook ids.ID
	account string
	ready   heap       // what may be sent, by order
	moving  least[ref] // what is due and in a transition: nothing younger may start
	first   uint32     // list of its entries
	entries int
	flights int
	closed  time.Duration // nothing starts before it
	queued  bool          // it has a turn
	hungry  bool          // it waits for room to load
	waits   bool          // it waits for `deliveries` to be read
	seen    bool          // the View was asked
	held    bool          // paused, disabled or unknown
	dying   bool          // deleted
	listed  bool          // among the dying
	loads   []uint32      // entries whose record is loaded or on its way, to be sent

	version   uint64
	heldSince time.Duration // when the pause began
	heldMs    int64         // pauses before it

	health
}

func lessRef(a, b *ref) bool { return a.order < b.order }

// laneOf returns the lane of a webhook, and makes one if there is none.
func (m *Machine) laneOf(webhook ids.ID, account string) (uint32, *lane) {
	t := m.t
	if n := t.byWebhook[webhook]; n != 0 {
		return n, t.lanes[n]
	}
	var n uint32
	if free := len(t.freeLanes); free > 0 {
		n, t.freeLanes = t.freeLanes[free-1], t.freeLanes[:free-1]
	} else {
		n = uint32(len(t.lanes))
		t.lanes = append(t.lanes, &lane{})
	}
	l := t.lanes[n]
	*l = lane{webhook: webhook, account: account, ready: heap{ids: l.ready.ids[:0], byOffset: m.off(ruleOrder)}, moving: least[ref]{items: l.moving.items[:0], less: lessRef}, loads: l.loads[:0]}
	l.at = -1
	t.byWebhook[webhook] = n
	return n, l
}

// leave frees a lane that has nothing left to remember.
func (m *Machine) leave(now Time, n uint32) {
	t := m.t
	l := t.lanes[n]
	if l.entries > 0 || l.flights > 0 {
		return
	}
	if l.heldMs != 0 { // it only matters to what waited
		l.heldMs = 0
		m.soil(n)
	}
	if l.dying && !l.trivial(now) {
		l.failures, l.suspect, l.closed = 0, false, 0
		m.forgive(l)
		m.soil(n)
	}
	if l.rate > 0 { // nothing is left that it could be flooded with
		m.forgive(l)
		m.soil(n)
	}
	if l.at >= 0 || l.writing || l.soiled || l.queued || l.hungry || l.waits || l.listed || !l.trivial(now) {
		return
	}
	delete(t.byWebhook, l.webhook)
	l.webhook, l.entries = ids.ID{}, -1
	t.freeLanes = append(t.freeLanes, n)
}

// join puts an entry into its lane's list.
func (t *tenure) join(id uint32, e *entry, n uint32) {
	l := t.lanes[n]
	e.lane, e.prev, e.next = n, 0, l.first
	if l.first != 0 {
		t.ix.at(l.first).prev = id
	}
	l.first = id
	l.entries++
}

// part takes an entry out of its lane's list.
func (t *tenure) part(e *entry) {
	l := t.lanes[e.lane]
	if e.prev != 0 {
		t.ix.at(e.prev).next = e.next
	} else {
		l.first = e.next
	}
	if e.next != 0 {
		t.ix.at(e.next).prev = e.prev
	}
	l.entries--
}

// room is how many more tries may be in flight to the webhook.
func (m *Machine) room(l *lane) int {
	switch {
	case l.open && l.probing != 0:
		return 0
	case l.open:
		return 1
	case l.suspect:
		return 1 - l.flights
	}
	return m.cfg.PerWebhook - l.flights
}

// head returns the entry that the lane would start next, or 0 when it can
// start none: it has none, no room, is closed or held, or an older one moves.
func (m *Machine) head(now Time, l *lane) (uint32, *entry) {
	t := m.t
	if len(l.ready.ids) == 0 || l.held || l.dying || now.Mono < l.closed || m.room(l) <= 0 {
		return 0, nil
	}
	id := l.ready.ids[0]
	if l.open {
		id = m.pick(l)
	}
	e := t.ix.at(id)
	if t.stilled(l); len(l.moving.items) > 0 && l.moving.items[0].order < e.order && !m.off(ruleCarryHolds) {
		return 0, nil
	}
	return id, e
}

// stilled takes away what no longer moves, from the oldest on.
func (t *tenure) stilled(l *lane) {
	for len(l.moving.items) > 0 {
		if e := t.same(l.moving.items[0]); e != nil && e.state == moving {
			return
		}
		l.moving.pop()
	}
}

// wake gives the lane a turn if it could start something. What has first to be
// loaded is asked for; that needs no turn.
func (m *Machine) wake(now Time, n uint32) {
	t := m.t
	l := t.lanes[n]
	if t.mode != owning {
		return
	}
	if l.dying && l.entries > 0 {
		m.dies(n, l)
	}
	if l.queued || m.draining {
		return
	}
	_, e := m.head(now, l)
	if e == nil {
		return
	}
	if e.order >= t.reader && !m.off(ruleRememberSettled) {
		// Something older may still be read from `deliveries`.
		if !l.waits {
			l.waits = true
			t.gated = append(t.gated, n)
		}
		return
	}
	if e.state == ready {
		w := m.workOf(e)
		if w == nil {
			m.loadHeads(now, n, l)
			return
		}
		if w.stage != loaded {
			return
		}
	}
	l.queued = true
	t.turns.push(n)
}

// loadHeads asks for the records of the lane's next ones.
func (m *Machine) loadHeads(_ Time, n uint32, l *lane) {
	t := m.t
	room := min(m.room(l)-len(l.loads), m.cfg.LoadBatch-t.sendLoads)
	if room <= 0 && len(l.loads) > 0 { // what is loaded is younger, and would keep the head from its place
		m.unload(l)
		room = min(m.room(l), m.cfg.LoadBatch-t.sendLoads)
	}
	if room <= 0 {
		if !l.hungry {
			l.hungry = true
			t.starved.push(n)
		}
		return
	}
	if l.open {
		m.loadHead(m.pick(l), l)
		return
	}
	var heads [64]uint32
	taken := 0
	for taken < min(room, len(heads)) && len(l.ready.ids) > 0 {
		id := l.ready.ids[0]
		l.ready.remove(t.ix, id)
		heads[taken] = id
		taken++
	}
	for _, id := range heads[:taken] {
		e := t.ix.at(id)
		l.ready.push(t.ix, id)
		if e.state == ready && e.slot == 0 {
			m.loadHead(id, l)
		}
	}
}

// loadHead asks for the record of an entry that is to be sent.
func (m *Machine) loadHead(id uint32, l *lane) {
	m.load(id, m.t.ix.at(id), toSend)
	m.t.sendLoads++
	l.loads = append(l.loads, id)
}

// feedStarved lets lanes load that found no room before.
func (m *Machine) feedStarved(now Time) {
	t := m.t
	for t.starved.len() > 0 && t.sendLoads < m.cfg.LoadBatch {
		n := t.starved.pop()
		t.lanes[n].hungry = false
		m.wake(now, n)
		m.leave(now, n)
	}
}

// unload throws away what was loaded for a lane that can't start it now, so
// that others have the room.
func (m *Machine) unload(l *lane) {
	for len(l.loads) > 0 {
		id := l.loads[len(l.loads)-1]
		e := m.t.ix.at(id)
		w := m.workOf(e)
		m.unloaded(id, e, w)
		if w.stage == loading {
			delete(m.t.loads, w.offset)
		}
		e.slot = 0
		m.done(w)
	}
}

// unloaded takes an entry's record out of what is loaded to be sent.
func (m *Machine) unloaded(id uint32, e *entry, w *work) {
	if w.why != toSend || w.stage != loading && w.stage != loaded {
		return
	}
	l := m.t.lanes[e.lane]
	m.t.sendLoads--
	i := slices.Index(l.loads, id)
	l.loads = slices.Delete(l.loads, i, i+1)
}

// look asks the View about a webhook and follows what changed.
func (m *Machine) look(now Time, n uint32) {
	t := m.t
	l := t.lanes[n]
	seen := m.view.Webhook(l.webhook)
	if l.version != 0 && seen.Version != l.version {
		if l.suspect || l.open || l.closed > now.Mono {
			l.suspect, l.closed, l.probes = false, 0, 0 // a new URL, a resume: try at once
			m.soil(n)
		}
	}
	l.version, l.seen = seen.Version, true
	switch held := seen.State != Active && seen.State != Deleted; {
	case seen.State == Deleted:
		m.resumed(now, n, l)
		m.dies(n, l)
	case held && !l.held:
		l.held = true
		if l.heldSince == 0 {
			l.heldSince = now.Mono
			if seen.Since != 0 {
				l.heldSince = mono(now, seen.Since)
			}
		}
		m.soil(n)
		m.unload(l)
		m.ring(max(now.Mono, l.heldSince+m.cfg.Hold), n)
	case !held && (l.held || l.heldSince != 0):
		m.resumed(now, n, l)
	}
	m.wake(now, n)
}

// resumed ends a pause.
func (m *Machine) resumed(now Time, n uint32, l *lane) {
	if l.heldSince == 0 {
		return
	}
	l.heldMs += (now.Mono - l.heldSince).Milliseconds()
	l.heldSince, l.held = 0, false
	l.failures, l.firstFailure = 0, 0 // what failed before a pause disables nothing after it
	m.soil(n)
}

// heldUntil is how long the webhook was held since this machine's records of it began.
func (l *lane) heldUntil(now Time) int64 {
	if l.heldSince == 0 {
		return l.heldMs
	}
	return l.heldMs + (now.Mono - l.heldSince).Milliseconds()
}

// dies begins, or goes on, to cancel what a deleted webhook has.
func (m *Machine) dies(n uint32, l *lane) {
	l.dying = true
	if !l.listed {
		l.listed = true
		m.t.dying = append(m.t.dying, n)
	}
}

// ring wants the lane looked at.
func (m *Machine) ring(at time.Duration, n uint32) { m.t.bells.push(bell{at: at, lane: n}) }

// mono is a wall time on the monotonic clock.
func mono(now Time, wallMs int64) time.Duration {
	return now.Mono + time.Duration(wallMs-now.Wall)*time.Millisecond
}

// wall is a moment of the monotonic clock in milliseconds since the epoch.
func wall(now Time, at time.Duration) int64 {
	return now.Wall + (at - now.Mono).Milliseconds()
}

// ungate wakes the lanes that waited for `deliveries` to be read.
func (m *Machine) ungate(now Time) {
	t := m.t
	gated := t.gated
	t.gated = t.gated[:0]
	for _, n := range gated { // wake appends at most what was read here already
		t.lanes[n].waits = false
		m.wake(now, n)
		m.leave(now, n)
	}
}

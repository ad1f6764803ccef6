package partition

import (
	"math"
	"time"

	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// Machine is one partition. Its zero value is not usable.
type Machine struct {
	cfg  Config
	p    int32
	node string
	view View
	rnd  Rand

	out     Effects
	err     error
	without rule

	assigned   bool
	generation int32
	draining   bool
	unclean    bool
	heartbeat  time.Duration // when the last answered one was sent
	deposed    time.Duration // claims anew only after a heartbeat sent later than this

	// counter numbers keys, attempts and appends over the machine's life.
	counter uint64
	// works are the deliveries that are awake, by number; pending finds the
	// one that waits for an append or a result by its counter.
	works   []*work
	unused  []*work
	pending map[uint64]*work
	// orphans are deliveries with a try of a lost epoch under way.
	orphans map[ids.ID]int

	// doubts are starts of logs that seemed too high once.
	doubts [3]int64

	t         *tenure
	takeovers int
	sends     []Send
	// cancelling is room for the lanes of deleted webhooks.
	cancelling []uint32
}

// New makes a machine that owns nothing until Assigned. The node's name stands
// in its owner records.
func New(cfg Config, partition int32, node string, view View, rnd Rand) *Machine {
	return &Machine{
		cfg: cfg, p: partition, node: node, view: view, rnd: rnd,
		heartbeat: math.MinInt64 / 2, deposed: math.MinInt64,
		works: make([]*work, 1), pending: make(map[uint64]*work), orphans: make(map[ids.ID]int),
		t: newTenure(),
	}
}

// Assigned says that the group named this node in this generation. Each call
// with another generation makes the machine claim anew.
func (m *Machine) Assigned(now Time, generation int32) {
	same := m.assigned && m.generation == generation
	if m.err != nil || same || m.draining {
		return
	}
	if m.assigned && m.t.mode == owning && m.off(ruleNamedAnew) {
		return
	}
	m.assigned, m.generation = true, generation
	m.claimAnew(now)
}

// Lost says that the group no longer names this node. Nothing starts any more;
// outcomes of what is in flight are still appended to `attempts`.
func (m *Machine) Lost(now Time) {
	m.assigned = false
	m.abandon()
}

// Drain begins a graceful end: nothing more starts, what comes back is settled.
// It can't be taken back; Assigned is ignored from now on.
func (m *Machine) Drain(now Time) {
	m.draining = true
	m.t.now = now
	if m.t.mode != owning {
		m.abandon()
	}
	m.step(now)
}

// Drained reports whether a drain is complete: nothing in flight, everything
// settled, and the last checkpoint read back.
func (m *Machine) Drained() bool {
	return m.draining && (m.t.mode != owning && m.Finished() || m.t.lastWord)
}

// Finished reports whether a machine that lost the partition holds nothing any more.
func (m *Machine) Finished() bool {
	return (m.t.mode == idle || m.t.mode == deposed) && len(m.pending) == 0
}

// UncleanStop says that the embedded broker may have lost what it acknowledged
// last: all that the next takeover reads again is marked maybe_repeat. Call it
// before Assigned.
func (m *Machine) UncleanStop() { m.unclean = true }

// Heartbeat says that a heartbeat sent at this moment was answered without error.
func (m *Machine) Heartbeat(sent time.Duration) { m.heartbeat = max(m.heartbeat, sent) }

// WebhookChanged says that the View's answer for a webhook changed.
func (m *Machine) WebhookChanged(now Time, webhook ids.ID) {
	m.t.now = now
	if m.t.mode != owning {
		return
	}
	if n := m.t.byWebhook[webhook]; n != 0 {
		m.look(now, n)
	}
	m.step(now)
}

// Tick lets time pass: call it at NextWake, or oftener.
func (m *Machine) Tick(now Time) {
	m.t.now = now
	m.step(now)
}

// step does what time and the last input have made possible. Each part costs
// nothing when there is nothing to do.
func (m *Machine) step(now Time) {
	t := m.t
	if m.err != nil {
		return
	}
	m.reload()
	if t.mode == deposed {
		if m.assigned && m.heartbeat > m.deposed && !m.draining {
			m.claimAnew(now)
		}
		return
	}
	m.claim(now)
	if t.mode != owning {
		return
	}
	m.awaken(now)
	m.judgeDeferred(now)
	m.pumpEnds(now)
	m.feedStarved(now)
	m.spill(now)
	m.clean(now)
	m.forget(now)
	m.checkpoint(now)
}

// NextWake is the monotonic moment at which Tick or Start has something to do;
// ok is false when only an input can change anything.
func (m *Machine) NextWake() (at time.Duration, ok bool) {
	t := m.t
	if m.err != nil || t.mode != owning {
		return 0, false
	}
	at = math.MaxInt64
	if len(t.timers.ids) > 0 {
		at = min(at, t.ix.at(t.timers.ids[0]).due)
	}
	if len(t.bells.items) > 0 {
		at = min(at, t.bells.items[0].at)
	}
	if next, ok := m.nextSpill(); ok {
		at = min(at, next)
	}
	if len(t.again) > 0 {
		at = min(at, t.againAt)
	}
	if next, ok := m.nextCheckpoint(); ok {
		at = min(at, next)
	}
	if m.leased(t.now.Mono) && t.turns.len() > 0 && !m.draining {
		at = min(at, t.now.Mono)
	}
	return at, at < math.MaxInt64
}

// Err is the damage that stopped this machine, or nil. It is a *DamageError.
func (m *Machine) Err() error { return m.err }

// damaged stops the machine for good.
func (m *Machine) damaged(log Log, what string) {
	m.abandon()
	m.err = &DamageError{Partition: m.p, Log: log, What: what}
}

// Take moves the effects since the last call into e, which it resets first.
func (m *Machine) Take(e *Effects) {
	e.Reset()
	m.out, *e = *e, m.out
}

// Stats are the machine's gauges.
func (m *Machine) Stats() Stats {
	t := m.t
	s := Stats{
		Owner: t.mode == owning, Epoch: t.epoch,
		Waiting: t.waiting, Undecided: t.undecided + t.commanded, InFlight: t.inFlight, QueuedBytes: t.bodyBytes,
		Webhooks: len(t.byWebhook), Open: t.open, Position: int64(t.window.position), Low: int64(t.window.low()),
		LanesLive: t.live.alive, LanesTotal: int(t.live.end() - max(t.lanesStart, t.trimmedLanes)), Takeovers: m.takeovers,
	}
	for _, n := range m.orphans {
		s.InFlight += n
	}
	return s
}

// InitialCheckpoint is the record that an empty partition's `lanes` begins
// with. It is written once, when the topics are made.
func InitialCheckpoint(partition int32, wallMs int64) *facts.LaneRecord {
	key := newID(partition, 0, 0)
	return &facts.LaneRecord{
		Key:    key[:],
		AtMs:   wallMs,
		Record: &facts.LaneRecord_Checkpoint{Checkpoint: &facts.Checkpoint{}},
	}
}

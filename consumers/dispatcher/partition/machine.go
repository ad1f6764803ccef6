package partition

import (
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

	out Effects
	err error
}

// New makes a machine that owns nothing until Assigned. The node's name stands
// in its owner records.
func New(cfg Config, partition int32, node string, view View, rnd Rand) *Machine {
	return &Machine{cfg: cfg, p: partition, node: node, view: view, rnd: rnd}
}

// Assigned says that the group named this node in this generation. Each call
// with another generation makes the machine claim anew.
func (m *Machine) Assigned(now Time, generation int32) {}

// Lost says that the group no longer names this node. Nothing starts any more;
// outcomes of what is in flight are still appended to `attempts`.
func (m *Machine) Lost(now Time) {}

// Drain begins a graceful end: nothing more starts, what comes back is settled.
func (m *Machine) Drain(now Time) {}

// Drained reports whether a drain is complete: nothing in flight, everything
// settled, and the last checkpoint read back.
func (m *Machine) Drained() bool { return false }

// Finished reports whether a machine that lost the partition holds nothing any more.
func (m *Machine) Finished() bool { return false }

// UncleanStop says that the embedded broker may have lost what it acknowledged
// last: all that the next takeover reads again is marked maybe_repeat. Call it
// before Assigned.
func (m *Machine) UncleanStop() {}

// Heartbeat says that a heartbeat sent at this moment was answered without error.
func (m *Machine) Heartbeat(sent time.Duration) {}

// Opened answers a Seek with the log's start and end at that moment.
func (m *Machine) Opened(now Time, log Log, start, end int64) {}

// LogStart tells the start of a log, from a fetch or because a reader fell below it.
func (m *Machine) LogStart(now Time, log Log, start int64) {}

// Lanes feeds records of `lanes`.
func (m *Machine) Lanes(now Time, records []LaneRead) {}

// Attempts feeds records of `attempts`.
func (m *Machine) Attempts(now Time, records []FactRead) {}

// Deliveries feeds records of `deliveries`; end is the log's end as the fetch knew it.
func (m *Machine) Deliveries(now Time, commands []Command, end int64) {}

// Appended acknowledges an append.
func (m *Machine) Appended(now Time, token uint64, offset int64) {}

// AppendFailed says that an append failed, whether it was written or not.
func (m *Machine) AppendFailed(now Time, token uint64) {}

// Loaded answers a Load.
func (m *Machine) Loaded(now Time, offset int64, record *facts.LaneRecord) {}

// LoadFailed says that a Load could not be answered now; it is asked again.
func (m *Machine) LoadFailed(now Time, offset int64) {}

// Sent gives the result of a try.
func (m *Machine) Sent(now Time, attempt ids.ID, r Result) {}

// Unsent says that a Send did not become a try.
func (m *Machine) Unsent(now Time, attempt ids.ID, why NotSent) {}

// WebhookChanged says that the View's answer for a webhook changed.
func (m *Machine) WebhookChanged(now Time, webhook ids.ID) {}

// Tick lets time pass: call it at NextWake, or oftener.
func (m *Machine) Tick(now Time) {}

// NextWake is the monotonic moment at which Tick or Start has something to do;
// ok is false when only an input can change anything.
func (m *Machine) NextWake() (at time.Duration, ok bool) { return 0, false }

// Ready reports whether Start would send something.
func (m *Machine) Ready(now Time) bool { return false }

// Start decides what was fetched and what is due: at most slots sends. It must
// be called right after the config barrier was passed, and what it returns is
// to be sent at once. It is the only way in which anything is sent. The
// returned slice is valid until the next call.
func (m *Machine) Start(now Time, slots int) []Send { return nil }

// Take moves the effects since the last call into e, which it resets first.
func (m *Machine) Take(e *Effects) {
	e.Reset()
	m.out, *e = *e, m.out
}

// Err is the damage that stopped this machine, or nil. It is a *DamageError.
func (m *Machine) Err() error { return m.err }

// Stats are the machine's gauges.
func (m *Machine) Stats() Stats { return Stats{} }

// InitialCheckpoint is the record that an empty partition's `lanes` begins
// with. It is written once, when the topics are made.
func InitialCheckpoint(partition int32, wallMs int64) *facts.LaneRecord {
	return &facts.LaneRecord{
		Key:    make([]byte, ids.Size),
		AtMs:   wallMs,
		Record: &facts.LaneRecord_Checkpoint{Checkpoint: &facts.Checkpoint{}},
	}
}

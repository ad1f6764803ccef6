package partition

import (
	"errors"
	"fmt"
	"time"

	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// Time is the moment of an input: Mono is a monotonic clock with any origin,
// for waits; Wall is milliseconds since the Unix epoch, for records.
type Time struct {
	Mono time.Duration
	Wall int64
}

// Rand draws a number in [0, 1), for the jitter of waits.
type Rand func() float64

// State is what a webhook's configuration says about sending.
type State uint8

// The states of a webhook. An unknown one is held like a paused one: its
// configuration may not have been read yet.
const (
	Unknown State = iota
	Active
	Paused
	Disabled
	Deleted
)

// Webhook is what the machine needs to know of a webhook.
type Webhook struct {
	State   State
	Version uint64
	// Since is when it got into this state, milliseconds since the epoch; 0 is
	// the moment at which the machine first sees it.
	Since int64
}

// View looks up webhooks in the node's fold of `config`. It is asked within
// Start, right after the barrier, and when WebhookChanged is called.
type View interface {
	Webhook(id ids.ID) Webhook
}

// Log names one of the three logs.
type Log uint8

// The logs of a partition.
const (
	LogDeliveries Log = iota
	LogLanes
	LogAttempts
)

func (l Log) String() string {
	switch l {
	case LogDeliveries:
		return "deliveries"
	case LogLanes:
		return "lanes"
	case LogAttempts:
		return "attempts"
	}
	return "unknown"
}

// LaneRead is a record read from `lanes`. A nil record is one that can't be decoded.
type LaneRead struct {
	Offset int64
	Record *facts.LaneRecord
}

// FactRead is a record read from `attempts`. A nil fact is one that can't be
// decoded, or one of the machine's own epoch (see Own), which it need not see.
type FactRead struct {
	Offset int64
	Fact   *facts.AttemptFact
}

// Command is a record read from `deliveries`. The machine keeps it: its bytes
// must not be part of a larger fetch. A nil record is one that can't be decoded.
type Command struct {
	Offset int64
	Record *facts.DeliveryCommand
}

// FromStart asks a reader to begin where the log begins.
const FromStart int64 = -1

// Seek asks for a reader of a log to be placed, and for Opened.
type Seek struct {
	Log  Log
	From int64
}

// LaneAppend is a record to append to `lanes`.
type LaneAppend struct {
	Token  uint64
	Record *facts.LaneRecord
}

// FactAppend is a fact to append to `attempts`.
type FactAppend struct {
	Token uint64
	Fact  *facts.AttemptFact
}

// Trim asks for DeleteRecords: everything below Before may go.
type Trim struct {
	Log    Log
	Before int64
}

// DisableReason is why a webhook is to be disabled, as in `config`.
type DisableReason string

// The reasons: the receiver said 410, or it has failed for days.
const (
	Gone    DisableReason = "gone"
	Failing DisableReason = "failing"
)

// Disable asks for a WebhookDisabled in `config` that expects this version.
type Disable struct {
	Webhook ids.ID
	Account string
	Version uint64
	Reason  DisableReason
}

// Effects is what a machine wants done. Each list is in order; between lists
// there is no order, but for Seeks, which come first.
type Effects struct {
	Seeks    []Seek
	Lanes    []LaneAppend
	Attempts []FactAppend
	// Loads are offsets of `lanes` to read one record at.
	Loads    []int64
	Trims    []Trim
	Disables []Disable
}

// Reset empties the lists and keeps their room.
func (e *Effects) Reset() {
	clear(e.Lanes)
	clear(e.Attempts)
	e.Seeks, e.Lanes, e.Attempts = e.Seeks[:0], e.Lanes[:0], e.Attempts[:0]
	e.Loads, e.Trims, e.Disables = e.Loads[:0], e.Trims[:0], e.Disables[:0]
}

// Empty reports whether nothing is to be done.
func (e *Effects) Empty() bool {
	return len(e.Seeks)+len(e.Lanes)+len(e.Attempts)+len(e.Loads)+len(e.Trims)+len(e.Disables) == 0
}

// Send is one try to make now. URL, secret and the signature's time are those
// of this moment; the caller takes them from its own fold of `config`.
type Send struct {
	AttemptID ids.ID
	Subject   *facts.Subject
	Content   *facts.Content
	// Body is set when the request's body rode along; else it is to be made
	// from Content, and proved by its hash.
	Body []byte
	// Number of the try within the delivery, from 1.
	Number uint32
	// Round is the offset of `deliveries` that opened the round.
	Round       uint64
	MaybeRepeat bool
	// WebhookVersion is the version that the View named.
	WebhookVersion uint64
}

// Result is how a try went. Headers and body are already cut to the limits of facts.
type Result struct {
	Outcome        facts.Outcome
	RequestSent    bool
	StartedMs      int64
	DurationUs     uint32
	StatusCode     uint32
	Headers        []*facts.Header
	Body           []byte
	BodyTruncated  bool
	Error          string
	URL            string
	WebhookVersion uint64
	// RetryAfter is what the receiver asked for; 0 when it did not.
	RetryAfter time.Duration
}

// NotSent says why a Send did not become a try.
type NotSent uint8

const (
	// SendLater: nothing was tried (no room, shutdown, the content could not be
	// read now). The delivery is due again after a second.
	SendLater NotSent = iota
	// ContentGone: the event's content has outlived its retention, or its bytes
	// no longer have the frozen hash. The round is given up.
	ContentGone
)

// Stats are gauges for metrics and for the driver's bounds.
type Stats struct {
	// Owner reports whether the partition is owned and taken over.
	Owner bool
	Epoch uint64
	// Waiting deliveries: those with a record in `lanes`.
	Waiting int
	// Undecided requests: fetched, neither started nor settled.
	Undecided int
	// InFlight tries, those of lost epochs included.
	InFlight int
	// QueuedBytes of bodies that have not started.
	QueuedBytes int
	Webhooks    int
	// Open are the webhooks whose breaker is open.
	Open int
	// Position and Low are those of `deliveries`.
	Position, Low int64
	// LanesLive and LanesTotal are numbers of records in `lanes`.
	LanesLive, LanesTotal int
	// Takeovers counts those that were completed.
	Takeovers int
}

// ErrDamaged is wrapped by every error of Err: a log lacks what the protocol
// proves must be there.
var ErrDamaged = errors.New("the log is damaged")

// DamageError says which log of which partition lacks what.
type DamageError struct {
	Partition int32
	Log       Log
	What      string
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("partition %d of %q: %s: %v; deliveries of this partition stand still: run `hookledger repair`",
		e.Partition, e.Log, e.What, ErrDamaged)
}

func (e *DamageError) Unwrap() error { return ErrDamaged }

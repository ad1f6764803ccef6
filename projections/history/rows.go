package history

import (
	"hookledger/ledger/ids"
)

// Status is a delivery's, as in the API.
type Status int8

// The statuses of a delivery.
const (
	Pending   Status = 1
	Retrying  Status = 2
	Delivered Status = 3
	Failed    Status = 4
)

// String is the status as in the API.
func (s Status) String() string {
	switch s {
	case Pending:
		return "pending"
	case Retrying:
		return "retrying"
	case Delivered:
		return "delivered"
	case Failed:
		return "failed"
	}
	return "unknown"
}

// ParseStatus reads what String returns.
func ParseStatus(text string) (Status, bool) {
	for _, s := range []Status{Pending, Retrying, Delivered, Failed} {
		if s.String() == text {
			return s, true
		}
	}
	return 0, false
}

// EventStatus says what became of a record of events.
type EventStatus int8

// The statuses of a record of events.
const (
	EventAccepted EventStatus = 1
	EventRepeat   EventStatus = 2
	EventInvalid  EventStatus = 3
)

// kindUndecodable is the kind of an attempts row whose record can't be
// understood; the others are those of facts.FactKind.
const kindUndecodable = 0

// AttemptRow is a row of attempts: one record of the topic. Times are Unix milliseconds.
type AttemptRow struct {
	Account            string
	Webhook, Delivery  ids.ID
	EventID, EventType string
	AttemptID          ids.ID
	Kind               int8
	Attempt            uint32
	Outcome            int8
	StatusCode         uint16
	RequestSent        bool
	MaybeRepeat        bool
	URL                string
	WebhookVersion     uint64
	StartedMs          int64
	DurationUs         uint32
	Headers            string
	Body               []byte
	Truncated, Cut     bool
	Error              string
	Round              uint64
	End, EndReason     int8
	NextRetryMs        int64
	RoundStartedMs     int64
	Upto, Epoch        uint64
	CommandOffset      uint64
	Completed          bool
	Actor, RequestID   string
	Part               uint16
	Off                uint64
	RecordLagMs        int64
	RecordHash         uint64
}

// DeliveryRow is a row of deliveries: one moment of one delivery.
type DeliveryRow struct {
	Account            string
	Webhook, Delivery  ids.ID
	EventID, EventType string
	Status             Status
	Round              uint64
	End, EndReason     int8
	Attempt            uint32
	Upto               uint64
	CreatedMs          int64
	ChangedMs          int64
	NextRetryMs        int64
	CompletedMs        int64
	SourcePart         uint16
	SourceOff          uint64
	MetadataOffset     int64
	BodyHash           [32]byte
	BodySize           uint32
	IsFact             bool
	Epoch              uint64
	Completed          bool
	Part               uint16
	Off                uint64
}

// EventRow is a row of events: one record of the topic.
type EventRow struct {
	Account                           string
	EventKey                          ids.ID
	EventID, EventType                string
	IndexID, OrderingKey, EventSource string
	CreatedMs                         int64
	Fresh                             bool
	Data                              []byte
	Status                            EventStatus
	Reason                            string
	Part                              uint16
	Off                               uint64
	RecordMs                          int64
	RecordHash                        uint64
	Ver                               uint8
}

// ConfigRow is a row of config_changes: one record of the topic.
type ConfigRow struct {
	Account         string
	SubjectID       string
	Change          int8
	Verdict         int8
	FactID          ids.ID
	Rules           uint32
	ActorKind       int8
	ActorID         string
	RequestID       string
	AtMs            int64
	ExpectedVersion uint64
	Version         uint64
	Fields          []string
	State           string
	Metadata        []byte
	Part            uint16
	Off             uint64
	RecordMs        int64
	RecordHash      uint64
}

// Batch is rows to be inserted together. Its byte slices may share memory with
// the records that they come from.
type Batch struct {
	Attempts   []AttemptRow
	Deliveries []DeliveryRow
	Events     []EventRow
	Changes    []ConfigRow
}

// Rows is how many rows there are.
func (b *Batch) Rows() int {
	return len(b.Attempts) + len(b.Deliveries) + len(b.Events) + len(b.Changes)
}

// Largest is the number of rows for the table with most.
func (b *Batch) Largest() int {
	return max(len(b.Attempts), len(b.Deliveries), len(b.Events), len(b.Changes))
}

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() {
	clear(b.Attempts)
	clear(b.Deliveries)
	clear(b.Events)
	clear(b.Changes)
	b.Attempts, b.Deliveries, b.Events, b.Changes = b.Attempts[:0], b.Deliveries[:0], b.Events[:0], b.Changes[:0]
}

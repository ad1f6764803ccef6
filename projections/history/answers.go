package history

import (
	"errors"
	"time"

	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// Errors of questions that have no answer.
var (
	// ErrNotFound: the history has no such row in that account.
	ErrNotFound = errors.New("not in the history")
	// ErrPayloadExpired: the event's content has outlived its retention.
	ErrPayloadExpired = errors.New("the event's content has outlived its retention")
	// ErrPayloadDamaged: what was made again is not what was sent.
	ErrPayloadDamaged = errors.New("the payload made from the history is not the one that was sent")
)

// Delivery is the latest state of a delivery.
type Delivery struct {
	ID, Webhook        ids.ID
	Account            string
	EventID, EventType string
	Status             Status
	// Attempts is how many tries were made: distinct attempt ids.
	Attempts int
	// Last is the try that the state stands for (the successful one of a
	// delivered delivery); nil when there was none.
	Last *Attempt
	// CreatedAt is the time of the event's record. The other times are zero for none.
	CreatedAt, ChangedAt, NextRetryAt, CompletedAt time.Time
	// Round, Ended and Upto are what a retry by hand names.
	Round     uint64
	End       facts.End
	EndReason facts.EndReason
	Upto      uint64
	// Content names the bytes that are sent; a retry by hand copies it.
	Content *facts.Content
}

// Ended says whether the round has ended.
func (d *Delivery) Ended() bool { return d.End != facts.End_END_UNSPECIFIED }

// Subject is what a command about the delivery carries.
func (d *Delivery) Subject() *facts.Subject {
	return &facts.Subject{
		DeliveryId: d.ID[:], WebhookId: d.Webhook[:], Account: d.Account,
		EventId: d.EventID, EventType: d.EventType, CreatedMs: d.CreatedAt.UnixMilli(),
	}
}

// Attempt is one fact about a delivery: a try, or another kind.
type Attempt struct {
	ID          ids.ID
	Delivery    ids.ID
	Kind        facts.FactKind
	Number      uint32
	Round       uint64
	Outcome     facts.Outcome
	RequestSent bool
	MaybeRepeat bool
	URL         string
	// WebhookVersion is the webhook's version whose URL and secret were used.
	WebhookVersion uint64
	StartedAt      time.Time
	Duration       time.Duration
	// StatusCode is 0 when no answer came.
	StatusCode int
	Headers    []Header
	// Body is the beginning of the response body. BodyTruncated: it was longer
	// than the limit. BodyCut: more of it was lost with the process that had it.
	Body                   []byte
	BodyTruncated, BodyCut bool
	Error                  string
	End                    facts.End
	EndReason              facts.EndReason
	// NextRetryAt is zero for none.
	NextRetryAt time.Time
	Completed   bool
	Actor       string
	RequestID   string
}

// Header is one response header line.
type Header struct{ Name, Value string }

// Page says which part of a list is wanted.
type Page struct {
	// Limit is how many at most; 0 is 50.
	Limit int
	// Cursor is the last delivery of the page before; zero is the beginning.
	Cursor ids.ID
	// Status leaves out all others; 0 is every status.
	Status Status
}

// Event is an accepted event.
type Event struct {
	ID, Type, Account            string
	IndexID, OrderingKey, Source string
	CreatedAt, AcceptedAt        time.Time
	Data                         []byte
	Partition                    int32
	Offset                       int64
	// Repeats is how many records repeated it.
	Repeats int
}

// WebhookStats is what the attempts say about a webhook. Times are zero for none.
type WebhookStats struct {
	// FailureCount is how many attempts failed since the last success.
	FailureCount                 int
	LastSuccessAt, LastFailureAt time.Time
}

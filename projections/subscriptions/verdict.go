package subscriptions

import (
	"strconv"

	"hookledger/ledger/ids"
)

// Kind is what the fold said about a fact.
type Kind uint8

// The verdicts; see the package comment.
const (
	Applied Kind = iota + 1
	Repeat
	Mismatch
	InProgress
	Conflict
	NotFound
	Limit
	Invalid
)

func (k Kind) String() string {
	switch k {
	case Applied:
		return "applied"
	case Repeat:
		return "repeat"
	case Mismatch:
		return "mismatch"
	case InProgress:
		return "in progress"
	case Conflict:
		return "conflict"
	case NotFound:
		return "not found"
	case Limit:
		return "limit exceeded"
	case Invalid:
		return "invalid"
	}
	return "Kind(" + strconv.Itoa(int(k)) + ")"
}

// Verdict is the fold's judgement of one fact.
type Verdict struct {
	Kind Kind
	// Partition and Offset of the judged fact; Offset is -1 for one that was
	// judged before it was appended (Precheck).
	Partition int32
	Offset    int64
	// First is where the answer of a Repeat lies, in the same partition.
	First int64
	// WebhookID is whose webhook the fact is about, zero for API keys.
	WebhookID ids.ID
	// Version is the webhook's: after the change when Applied (for a deletion: the last), the current one on Conflict.
	Version uint64
	// Webhook is its state after the change when Applied, the current one on
	// Conflict; nil for a deletion and for calls.
	Webhook *Webhook
	// Key is the API key after the change when Applied, the current one on Conflict.
	Key *APIKey
	// Deleted says that what was not found was there once.
	Deleted bool
	// Allowed is the limit that was exceeded.
	Allowed uint32
	// Reason explains Conflict and Invalid to a developer.
	Reason string
}

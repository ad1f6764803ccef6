package dispatcher

import (
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"hookledger/consumers/dispatcher/partition"
	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// input is one thing that happened, as a value: a worker gets tens of
// thousands a second.
type input struct {
	kind   inputKind
	log    partition.Log
	token  uint64
	offset int64
	end    int64
	id     ids.ID
	result *partition.Result
	unsent partition.NotSent
	lanes  []partition.LaneRead
	raw    []*kgo.Record // of `attempts`: most are the machine's own, and are not decoded
	cmds   []partition.Command
	lane   *facts.LaneRecord
	at     time.Duration
	gen    int32
	err    error
}

type inputKind uint8

const (
	inAssigned inputKind = iota
	inLost
	inDrain
	inHeartbeat
	inOpened
	inLogStart
	inRecords
	inAppended
	inAppendFailed
	inLoaded
	inLoadFailed
	inSent
	inUnsent
	inWebhookChanged
	inReadFailed
)

// mailbox is what has happened and was not yet fed. It holds no more than what
// is under way: fetched batches (reading pauses beyond maxFetched), appends,
// tries and loads, each of which is bounded where it starts.
type mailbox struct {
	mu      sync.Mutex
	inputs  []input
	fetched int           // records waiting
	taken   chan struct{} // closed by the next take; nil while nobody waits for it
	wake    chan struct{}
}

func newMailbox() *mailbox { return &mailbox{wake: make(chan struct{}, 1)} }

// put adds an input.
func (m *mailbox) put(in input) {
	m.mu.Lock()
	m.inputs = append(m.inputs, in)
	m.fetched += in.records()
	m.mu.Unlock()
	m.nudge()
}

// room waits until at most this many fetched records wait.
func (m *mailbox) room(ctx context.Context, most int) {
	for {
		m.mu.Lock()
		if m.fetched <= most {
			m.mu.Unlock()
			return
		}
		if m.taken == nil {
			m.taken = make(chan struct{})
		}
		taken := m.taken
		m.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-taken:
		}
	}
}

// nudge makes the worker go round once.
func (m *mailbox) nudge() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// take swaps what has come for an empty list.
func (m *mailbox) take(empty []input) []input {
	m.mu.Lock()
	defer m.mu.Unlock()
	full := m.inputs
	m.inputs = empty[:0]
	m.fetched = 0
	if m.taken != nil {
		close(m.taken)
		m.taken = nil
	}
	return full
}

func (in *input) records() int { return len(in.lanes) + len(in.raw) + len(in.cmds) }

package subscriptions

import (
	"errors"
	"fmt"
	"sync"

	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// Rules is the version of the rules by which this program judges; it goes into
// every fact it writes. Raise it with any change after which the same records
// would give another verdict or state.
const Rules = 1

// The rules' own limits, where a fact brings none.
const (
	DefaultWebhookLimit = 100_000
	DefaultAPIKeyLimit  = 1_000
)

// Errors of Apply. None of them is passed over: the node is not ready until
// the cause is mended.
var (
	// ErrNewerRules: the record was written by a newer program.
	ErrNewerRules = errors.New("judged by newer rules than this program knows: upgrade this node")
	// ErrUnknownChange: a kind of change that this program does not know.
	ErrUnknownChange = errors.New("a kind of change that this program does not know: upgrade this node")
	// ErrOrder: the record is not the next one of its partition.
	ErrOrder = errors.New("not the next record of its partition")
)

// RecordError is an error of one record of `config`.
type RecordError struct {
	Partition int32
	Offset    int64
	Err       error
}

func (e *RecordError) Error() string {
	return fmt.Sprintf("config/%d/%d: %v", e.Partition, e.Offset, e.Err)
}

// Unwrap is the reason.
func (e *RecordError) Unwrap() error { return e.Err }

// Fold is the state that `config` means, and the judge of its facts. Its
// methods may be called from any goroutine; Apply must be called with the
// records of each partition in order, without gaps, from offset 0.
type Fold struct {
	partitionOf func(account string) int32

	mu    sync.RWMutex
	parts []*part
	// accounts of all partitions; an account belongs to one.
	accounts map[string]*account
}

// account is what belongs to one account.
type account struct {
	name  string
	index index
	// webhooks and keys in order of their creating fact, the oldest first.
	webhooks []*entry
	keys     []*APIKey
	// activeKeys counts those that are not revoked.
	activeKeys int
}

// part is the state of one partition; nothing of it depends on another one.
type part struct {
	id int32
	// next is the offset of the next record, time the greatest record time so far.
	next, time int64
	// last is the fact_id of the record before next, by which a snapshot proves its log.
	last     keyHash
	webhooks map[ids.ID]*entry
	deleted  map[ids.ID]Tombstone
	keys     map[string]*APIKey
	byHash   map[[HashSize]byte]*APIKey
	goneKeys map[string]string // deleted ones, and whose they were
	book     keyBook
}

// New makes the fold of no records. partitionOf is where an account's facts lie.
func New(partitions int32, partitionOf func(account string) int32) *Fold {
	f := &Fold{partitionOf: partitionOf, accounts: make(map[string]*account)}
	for i := range partitions {
		f.parts = append(f.parts, &part{
			id: i, webhooks: make(map[ids.ID]*entry), deleted: make(map[ids.ID]Tombstone),
			keys: make(map[string]*APIKey), byHash: make(map[[HashSize]byte]*APIKey),
			goneKeys: make(map[string]string), book: newKeyBook(),
		})
	}
	return f
}

// Apply judges a record and changes the state by it if it is Applied.
// recordTimeMs is the record's own timestamp. The fact must not be changed
// afterwards. After an error the state is as before.
func (f *Fold) Apply(partition int32, offset, recordTimeMs int64, fact *facts.ConfigFact) (Verdict, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.admit(partition, offset, fact); err != nil {
		return Verdict{}, &RecordError{Partition: partition, Offset: offset, Err: err}
	}
	p := f.parts[partition]
	p.next++
	p.time = max(p.time, recordTimeMs)
	p.last = keyHash{}
	copy(p.last[:], fact.GetFactId())
	j := judgement{fold: f, part: p, fact: fact, offset: offset, now: p.time}
	v, effect := j.judge()
	if v.Kind == Applied {
		owner := effect()
		if idempotent(fact) {
			p.book.take(keyHash(fact.GetIdempotency().GetKeyHash()), j.used(owner))
		}
	}
	p.book.expire(p.time)
	return v, nil
}

// Precheck says what the verdict would be if the fact came next: commands are
// checked before they are appended. Its Offset is -1.
func (f *Fold) Precheck(fact *facts.ConfigFact) Verdict {
	partition := f.partitionOf(fact.GetAccount())
	f.mu.RLock()
	defer f.mu.RUnlock()
	p := f.parts[partition]
	// On a quiet partition the record time may lie far back; the fact will bring it up to date.
	j := judgement{fold: f, part: p, fact: fact, offset: -1, now: max(p.time, fact.GetAtMs())}
	v, _ := j.judge()
	return v
}

// admit checks what no verdict can be given on.
func (f *Fold) admit(partition int32, offset int64, fact *facts.ConfigFact) error {
	switch {
	case partition < 0 || int(partition) >= len(f.parts):
		return fmt.Errorf("%w: config has %d partitions", ErrOrder, len(f.parts))
	case offset != f.parts[partition].next:
		return fmt.Errorf("%w: want offset %d", ErrOrder, f.parts[partition].next)
	case fact.GetRules() > Rules:
		return fmt.Errorf("%w: version %d, this program knows %d", ErrNewerRules, fact.GetRules(), Rules)
	case fact.GetChange() == nil:
		return ErrUnknownChange
	}
	return nil
}

// Next is the offset of the next record of a partition.
func (f *Fold) Next(partition int32) int64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.parts[partition].next
}

// account returns the account, made if need be.
func (f *Fold) account(name string) *account {
	a := f.accounts[name]
	if a == nil {
		a = &account{name: name, index: make(index)}
		f.accounts[name] = a
	}
	return a
}

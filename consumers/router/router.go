package router

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"hookledger/ledger"
	"hookledger/projections/subscriptions"
)

// Group is the name of the consumer group that shares out `events`.
const Group = "router"

// Subscriptions say which webhooks an event goes to.
type Subscriptions interface {
	// Barrier returns when everything has been applied that `config` held when it was called.
	Barrier(ctx context.Context) error
	// Match appends to dst the webhooks that an event goes to, in order of id.
	Match(dst []*subscriptions.Webhook, account, event, indexID string) []*subscriptions.Webhook
}

// Options of a router. Log, Subscriptions, Instance and Folder are required.
type Options struct {
	Log           *ledger.Log
	Subscriptions Subscriptions
	// Instance names this node in the group: a restart under the same name takes
	// its partitions back without a rebalance.
	Instance string
	// Folder for hours of ids that exceed the memory. Nobody else uses it.
	Folder string
	// BodyLimit is the size up to which a body rides along in its request
	// (default 16 KiB); larger ones are made again from the event.
	BodyLimit int
	// RepeatsMemory bounds the ids kept in memory, in bytes over all partitions
	// of `events` (default 64 MiB).
	RepeatsMemory int
	// CommitEvery is the least time between commits (default 100 ms).
	CommitEvery time.Duration
	// MaxUncommitted is how many events may be routed beyond the commits
	// (default 100,000): what is read again after a crash, at most.
	MaxUncommitted int
	// Session is how long the group waits for this node (default 10 s).
	Session time.Duration
	// Drain is how long Run goes on, after its context ended, to have
	// acknowledged and committed what it has appended (default 3 s).
	Drain time.Duration
	// Metrics (default: counted and never shown).
	Metrics *Metrics
	// Logger (default: none).
	Logger *slog.Logger
}

// Router routes the partitions of `events` that the group gives to this node.
type Router struct {
	opts Options
	log  *ledger.Log
	m    *Metrics

	mu    sync.Mutex
	owned map[int32]uint64 // by the number of its assignment
	turn  uint64
	wake  func() // tells the incarnation that owned has changed

	// What Ready says.
	joined  func() bool
	trouble error
	unready int // owned partitions that are not routed yet
}

// New makes a router. It does nothing before Run.
func New(o Options) (*Router, error) {
	var missing []error
	for name, is := range map[string]bool{
		"Log": o.Log != nil, "Subscriptions": o.Subscriptions != nil, "Instance": o.Instance != "", "Folder": o.Folder != "",
	} {
		if !is {
			missing = append(missing, fmt.Errorf("router: Options.%s is missing", name))
		}
	}
	if err := errors.Join(missing...); err != nil {
		return nil, err
	}
	def(&o.BodyLimit, 16<<10)
	def(&o.RepeatsMemory, 64<<20)
	def(&o.MaxUncommitted, 100_000)
	def(&o.CommitEvery, 100*time.Millisecond)
	def(&o.Session, 10*time.Second)
	def(&o.Drain, 3*time.Second)
	if o.Metrics == nil {
		o.Metrics = NewMetrics()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Router{opts: o, log: o.Log, m: o.Metrics, owned: make(map[int32]uint64), wake: func() {}}, nil
}

func def[T comparable](v *T, is T) {
	var zero T
	if *v == zero {
		*v = is
	}
}

// Pauses between incarnations, doubled from the first to the last.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 5 * time.Second
)

// Run routes until ctx ends (nil), or until the log is damaged or a commit is
// missing (a [*RepairError]). Other trouble is logged, counted and tried again.
func (r *Router) Run(ctx context.Context) error {
	group, err := r.log.Join(ledger.GroupOptions{
		Name: Group, Topic: ledger.Events, Instance: r.opts.Instance, Session: r.opts.Session,
		OnAssigned: func(partitions []int32, _ int32) { r.assigned(partitions) },
		OnLost:     r.lost,
	})
	if err != nil {
		return fmt.Errorf("router: %w", err)
	}
	defer group.Close()
	r.mu.Lock()
	r.joined = group.Joined
	r.mu.Unlock()
	pause := firstPause
	for {
		began := time.Now()
		err := r.live(ctx, group)
		r.interrupted(err)
		var repair *RepairError
		switch {
		case errors.As(err, &repair):
			return fmt.Errorf("router: %w", err)
		case ctx.Err() != nil:
			return nil
		}
		if time.Since(began) > 2*lastPause {
			pause = firstPause
		}
		r.m.Incarnations.Inc()
		r.opts.Logger.Warn("routing was interrupted, it begins again at the last commit", "error", err, "pause", pause)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, lastPause)
	}
}

// assigned and lost are told by the group.
func (r *Router) assigned(partitions []int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range partitions {
		r.turn++
		r.owned[p] = r.turn
	}
	r.wake()
}

func (r *Router) lost(partitions []int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range partitions {
		delete(r.owned, p)
	}
	r.wake()
}

// RepairError says that a partition can't be routed on without an operator.
type RepairError struct {
	Partition int32
	// Offset that was to be read next; -1 where no commit says.
	Offset int64
	Err    error
}

// Error says what is wrong and what to do.
func (e *RepairError) Error() string {
	at := "no commit"
	if e.Offset >= 0 {
		at = fmt.Sprintf("offset %d", e.Offset)
	}
	return fmt.Sprintf("events/%d at %s: %v: nothing of it is routed before `hookledger repair` has set a place to go on from",
		e.Partition, at, e.Err)
}

// Unwrap is the reason.
func (e *RepairError) Unwrap() error { return e.Err }

// ErrNoCommit: a partition holds records, but the group has no commit for it.
var ErrNoCommit = errors.New("the partition has records, but no commit of the group " + Group)

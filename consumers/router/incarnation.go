package router

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"hookledger/ledger"
	"hookledger/projections/subscriptions"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// incarnation is one life of the routing, from the commits to the first failure.
// All of it belongs to the routing goroutine but what mu guards.
type incarnation struct {
	*Router
	group    committer
	producer *ledger.Producer
	reader   *ledger.Reader
	// life ends with Run's context, or with the failure that is its cause.
	life context.Context //nolint:containedctx // it is what the incarnation is
	fail context.CancelCauseFunc

	settled     chan struct{} // a chunk is settled: there may be something to commit
	committed   chan struct{} // something was committed
	uncommitted atomic.Int64  // events

	mu    sync.Mutex
	parts map[int32]*part
	ready []*part // loaded, or failed to

	loads   sync.WaitGroup
	loading chan struct{} // bounds how many load at once

	// Used again for each event.
	hooks   []*subscriptions.Webhook
	command *facts.DeliveryCommand
}

// committer is the group, as far as an incarnation needs it.
type committer interface {
	Commit(ctx context.Context, next map[int32]int64) error
}

// part is a partition of events that this incarnation routes.
type part struct {
	partition int32
	turn      uint64
	stop      context.CancelFunc // ends its load
	loaded    chan struct{}      // closed when its load has ended
	err       error              // of the load

	next    int64 // the offset to be routed
	timeMs  int64 // record time: the running maximum of the valid events before next
	repeats *repeats
	reading bool

	mu     sync.Mutex
	chunks []*chunk // routed and not yet committed, in order
	began  mark     // the newest hour whose first entry was appended to event-ids
}

// live runs one incarnation.
func (r *Router) live(ctx context.Context, group committer) (err error) {
	producer, err := r.log.NewProducer()
	if err != nil {
		return err
	}
	defer producer.Close()
	reader, err := r.log.NewReader(ledger.ReaderOptions{})
	if err != nil {
		return err
	}
	defer reader.Close()
	life, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	in := &incarnation{
		Router: r, group: group, producer: producer, reader: reader, life: life, fail: fail,
		settled: make(chan struct{}, 1), committed: make(chan struct{}, 1),
		parts: make(map[int32]*part), loading: make(chan struct{}, 2), command: newCommand(),
	}
	defer in.end()
	var committing sync.WaitGroup
	committing.Go(in.commitLoop)
	err = in.run()
	cause := context.Cause(life)
	fail(err) // ends the committer
	committing.Wait()
	if ctx.Err() != nil {
		in.drain(context.WithoutCancel(ctx))
		return nil
	}
	if errors.Is(err, context.Canceled) && cause != nil { // what failed elsewhere is the reason
		return cause
	}
	return err
}

// drain has acknowledged and committed what was appended, as far as time allows.
func (in *incarnation) drain(ctx context.Context) {
	if in.opts.Drain < 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, in.opts.Drain)
	defer cancel()
	if err := in.producer.Flush(ctx); err != nil && ctx.Err() != nil {
		in.opts.Logger.Warn("stopped before all requests were acknowledged: their events are routed again", "error", err)
		return
	}
	if err := in.commit(ctx); err != nil {
		in.opts.Logger.Warn("stopped before the last commit: its events are routed again", "error", err)
	}
}

// end ends the loads and closes what the parts hold.
func (in *incarnation) end() {
	in.mu.Lock()
	parts := in.parts
	in.parts = nil
	in.mu.Unlock()
	for _, p := range parts {
		in.drop(p)
	}
	in.loads.Wait()
	in.m.Uncommitted.Set(0)
}

// run routes until life ends or something fails.
func (in *incarnation) run() error {
	polling, cancel := context.WithCancel(in.life)
	defer func() { cancel() }()
	for {
		if polling.Err() != nil {
			polling, cancel = context.WithCancel(in.life)
		}
		// Set before looking, so that no change is missed.
		in.Router.mu.Lock()
		in.Router.wake = cancel
		in.Router.mu.Unlock()
		if err := in.adopt(); err != nil {
			return err
		}
		if in.full(polling) {
			if err := in.life.Err(); err != nil {
				return err
			}
			continue
		}
		batches, pollErr := in.reader.Poll(polling, 0)
		if len(batches) > 0 {
			if err := in.wait(); err != nil {
				return err
			}
			for _, b := range batches {
				if err := in.route(b); err != nil {
					return err
				}
			}
		}
		if err := in.life.Err(); err != nil {
			return err
		}
		if err := repair(pollErr); err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	}
}

// repair makes an error of reading one that asks for an operator, if it needs one.
func repair(err error) error {
	var at *ledger.PartitionError
	if errors.As(err, &at) && damaged(err) {
		return &RepairError{Partition: at.Partition, Offset: at.Offset, Err: err}
	}
	return err
}

func damaged(err error) bool {
	return errors.Is(err, ledger.ErrGap) || errors.Is(err, ledger.ErrBelowStart) || errors.Is(err, ledger.ErrBeyondEnd)
}

// adopt takes up partitions that the group has given, and lets go of those it
// has taken.
func (in *incarnation) adopt() error {
	in.Router.mu.Lock()
	owned := maps.Clone(in.owned)
	in.Router.mu.Unlock()
	in.mu.Lock()
	ready := in.ready
	in.ready = nil
	before := maps.Clone(in.parts)
	in.mu.Unlock()

	for partition, p := range before {
		if owned[partition] != p.turn {
			in.mu.Lock()
			delete(in.parts, partition)
			in.mu.Unlock()
			in.drop(p)
		}
	}
	for partition, turn := range owned {
		if was := before[partition]; was != nil && was.turn == turn {
			continue
		}
		ctx, stop := context.WithCancel(in.life)
		p := &part{partition: partition, turn: turn, stop: stop, loaded: make(chan struct{})}
		in.mu.Lock()
		in.parts[partition] = p
		in.mu.Unlock()
		in.loads.Go(func() {
			defer close(p.loaded)
			select {
			case in.loading <- struct{}{}:
				p.err = in.load(ctx, p)
				<-in.loading
			case <-ctx.Done():
				p.err = ctx.Err()
			}
			in.mu.Lock()
			in.ready = append(in.ready, p)
			in.mu.Unlock()
			// The wake of now, not of when the load began: each Poll has its own.
			in.Router.mu.Lock()
			wake := in.Router.wake
			in.Router.mu.Unlock()
			wake()
		})
	}
	for _, p := range ready {
		in.mu.Lock()
		current := in.parts[p.partition] == p
		in.mu.Unlock()
		if !current {
			continue // dropped meanwhile
		}
		if p.err != nil {
			return p.err
		}
		in.reader.Add(ledger.Events, p.partition, p.next)
		p.reading = true
		in.opts.Logger.Info("routing a partition", "partition", p.partition, "offset", p.next, "ids", p.repeats.entries())
	}
	unready := 0
	for _, p := range in.snapshot() {
		if !p.reading {
			unready++
		}
	}
	in.prepared(unready)
	return nil
}

// drop lets go of a partition. What of it is appended and not yet acknowledged
// may still get into the log: the next owner appends the same.
func (in *incarnation) drop(p *part) {
	p.stop()
	if p.reading {
		in.reader.Remove(ledger.Events, p.partition)
		p.reading = false
	}
	<-p.loaded
	if p.repeats != nil {
		p.repeats.close()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.chunks {
		in.uncommitted.Add(-int64(c.events))
	}
	p.chunks = nil
}

// full says whether as many events as may be are routed beyond the commits, after
// waiting until that changes, or the owned partitions do.
func (in *incarnation) full(polling context.Context) bool {
	if in.uncommitted.Load() <= int64(in.opts.MaxUncommitted) {
		return false
	}
	select {
	case <-in.committed:
	case <-polling.Done():
	}
	return true
}

// barrierPause is between tries of the barrier; it has a timeout of its own.
const barrierPause = 50 * time.Millisecond

// wait returns when what was fetched is synced, and all that config held when it
// was fetched is applied.
func (in *incarnation) wait() error {
	began := time.Now()
	synced := make(chan error, 1)
	go func() {
		synced <- in.log.Synced(in.life)
		in.m.Wait.WithLabelValues("sync").Observe(time.Since(began).Seconds())
	}()
	barrier := in.barrier()
	in.m.Wait.WithLabelValues("barrier").Observe(time.Since(began).Seconds())
	return errors.Join(<-synced, barrier)
}

func (in *incarnation) barrier() error {
	var logged time.Time
	for {
		err := in.opts.Subscriptions.Barrier(in.life)
		if err == nil {
			return nil
		}
		if cause := context.Cause(in.life); cause != nil {
			return cause
		}
		if time.Since(logged) > 10*time.Second {
			logged = time.Now()
			in.opts.Logger.Warn("events wait: the subscriptions are not current", "error", err)
		}
		select {
		case <-in.life.Done():
		case <-time.After(barrierPause):
		}
	}
}

// snapshot lists the parts in order.
func (in *incarnation) snapshot() []*part {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.SortedFunc(maps.Values(in.parts), func(a, b *part) int { return int(a.partition - b.partition) })
}

// failed ends the incarnation.
func (in *incarnation) failed(what string, err error) { in.fail(fmt.Errorf("%s: %w", what, err)) }

package dispatcher

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"hookledger/consumers/dispatcher/partition"
	"hookledger/ledger"
)

// Bounds of one round of a worker.
const (
	// maxStart is how many tries one barrier serves.
	maxStart = 512
	// maxFetched records in a mailbox, beyond which the reading of `deliveries` pauses.
	maxFetched = 8192
)

// worker owns the machine of one partition.
type worker struct {
	d       *Dispatcher
	p       int32
	m       *partition.Machine
	box     *mailbox
	sending sync.WaitGroup
	drained chan struct{}
	state   atomic.Pointer[workerState]
	// disabling are the Disables under way, so that one is not said twice at a time.
	disabling sync.Map

	// Of the goroutine that runs the worker:
	fx       partition.Effects
	reads    []partition.FactRead
	readers  [3]tail
	seeks    uint64
	paused   bool
	draining bool
	damaged  error
	barrier  error         // the last failure, so that it is logged once
	notUntil time.Duration // nothing is started before it, unless something comes
}

// tail is what is known of the reading of one log: the offset fed next, and
// which Seek it answers. Batches of an earlier position don't fit and fall away.
type tail struct {
	open bool
	next int64
	seek uint64
}

// workerState is what others may look at.
type workerState struct {
	stats partition.Stats
	err   error
}

func newWorker(d *Dispatcher, p int32) *worker {
	w := &worker{d: d, p: p, box: newMailbox(), drained: make(chan struct{})}
	w.m = partition.New(d.Rules, p, d.Node, d, rnd)
	if d.Unclean {
		w.m.UncleanStop()
	}
	w.state.Store(&workerState{})
	return w
}

// run feeds the machine and does what it wants, until ctx ends.
func (w *worker) run(ctx, sends context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var spare []input
	for {
		ins := w.box.take(spare)
		now := w.d.now()
		for i := range ins {
			w.feed(ctx, now, &ins[i])
		}
		clear(ins)
		spare = ins
		w.m.Tick(now)
		w.perform(ctx)
		w.start(ctx, sends)
		w.publish()
		if w.draining && w.m.Drained() {
			w.draining = false
			close(w.drained)
		}
		at, ok := w.m.NextWake()
		wait := time.Hour
		if ok {
			wait = max(max(at, w.notUntil)-w.d.now().Mono, 0)
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.box.wake:
		case <-timer.C:
		}
	}
}

// start passes the barrier and starts what may start.
func (w *worker) start(ctx, sends context.Context) {
	for now := w.d.now(); now.Mono >= w.notUntil && w.m.Ready(now); now = w.d.now() {
		got := w.d.slots.take(maxStart, w.box)
		if err := w.d.Config.Barrier(ctx); err != nil {
			w.d.slots.give(got)
			if ctx.Err() == nil && w.barrier == nil {
				w.d.Logger.Warn("nothing is sent: the end of `config` could not be reached", "partition", w.p, "error", err)
			}
			w.barrier = err
			w.d.Metrics.barrierFailures.Inc()
			w.notUntil = w.d.now().Mono + time.Second
			return
		}
		w.barrier = nil
		started := w.m.Start(w.d.now(), got)
		for i := range started {
			w.send(sends, &started[i])
		}
		w.d.slots.give(got - len(started))
		w.perform(ctx)
		if got == 0 { // the next free slot wakes this worker
			w.notUntil = w.d.now().Mono + 10*time.Millisecond
		}
		if len(started) < maxStart {
			return
		}
	}
}

// feed gives one input to the machine.
func (w *worker) feed(ctx context.Context, now partition.Time, in *input) {
	switch in.kind {
	case inAssigned:
		w.m.Assigned(now, in.gen)
	case inLost:
		w.m.Lost(now)
	case inDrain:
		w.draining = true
		w.m.Drain(now)
	case inHeartbeat:
		w.m.Heartbeat(in.at)
	case inOpened:
		w.opened(now, in)
	case inLogStart:
		w.m.LogStart(now, in.log, in.offset)
	case inRecords:
		w.records(now, in)
	case inAppended:
		w.m.Appended(now, in.token, in.offset)
	case inAppendFailed:
		w.d.Metrics.appendFailures.Inc()
		w.d.Logger.Warn("an append failed; the partition is claimed anew", "partition", w.p, "error", in.err)
		w.m.AppendFailed(now, in.token)
	case inLoaded:
		w.m.Loaded(now, in.offset, in.lane)
	case inLoadFailed:
		w.d.Logger.Warn("a waiting delivery could not be read, it is tried again", "partition", w.p, "offset", in.offset, "error", in.err)
		w.m.LoadFailed(now, in.offset)
	case inSent:
		w.m.Sent(now, in.id, *in.result)
	case inUnsent:
		w.m.Unsent(now, in.id, in.unsent)
	case inWebhookChanged:
		w.m.WebhookChanged(now, in.id)
	case inReadFailed:
		w.readFailed(ctx, now, in)
	}
}

// records feeds a batch, if it is the next one of its log.
func (w *worker) records(now partition.Time, in *input) {
	t := &w.readers[in.log]
	skip := t.next - in.offset
	if !t.open || skip < 0 || skip >= int64(in.records()) {
		return // of an earlier position
	}
	t.next = in.offset + int64(in.records())
	switch in.log {
	case partition.LogDeliveries:
		w.m.Deliveries(now, in.cmds[skip:], max(in.end, t.next))
	case partition.LogLanes:
		w.m.Lanes(now, in.lanes[skip:])
	case partition.LogAttempts:
		w.m.Attempts(now, w.decode(in.raw[skip:]))
	}
}

// damage stops the partition: its log can't be read on.
func (w *worker) damage(now partition.Time, err error) {
	if w.damaged == nil {
		w.damaged = err
		w.d.Logger.Error("a partition stands still", "partition", w.p, "error", err)
	}
	w.m.Lost(now)
}

// decode reads facts, but for the machine's own. One that can't be decoded is
// fed as nil; the historian reports it.
func (w *worker) decode(records []*kgo.Record) []partition.FactRead {
	w.reads = w.reads[:0]
	for _, r := range records {
		read := partition.FactRead{Offset: r.Offset}
		if !w.m.Own(r.Value) {
			if fact, err := ledger.DecodeAttempt(r.Value); err == nil {
				read.Fact = fact
			}
		}
		w.reads = append(w.reads, read)
	}
	return w.reads
}

// publish shows the machine's state and holds back reading while too much is undecided.
func (w *worker) publish() {
	stats := w.m.Stats()
	if err := w.m.Err(); err != nil && w.damaged == nil {
		w.damaged = err
		w.d.Logger.Error("a partition stands still", "partition", w.p, "error", err)
	}
	if old := w.state.Load(); old.stats != stats || old.err != w.damaged { //nolint:errorlint // the same value, not the same kind
		w.state.Store(&workerState{stats, w.damaged})
	}
	full := stats.Undecided >= w.d.Rules.MaxUndecided || stats.Waiting*len(w.d.workers) > w.d.MaxWaiting
	if full != w.paused {
		w.paused = full
		if full {
			w.d.fast.Pause(ledger.Deliveries, w.p)
		} else {
			w.d.fast.Resume(ledger.Deliveries, w.p)
		}
	}
}

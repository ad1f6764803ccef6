package historian

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"hookledger/ledger"
	"hookledger/ledger/ids"
	"hookledger/projections/history"
)

// FillOptions say from where to where a history is made. Log and To are required.
type FillOptions struct {
	Log *ledger.Log
	// To is an empty history, pinned to its database.
	To *history.History
	// From is a history that may have what the log no longer holds; nil for none.
	From *history.History
	// Workers is how many partitions are read at a time (default: as many as the
	// program has processors, at most four). Each holds a batch of [Options.MaxBytes].
	Workers int
	Logger  *slog.Logger
}

// Carried is what the log no longer held of a partition and was taken from the
// history before.
type Carried struct {
	Topic     ledger.Topic
	Partition int32
	// Start is where the log begins.
	Start int64
	// Rows that were carried over, and the time of the oldest; they can't be verified.
	Rows   uint64
	Oldest time.Time
}

// Fill makes a history from the log, once. Progress may be asked meanwhile.
//
// It reads config, events, attempts and dead-letters from their start to the end
// that they had when it began, many partitions at a time. Then, for each
// partition of deliveries, it finds what it means without its trimmed beginning
// (see requests.go). When Run returns, the places are written: from there a
// historian goes on.
type Fill struct {
	FillOptions
	base *Historian
	jobs []job
	// waiting is what deliveries means, by partition.
	waiting []*requests

	read, total atomic.Int64
	phase       atomic.Pointer[string]
	carried     struct {
		sync.Mutex
		all []Carried
	}
}

// job is one partition, from its start to the end that it had.
type job struct {
	at
	id         ids.ID
	start, end int64
}

// NewFill makes a filling; nothing is read before Run.
func NewFill(o FillOptions) (*Fill, error) {
	if o.Workers == 0 {
		o.Workers = min(runtime.GOMAXPROCS(0), 4)
	}
	base, err := New(Options{Log: o.Log, History: o.To, Aside: true, Logger: o.Logger})
	if err != nil {
		return nil, err
	}
	f := &Fill{FillOptions: o, base: base}
	f.say("looking at the log")
	return f, nil
}

// Progress is how many records were read of how many, and what is being done.
func (f *Fill) Progress() (read, total int64, phase string) {
	return f.read.Load(), f.total.Load(), *f.phase.Load()
}

// Carried lists what was taken from the history before.
func (f *Fill) Carried() []Carried {
	f.carried.Lock()
	defer f.carried.Unlock()
	return append([]Carried(nil), f.carried.all...)
}

func (f *Fill) say(phase string) { f.phase.Store(&phase) }

// Run fills the history.
func (f *Fill) Run(ctx context.Context) error {
	if err := f.look(ctx); err != nil {
		return err
	}
	f.say("reading the log")
	f.waiting = make([]*requests, f.Log.Partitions(ledger.Deliveries))
	for p := range f.waiting {
		f.waiting[p] = newRequests(f, int32(p))
	}
	places := make([]history.Place, len(f.jobs))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(f.Workers)
	for i, j := range f.jobs {
		g.Go(func() error {
			var also func(*history.DeliveryRow)
			if j.topic == ledger.Attempts {
				also = f.waiting[j.partition].fact
			}
			end, err := f.partition(gctx, j, also)
			places[i] = history.Place{Topic: j.topic, Partition: j.partition, Next: end, TopicID: j.id}
			if j.topic == ledger.Attempts {
				f.waiting[j.partition].factsTo = end
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := f.hours(ctx); err != nil {
		return err
	}
	f.say("finding what waits")
	for _, r := range f.waiting {
		if err := r.settle(ctx); err != nil {
			return err
		}
		for i := range places {
			if p := &places[i]; p.Topic == ledger.Attempts && p.Partition == r.partition {
				p.Next, p.Hours = r.factsTo, r.hours.list()
			}
		}
	}
	return f.base.try(ctx, "append the places", func(ctx context.Context) error { return f.To.AppendPlaces(ctx, places) })
}

// Again mends the places of deliveries after Run, when a live dispatcher has
// trimmed what a historian had yet to read.
func (f *Fill) Again(ctx context.Context, partition int32) error {
	return f.waiting[partition].settle(ctx)
}

// look finds the partitions, the largest first, so that none is left alone at the end.
func (f *Fill) look(ctx context.Context) error {
	for _, topic := range topics() {
		if topic == ledger.Deliveries {
			continue
		}
		id, err := f.Log.TopicID(ctx, topic)
		if err != nil {
			return err
		}
		starts, err := f.Log.Starts(ctx, topic)
		if err != nil {
			return err
		}
		ends, err := f.Log.Ends(ctx, topic)
		if err != nil {
			return err
		}
		for p := range f.Log.Partitions(topic) {
			j := job{at: at{topic, p}, id: id, start: starts[p], end: ends[p]}
			f.jobs = append(f.jobs, j)
			f.total.Add(j.end - j.start)
		}
	}
	sortJobs(f.jobs)
	return nil
}

// partition reads one partition to its end and returns the offset after it.
func (f *Fill) partition(ctx context.Context, j job, also func(*history.DeliveryRow)) (int64, error) {
	next := j.start
	if err := f.carry(ctx, j.at, 0, j.start); err != nil {
		return 0, err
	}
	for {
		to, err := f.copyRange(ctx, j.at, next, j.end, also)
		var gone *ledger.PartitionError
		if err == nil {
			return max(to, j.end), nil
		}
		if !errors.As(err, &gone) || !errors.Is(err, ledger.ErrBelowStart) || j.topic == ledger.Config {
			return 0, err
		}
		// Retention was quicker. What it took is in the history before.
		starts, err := f.Log.Starts(ctx, j.topic)
		if err != nil {
			return 0, err
		}
		if err := f.carry(ctx, j.at, to, starts[j.partition]); err != nil {
			return 0, err
		}
		f.read.Add(min(starts[j.partition], j.end) - to)
		if next = starts[j.partition]; next >= j.end {
			return next, nil
		}
	}
}

// carry takes over what the log no longer holds, where there is a history that has it.
func (f *Fill) carry(ctx context.Context, where at, first, end int64) error {
	if first >= end {
		return nil
	}
	if where.topic == ledger.Config {
		return &DamageError{where.topic, where.partition, 0, fmt.Errorf("%w: it starts at %d, though config is never trimmed", ledger.ErrBelowStart, end)}
	}
	c := Carried{Topic: where.topic, Partition: where.partition, Start: end}
	if f.From != nil && where.topic != ledger.DeadLetters {
		err := f.base.try(ctx, "carry over what the log no longer holds", func(ctx context.Context) (err error) {
			c.Rows, c.Oldest, err = f.To.Carry(ctx, f.From, where.topic, where.partition, first, end)
			return err
		})
		if err != nil {
			return err
		}
	}
	if where.topic != ledger.DeadLetters {
		f.carried.Lock()
		defer f.carried.Unlock()
		f.carried.all = append(f.carried.all, c)
	}
	return nil
}

// copyRange reads a partition from an offset to another and inserts its rows. It
// returns how far they are inserted, also with an error.
func (f *Fill) copyRange(ctx context.Context, where at, next, end int64, also func(*history.DeliveryRow)) (int64, error) {
	if next >= end {
		return next, nil
	}
	w := f.base.newWriter(f.To)
	p := &place{next: next, rowsFrom: next, sources: make(history.Sources)}
	w.places[where] = p
	reader, err := f.Log.NewReader(ledger.ReaderOptions{MaxWait: 500 * time.Millisecond, MaxPartitionBytes: 8 << 20})
	if err != nil {
		return next, err
	}
	defer reader.Close()
	reader.Add(where.topic, where.partition, next)
	inserted := next
	for p.next < end {
		batches, pollErr := reader.Poll(ctx, pollRecords)
		for _, b := range batches {
			if last := end - b.Records[0].Offset; int64(len(b.Records)) > last {
				b.Records = b.Records[:last]
			}
			from := len(w.batch.Deliveries)
			if err := w.take(b); err != nil {
				return inserted, err
			}
			if also != nil {
				for i := range w.batch.Deliveries[from:] {
					also(&w.batch.Deliveries[from+i])
				}
			}
			f.read.Add(int64(len(b.Records)))
		}
		full := w.batch.Largest() >= w.opts.MaxRows || w.bytes >= w.opts.MaxBytes
		if full || p.next >= end || pollErr != nil {
			if err := w.insert(ctx); err != nil {
				return inserted, err
			}
			inserted = p.next
		}
		if pollErr != nil {
			return inserted, pollErr
		}
	}
	return inserted, nil
}

// insert writes what was read, once it is synced; the places come later.
func (w *writer) insert(ctx context.Context) error {
	if err := w.try(ctx, "sync what was read", w.log.Synced); err != nil {
		return err
	}
	if err := w.try(ctx, "insert into the history", func(ctx context.Context) error { return w.h.Insert(ctx, &w.batch) }); err != nil {
		return err
	}
	w.batch.Reset()
	w.bytes, w.records = 0, 0
	return nil
}

// hours computes attempts_hourly from all that was inserted.
func (f *Fill) hours(ctx context.Context) error {
	f.say("adding up the hours")
	all, err := f.To.Hours(ctx)
	if err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(2)
	for _, hour := range all {
		g.Go(func() error {
			return f.base.try(gctx, "recompute attempts_hourly", func(ctx context.Context) error { return f.To.Recompute(ctx, hour) })
		})
	}
	return g.Wait()
}

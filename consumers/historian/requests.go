package historian

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"hookledger/ledger"
	"hookledger/projections/history"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// requests finds what one partition of deliveries means though its beginning
// was trimmed. Two things lie there that a reader who begins in the middle lacks:
//
// The deliveries that wait for their first try. What is trimmed is settled: it was
// tried, it ended, or it waits in `lanes`. So the waiting ones are read there.
//
// The marks: per partition of events the greatest (offset, webhook) accepted, by
// which what the router wrote again is told from what is new (history.Sources).
// A request that was accepted below the start has a fact whose round is its
// offset, or waits in `lanes`; so the greatest mark among those is the greatest
// that was accepted. Facts are looked at while they are read anyway.
type requests struct {
	fill      *Fill
	partition int32
	// factsTo is how far attempts were read.
	factsTo int64
	hours   owed

	// below is where deliveries starts, as far as it was asked; marks are of what
	// was accepted below it, later of what lies at or above it.
	below int64
	marks history.Sources
	later []laterMark
	// full says that later was thrown away: marks are of below, and of nothing else.
	full  bool
	asked time.Time
}

type laterMark struct {
	round  int64
	source int32
	mark   history.Mark
}

// Bounds of what is remembered of rounds that are not trimmed yet.
const (
	laterMarks   = 250_000
	askAgain     = 10 * time.Second
	settleTries  = 50
	settlePause  = 100 * time.Millisecond
	lanesRecords = 5_000
)

func newRequests(f *Fill, partition int32) *requests {
	return &requests{fill: f, partition: partition, marks: make(history.Sources), hours: newOwed()}
}

// fact notes the mark of a fact's round.
func (r *requests) fact(row *history.DeliveryRow) {
	r.add(laterMark{int64(row.Round), int32(row.SourcePart), history.Mark{Offset: int64(row.SourceOff), Webhook: row.Webhook}})
}

func (r *requests) add(m laterMark) {
	if m.round < r.below {
		r.marks.Accept(m.source, m.mark)
		return
	}
	if r.full {
		return
	}
	r.later = append(r.later, m)
	if len(r.later) < laterMarks {
		return
	}
	if time.Since(r.asked) > askAgain {
		r.asked = time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), askAgain)
		defer cancel()
		if starts, err := r.fill.Log.Starts(ctx, ledger.Deliveries); err == nil {
			r.raise(starts[r.partition])
		}
	}
	if len(r.later) >= laterMarks {
		r.full, r.later = true, nil
	}
}

// raise moves below up, and says whether the marks are of it.
func (r *requests) raise(below int64) bool {
	if below == r.below {
		return true
	}
	if r.full {
		return false
	}
	r.below = below
	r.later = slices.DeleteFunc(r.later, func(m laterMark) bool {
		if m.round < below {
			r.marks.Accept(m.source, m.mark)
			return true
		}
		return false
	})
	return true
}

// settle reads what is missing of attempts, and lanes, until it knows what lies
// below the start of deliveries, and appends the place from where deliveries is
// read. A live dispatcher may trim meanwhile; then it looks again.
func (r *requests) settle(ctx context.Context) error {
	log := r.fill.Log
	id, err := log.TopicID(ctx, ledger.Deliveries)
	if err != nil {
		return err
	}
	for try := 0; ; try++ {
		// In this order: what is below the start has its facts below the end.
		starts, err := log.Starts(ctx, ledger.Deliveries)
		if err != nil {
			return err
		}
		ends, err := log.Ends(ctx, ledger.Attempts)
		if err != nil {
			return err
		}
		start := starts[r.partition]
		if !r.raise(start) {
			if err := r.again(ctx, start); err != nil {
				return err
			}
		}
		if err := r.facts(ctx, ends[r.partition]); err != nil {
			return err
		}
		waiting, err := r.waiting(ctx, start)
		if err != nil {
			return err
		}
		err = r.fill.base.try(ctx, "insert what waits", func(ctx context.Context) error {
			return r.fill.To.Insert(ctx, &history.Batch{Deliveries: waiting})
		})
		if err != nil {
			return err
		}
		place := history.Place{Topic: ledger.Deliveries, Partition: r.partition, Next: start, TopicID: id, Sources: r.marks}
		err = r.fill.base.try(ctx, "append the place of deliveries", func(ctx context.Context) error {
			return r.fill.To.AppendPlaces(ctx, []history.Place{place})
		})
		if err != nil {
			return err
		}
		// From here on the place holds up trimming; see whether it came in time.
		now, err := log.Starts(ctx, ledger.Deliveries)
		if err != nil {
			return err
		}
		if now[r.partition] <= start {
			return nil
		}
		if try == settleTries {
			return &DamageError{ledger.Deliveries, r.partition, start, ledger.ErrBelowStart}
		}
		if err := sleep(ctx, settlePause); err != nil {
			return err
		}
	}
}

// facts reads attempts on to an end.
func (r *requests) facts(ctx context.Context, end int64) error {
	to, err := r.fill.copyRange(ctx, at{ledger.Attempts, r.partition}, r.factsTo, end, func(d *history.DeliveryRow) {
		ended := time.UnixMilli(d.ChangedMs)
		r.hours.add(ended, ended.Add(-time.Hour)) // it may have begun in the hour before
		r.fact(d)
	})
	r.factsTo = max(r.factsTo, to)
	return err
}

// again reads all facts for their marks alone: too many rounds were open to be remembered.
func (r *requests) again(ctx context.Context, start int64) error {
	r.marks, r.below, r.later, r.full = make(history.Sources), start, nil, false
	starts, err := r.fill.Log.Starts(ctx, ledger.Attempts)
	if err != nil {
		return err
	}
	return ReadRange(ctx, r.fill.Log, ledger.Attempts, r.partition, starts[r.partition], r.factsTo, func(b ledger.Batch) error {
		for _, record := range b.Records {
			if _, state, err := history.FoldAttempt(record); err == nil && state != nil {
				r.fact(state)
			}
		}
		return nil
	})
}

// waiting reads lanes and makes a row of each delivery that waits for its first
// try and whose request was trimmed. What is void or has ended meanwhile does no
// harm: any fact of a delivery is newer than its request.
func (r *requests) waiting(ctx context.Context, start int64) ([]history.DeliveryRow, error) {
	var rows []history.DeliveryRow
	err := ReadWaiting(ctx, r.fill.Log, r.partition, func(row history.DeliveryRow) {
		r.fact(&row)
		if int64(row.Off) < start {
			rows = append(rows, row)
		}
	})
	slices.SortFunc(rows, func(a, b history.DeliveryRow) int { return cmp.Compare(a.Off, b.Off) })
	return slices.CompactFunc(rows, func(a, b history.DeliveryRow) bool { return a.Off == b.Off }), err
}

// ReadWaiting reads a partition of lanes to the end that it has, and makes the row of
// each delivery that waits in its first round, as its request made it. Where it
// was tried before, its facts are newer than that.
func ReadWaiting(ctx context.Context, log *ledger.Log, partition int32, each func(history.DeliveryRow)) error {
	for {
		starts, err := log.Starts(ctx, ledger.Lanes)
		if err != nil {
			return err
		}
		ends, err := log.Ends(ctx, ledger.Lanes)
		if err != nil {
			return err
		}
		err = ReadRange(ctx, log, ledger.Lanes, partition, starts[partition], ends[partition], func(b ledger.Batch) error {
			for _, record := range b.Records {
				lane, err := ledger.DecodeLane(record.Value)
				if err != nil {
					continue // the dispatcher's to complain about
				}
				if w := lane.GetWaiting(); w != nil && !w.GetReopened() {
					each(waitingRow(partition, w))
				}
			}
			return nil
		})
		if !errors.Is(err, ledger.ErrBelowStart) { // trimmed meanwhile: what lives was carried forward
			return err
		}
	}
}

// waitingRow is the row that the request of a waiting delivery made.
func waitingRow(partition int32, w *facts.Waiting) history.DeliveryRow {
	return history.RequestRow(w.GetSubject(), w.GetContent(), partition, int64(w.GetRound()))
}

// ReadRange hands over the records of a partition from an offset to another.
func ReadRange(ctx context.Context, log *ledger.Log, t ledger.Topic, partition int32, next, end int64, each func(ledger.Batch) error) error {
	if next >= end {
		return nil
	}
	reader, err := log.NewReader(ledger.ReaderOptions{MaxWait: 500 * time.Millisecond, MaxPartitionBytes: 8 << 20})
	if err != nil {
		return err
	}
	defer reader.Close()
	reader.Add(t, partition, next)
	for next < end {
		batches, err := reader.Poll(ctx, lanesRecords)
		for _, b := range batches {
			if last := end - b.Records[0].Offset; int64(len(b.Records)) > last {
				b.Records = b.Records[:last]
			}
			if len(b.Records) == 0 {
				continue
			}
			if err := each(b); err != nil {
				return err
			}
			next = b.Records[len(b.Records)-1].Offset + 1
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func sortJobs(jobs []job) {
	slices.SortStableFunc(jobs, func(a, b job) int { return cmp.Compare(b.end-b.start, a.end-a.start) })
}

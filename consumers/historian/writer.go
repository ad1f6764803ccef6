package historian

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"hookledger/ledger"
	"hookledger/projections/history"
	"hookledger/projections/subscriptions"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// rowOverhead is what a row costs in memory beside its record's bytes.
const rowOverhead = 512

// pollRecords bounds what one poll adds to a batch.
const pollRecords = 5_000

// busy is the number of records in a poll from which on the next follows at once.
const busy = 1_000

// writer is one life of the historian: what it has read and not yet inserted.
type writer struct {
	*Historian
	h      *history.History
	reader *ledger.Reader
	fold   *subscriptions.Fold
	places map[at]*place
	pace   pace
	owed   owed

	batch   history.Batch
	bytes   int
	records int
	// first is when the batch's first record came, oldest its earliest timestamp.
	first  time.Time
	oldest time.Time
	// dead are records for the dead letters.
	dead []deadLetter

	// shown is when the places were last shown to the broker.
	shown time.Time
}

type deadLetter struct {
	record *kgo.Record
	reason error
}

func (w *writer) loop(ctx context.Context) error {
	for {
		if err := w.recompute(ctx); err != nil {
			return err
		}
		n, err := w.poll(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		now := time.Now()
		full := w.batch.Largest() >= w.opts.MaxRows || w.bytes >= w.opts.MaxBytes
		if w.records > 0 && (full || err != nil || !now.Before(w.pace.due(w.first))) {
			if err := w.flush(ctx); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
		if n > 0 && n < busy {
			// Records trickle in: let them gather.
			if err := sleep(ctx, w.rest()); err != nil {
				return err
			}
		}
	}
}

// rest is how long the next poll can wait while records trickle in.
func (w *writer) rest() time.Duration {
	rest := w.opts.Linger / 2
	if w.records > 0 {
		rest = min(rest, time.Until(w.pace.due(w.first)))
	}
	return max(rest, 0)
}

// poll reads and folds, and returns how many records it got. It waits no longer
// than until something else is due. Batches that come with an error are folded.
func (w *writer) poll(ctx context.Context) (int, error) {
	pollCtx := ctx
	if until, ok := w.until(); ok {
		var cancel context.CancelFunc
		// At least a moment, so that what is buffered comes out.
		pollCtx, cancel = context.WithTimeout(ctx, max(time.Until(until), time.Millisecond))
		defer cancel()
	}
	batches, err := w.reader.Poll(pollCtx, pollRecords)
	n := 0
	for _, b := range batches {
		n += len(b.Records)
		if err := w.take(b); err != nil {
			return n, err
		}
	}
	if err != nil && pollCtx.Err() != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		err = nil
	}
	if part, ok := errors.AsType[*ledger.PartitionError](err); ok {
		err = &DamageError{part.Topic, part.Partition, part.Offset, part.Err}
	}
	return n, err
}

// until is when something other than records needs doing.
func (w *writer) until() (time.Time, bool) {
	var until time.Time
	switch {
	case w.records > 0: // hours are recomputed after the batch
		until = w.pace.due(w.first)
	case len(w.owed.hours) > 0:
		until = w.owed.next
	}
	return until, !until.IsZero()
}

// take folds consecutive records of one partition into the batch.
func (w *writer) take(b ledger.Batch) error {
	p := w.places[at{b.Topic, b.Partition}]
	for _, r := range b.Records {
		if err := w.takeRecord(b.Topic, p, r); err != nil {
			return err
		}
		p.next = r.Offset + 1
		if r.Offset < p.rowsFrom { // config, folded for its verdicts only
			continue
		}
		p.moved = true
		if w.records == 0 {
			w.first, w.oldest = time.Now(), r.Timestamp
		}
		if r.Timestamp.Before(w.oldest) {
			w.oldest = r.Timestamp
		}
		w.records++
		w.bytes += len(r.Key) + len(r.Value) + rowOverhead
		for _, h := range r.Headers {
			w.bytes += len(h.Key) + len(h.Value)
		}
	}
	return nil
}

func (w *writer) takeRecord(topic ledger.Topic, p *place, r *kgo.Record) error {
	switch topic {
	case ledger.Config:
		return w.takeConfig(p, r)
	case ledger.Events:
		row := history.FoldEvent(r)
		if row.Status == history.EventInvalid {
			w.m.Undecodable.WithLabelValues(string(topic)).Inc()
		}
		w.batch.Events = append(w.batch.Events, row)
	case ledger.Deliveries:
		row, err := p.sources.FoldRequest(r)
		if err != nil {
			w.bury(topic, r, err)
		} else if row != nil {
			w.batch.Deliveries = append(w.batch.Deliveries, *row)
		}
	case ledger.Attempts:
		row, state, err := history.FoldAttempt(r)
		if err != nil {
			w.bury(topic, r, err)
		}
		w.batch.Attempts = append(w.batch.Attempts, row)
		if row.Kind == int8(facts.FactKind_FACT_KIND_ATTEMPT) {
			w.owed.add(time.UnixMilli(row.StartedMs))
		}
		if state != nil {
			w.batch.Deliveries = append(w.batch.Deliveries, *state)
		}
	case ledger.DeadLetters:
		row, err := history.FoldDeadLetter(r)
		if err != nil { // it is among the dead letters already
			w.m.Undecodable.WithLabelValues(string(topic)).Inc()
		} else if row != nil {
			w.batch.Events = append(w.batch.Events, *row)
		}
	case ledger.EventIDs, ledger.Lanes: // not read
	}
	return nil
}

func (w *writer) takeConfig(p *place, r *kgo.Record) error {
	fact, err := ledger.DecodeConfig(r.Value)
	if err != nil {
		return fmt.Errorf("%s/%d/%d: %w", ledger.Config, r.Partition, r.Offset, err)
	}
	verdict, err := w.fold.Apply(r.Partition, r.Offset, r.Timestamp.UnixMilli(), fact)
	if err != nil {
		return fmt.Errorf("judge a change of configuration for the audit trail: %w", err)
	}
	if r.Offset >= p.rowsFrom {
		w.batch.Changes = append(w.batch.Changes, history.FoldConfig(r, fact, verdict.Kind))
	}
	return nil
}

// bury notes a record for the dead letters; it is copied there with the batch.
func (w *writer) bury(topic ledger.Topic, r *kgo.Record, reason error) {
	w.m.Undecodable.WithLabelValues(string(topic)).Inc()
	if w.opts.Aside {
		return
	}
	w.dead = append(w.dead, deadLetter{r, reason})
}

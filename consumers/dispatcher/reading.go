package dispatcher

import (
	"context"
	"errors"
	"time"

	"hookledger/consumers/dispatcher/partition"
	"hookledger/ledger"
)

var topicOf = [3]ledger.Topic{
	partition.LogDeliveries: ledger.Deliveries,
	partition.LogLanes:      ledger.Lanes,
	partition.LogAttempts:   ledger.Attempts,
}

func logOf(t ledger.Topic) partition.Log {
	switch t {
	case ledger.Lanes:
		return partition.LogLanes
	case ledger.Attempts:
		return partition.LogAttempts
	default:
		return partition.LogDeliveries
	}
}

// reader is the reader that a log is read with.
func (d *Dispatcher) reader(l partition.Log) *ledger.Reader {
	if l == partition.LogAttempts {
		return d.slow
	}
	return d.fast
}

// read hands what a reader fetches to the workers, once it is synced.
func (d *Dispatcher) read(ctx context.Context, r *ledger.Reader) error {
	for {
		batches, err := r.Poll(ctx, 0)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		for _, failed := range partitionErrors(err) {
			d.workers[failed.Partition].box.put(input{kind: inReadFailed, log: logOf(failed.Topic), offset: failed.Offset, err: failed.Err})
		}
		if len(batches) == 0 {
			continue
		}
		if err := d.Log.Synced(ctx); err != nil {
			return err
		}
		for i := range batches {
			b := &batches[i]
			in, err := d.decode(ctx, b)
			if err != nil {
				return err
			}
			w := d.workers[b.Partition]
			w.box.put(in)
			w.box.room(ctx, maxFetched)
		}
	}
}

// partitionErrors are the partitions' errors in what Poll returned.
func partitionErrors(err error) []*ledger.PartitionError {
	var found []*ledger.PartitionError
	var walk func(error)
	walk = func(err error) {
		if p, ok := err.(*ledger.PartitionError); ok { //nolint:errorlint // every one of the joined ones is wanted
			found = append(found, p)
			return
		}
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			for _, e := range joined.Unwrap() {
				walk(e)
			}
		}
	}
	walk(err)
	return found
}

// decode turns a batch into an input. What can't be decoded goes to the dead
// letters and is fed as nil.
func (d *Dispatcher) decode(ctx context.Context, b *ledger.Batch) (input, error) {
	in := input{kind: inRecords, log: logOf(b.Topic), offset: b.Records[0].Offset}
	for _, r := range b.Records {
		var err error
		switch in.log {
		case partition.LogLanes:
			read := partition.LaneRead{Offset: r.Offset}
			if read.Record, err = ledger.DecodeLane(r.Value); err != nil {
				read.Record = nil
			}
			in.lanes = append(in.lanes, read)
		case partition.LogAttempts:
			in.raw = b.Records
		case partition.LogDeliveries:
			// Protobuf copies bytes fields, so the fetch is not pinned.
			read := partition.Command{Offset: r.Offset}
			if read.Record, err = ledger.DecodeCommand(r.Value); err != nil {
				read.Record = nil
			}
			in.cmds = append(in.cmds, read)
		}
		if err == nil {
			continue
		}
		d.Metrics.deadLetters.Inc()
		d.Logger.Error("a record can't be understood; it goes to the dead letters",
			"topic", b.Topic, "partition", b.Partition, "offset", r.Offset, "error", err)
		if err := d.Log.DeadLetter(ctx, r, err); err != nil {
			return in, err
		}
	}
	in.end = b.Records[len(b.Records)-1].Offset + 1
	return in, nil
}

// readFailed answers a reader that can't go on.
func (w *worker) readFailed(ctx context.Context, now partition.Time, in *input) {
	t := &w.readers[in.log]
	if !t.open || t.next != in.offset {
		return // of an earlier position
	}
	if !errors.Is(in.err, ledger.ErrBelowStart) {
		t.open = false
		w.damage(now, &partition.DamageError{Partition: w.p, Log: in.log, What: in.err.Error()})
		return
	}
	t.open = false
	log := in.log
	go func() {
		starts, err := w.d.Log.Starts(ctx, topicOf[log])
		if err != nil {
			time.AfterFunc(time.Second, func() {
				w.box.put(input{kind: inReadFailed, log: log, offset: in.offset, err: in.err})
			})
			return
		}
		w.box.put(input{kind: inLogStart, log: log, offset: starts[w.p]})
	}()
}

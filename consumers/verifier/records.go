package verifier

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"hookledger/consumers/historian"
	"hookledger/ledger"
	"hookledger/projections/history"
)

// readers is how many partitions are read at a time.
const readers = 2

// records compares a table that has one row for each record of a topic.
func (v *Verifier) records(ctx context.Context, t history.Table, topic ledger.Topic) (*Table, error) {
	v.say("reading " + string(topic))
	out := &Table{Name: string(t)}
	ranges := make([]history.Range, v.Log.Partitions(topic))
	want := make(map[history.OffsetBucket]history.Sum)
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for p := range v.Log.Partitions(topic) {
		g.Go(func() error {
			r, sums, err := v.sums(gctx, topic, history.Range{Partition: p, First: v.starts[topic][p], End: v.ends[topic][p]})
			mu.Lock()
			defer mu.Unlock()
			ranges[p] = r
			maps.Copy(want, sums)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	v.say("adding up " + string(t))
	got, err := v.History.Sums(ctx, t, ranges)
	if err != nil {
		return nil, err
	}
	out.Partitions = partitions(ranges, want, got)
	for _, p := range out.Partitions {
		out.Compared += p.Records
	}
	if err := v.buckets(ctx, out, t, topic, ranges, want, got); err != nil {
		return nil, err
	}
	return out, v.beside(ctx, out, t, topic, ranges)
}

// sums reads a partition and adds its rows up. The range that comes back begins
// later if retention took records meanwhile.
func (v *Verifier) sums(ctx context.Context, topic ledger.Topic, r history.Range) (history.Range, map[history.OffsetBucket]history.Sum, error) {
	for {
		sums := make(map[history.OffsetBucket]history.Sum)
		f := v.folder()
		err := historian.ReadRange(ctx, v.Log, topic, r.Partition, r.First, r.End, func(b ledger.Batch) error {
			for _, record := range b.Records {
				_, hash, err := f.row(topic, record)
				if err != nil {
					return err
				}
				at := history.BucketOf(r.Partition, record.Offset)
				s := sums[at]
				s.Rows, s.Offsets, s.Hashes = s.Rows+1, s.Offsets+1, s.Hashes+hash
				sums[at] = s
			}
			v.read.Add(int64(len(b.Records)))
			return nil
		})
		if !errors.Is(err, ledger.ErrBelowStart) || topic == ledger.Config {
			return r, sums, err
		}
		starts, err := v.Log.Starts(ctx, topic)
		if err != nil {
			return r, nil, err
		}
		r.First = min(starts[r.Partition], r.End)
	}
}

func partitions(ranges []history.Range, want, got map[history.OffsetBucket]history.Sum) []Partition {
	out := make([]Partition, len(ranges))
	for i, r := range ranges {
		out[i] = Partition{Partition: r.Partition, First: r.First, End: r.End}
	}
	for b, s := range want {
		out[b.Partition].Records += s.Rows
		out[b.Partition].RecordSum += s.Hashes
	}
	for b, s := range got {
		out[b.Partition].Rows += s.Rows
		out[b.Partition].RowSum += s.Hashes
	}
	return out
}

// buckets goes through the buckets whose sums differ.
func (v *Verifier) buckets(ctx context.Context, out *Table, t history.Table, topic ledger.Topic, ranges []history.Range, want, got map[history.OffsetBucket]history.Sum) error {
	var differ []history.OffsetBucket
	for b, s := range want {
		if got[b] != s {
			differ = append(differ, b)
		}
	}
	slices.SortFunc(differ, func(a, b history.OffsetBucket) int {
		if a.Partition != b.Partition {
			return int(a.Partition - b.Partition)
		}
		return int(a.Number - b.Number)
	})
	if len(differ) > 0 && topic == ledger.Events { // dead letters that came meanwhile
		ends, err := v.later(ctx, ledger.DeadLetters)
		if err != nil {
			return err
		}
		if err := v.letters.read(ctx, v, v.letters.next, ends[ledger.DeadLetters]); err != nil {
			return err
		}
	}
	for _, b := range differ {
		v.say(fmt.Sprintf("looking through a part of %s that differs", t))
		r := ranges[b.Partition]
		r.First, r.End = max(r.First, b.Number*history.BucketSize), min(r.End, (b.Number+1)*history.BucketSize)
		if err := v.bucket(ctx, out, t, topic, r); err != nil {
			return err
		}
	}
	return nil
}

// bucket compares a range offset by offset.
func (v *Verifier) bucket(ctx context.Context, out *Table, t history.Table, topic ledger.Topic, r history.Range) error {
	rows, err := v.History.RowsAt(ctx, t, r)
	if err != nil {
		return err
	}
	has := make(map[int64][]uint64, len(rows))
	for _, row := range rows {
		has[row.Offset] = append(has[row.Offset], row.Hash)
	}
	f := v.folder()
	first := r.First
	if topic == ledger.Config { // verdicts need all that came before
		first = 0
	}
	return historian.ReadRange(ctx, v.Log, topic, r.Partition, first, r.End, func(b ledger.Batch) error {
		for _, record := range b.Records {
			row, hash, err := f.row(topic, record)
			if err != nil {
				return err
			}
			if record.Offset < r.First {
				continue
			}
			there := has[record.Offset]
			d := Difference{Row: fmt.Sprintf("%s/%d/%d", topic, r.Partition, record.Offset)}
			switch {
			case len(there) == 1 && there[0] == hash:
				continue
			case len(there) == 0:
				d.Kind, d.Detail = Missing, about(row)
			case len(there) > 1:
				d.Kind, d.Detail = Doubled, fmt.Sprintf("%d rows; %s", len(there), about(row))
			default:
				d.Kind = Differs
			}
			if len(out.Differences) < v.List && d.Kind != Missing {
				written, err := v.History.RowsWritten(ctx, t, r.Partition, record.Offset)
				if err != nil {
					return err
				}
				d.Detail = difference(d.Detail, history.PlainOf(row), written)
			}
			out.found(v.List, d)
		}
		return nil
	})
}

// beside looks for rows outside of the ranges.
func (v *Verifier) beside(ctx context.Context, out *Table, t history.Table, topic ledger.Topic, ranges []history.Range) error {
	o, err := v.History.Beside(ctx, t, ranges, v.Log.Partitions(topic))
	if err != nil {
		return err
	}
	out.Unchecked = o.Below
	if o.Strange > 0 {
		out.found(v.List, Difference{
			Surplus, fmt.Sprintf("%s, partition %d and above", topic, v.Log.Partitions(topic)),
			fmt.Sprintf("%d rows in partitions that the topic does not have", o.Strange),
		})
		out.Different += o.Strange - 1
	}
	if len(o.Beyond) == 0 {
		return nil
	}
	ends, err := v.Log.Ends(ctx, topic) // after the rows were looked at
	if err != nil {
		return err
	}
	for p, most := range o.Beyond {
		if most < ends[p] {
			continue
		}
		rows, err := v.History.RowsAt(ctx, t, history.Range{Partition: p, First: ends[p], End: most + 1})
		if err != nil {
			return err
		}
		for _, row := range rows {
			out.found(v.List, Difference{Surplus, fmt.Sprintf("%s/%d/%d", topic, p, row.Offset), fmt.Sprintf("the log ends at %d", ends[p])})
		}
	}
	return nil
}

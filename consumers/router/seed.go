package router

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"hookledger/ledger"
	"hookledger/ledger/ids"
)

// load finds where a partition is to be routed from, and reads the ids that
// passed before. It fills in p, which nobody else uses before it returns.
func (in *incarnation) load(ctx context.Context, p *part) error {
	// First the commit, then the ids: all that passed before the commit is in
	// event-ids, and what an earlier owner still passes is read again here.
	next, err := in.start(ctx, p.partition)
	if err != nil {
		return err
	}
	p.next = next
	began := time.Now()
	if err := in.loadRepeats(ctx, p); err != nil {
		if damaged(err) || errors.Is(err, ledger.ErrUndecodable) {
			return &RepairError{p.partition, next, fmt.Errorf("read the ids that passed: %w", err)}
		}
		return fmt.Errorf("read the ids that passed in events/%d: %w", p.partition, err)
	}
	in.opts.Logger.Debug("read the ids that passed", "partition", p.partition, "seconds", time.Since(began).Seconds())
	return nil
}

// start is the offset to route a partition from: the commit.
func (in *incarnation) start(ctx context.Context, partition int32) (int64, error) {
	commits, err := in.log.Committed(ctx, Group, ledger.Events)
	if err != nil {
		return 0, err
	}
	starts, err := in.log.Starts(ctx, ledger.Events)
	if err != nil {
		return 0, err
	}
	ends, err := in.log.Ends(ctx, ledger.Events)
	if err != nil {
		return 0, err
	}
	start, end := starts[partition], ends[partition]
	next, ok := commits[partition]
	switch {
	case !ok && start < end:
		return 0, &RepairError{partition, -1, fmt.Errorf("%w: it holds offsets %d to %d", ErrNoCommit, start, end-1)}
	case !ok:
		// Nothing can have been passed over: there is nothing.
		return end, in.group.Commit(ctx, map[int32]int64{partition: end})
	case next < start:
		return 0, &RepairError{partition, next, fmt.Errorf("%w: it starts at %d", ledger.ErrBelowStart, start)}
	case next > end:
		return 0, &RepairError{partition, next, fmt.Errorf("%w: it ends at %d", ledger.ErrBeyondEnd, end)}
	}
	return next, nil
}

// loadRepeats opens the memory of ids, and brings it to the end of event-ids.
func (in *incarnation) loadRepeats(ctx context.Context, p *part) error {
	topic, err := in.log.TopicID(ctx, ledger.EventIDs)
	if err != nil {
		return err
	}
	starts, err := in.log.Starts(ctx, ledger.EventIDs)
	if err != nil {
		return err
	}
	ends, err := in.log.Ends(ctx, ledger.EventIDs)
	if err != nil {
		return err
	}
	start, end := starts[p.partition], ends[p.partition]
	p.repeats, err = openRepeats(repeatsOptions{
		folder: filepath.Join(in.opts.Folder, strconv.Itoa(int(p.partition))), topic: topic, end: end,
		memory: in.opts.RepeatsMemory / int(in.log.Partitions(ledger.Events)),
		gauge:  in.m.RepeatBytes, logger: in.opts.Logger,
	})
	if err != nil {
		return err
	}
	p.timeMs = p.repeats.hourBefore(p.next) * hourMs
	start = max(start, p.repeats.covered)
	if start == end {
		return p.repeats.expire(hourOf(p.timeMs))
	}
	reader, err := in.log.NewReader(ledger.ReaderOptions{MaxPartitionBytes: 8 << 20})
	if err != nil {
		return err
	}
	defer reader.Close()
	reader.Add(ledger.EventIDs, p.partition, start)
	for reader.Next(ledger.EventIDs, p.partition) < end {
		batches, err := reader.Poll(ctx, 0)
		if err != nil {
			return err
		}
		for _, b := range batches {
			for _, r := range b.Records {
				if err := p.fold(r.Value); err != nil {
					return fmt.Errorf("event-ids/%d/%d: %w", p.partition, r.Offset, err)
				}
			}
		}
	}
	return p.repeats.expire(hourOf(p.timeMs))
}

// fold takes in a record of event-ids.
func (p *part) fold(value []byte) error {
	f, err := ledger.DecodePassedEvents(value)
	if err != nil {
		return err
	}
	hour, at := hourOf(f.GetTimeMs()), int64(0)
	for i, delta := range f.GetOffsets() {
		at += int64(delta)
		// A record's entries are of one hour, so the first of them before the commit
		// tells that this hour had begun there.
		if at < p.next {
			p.timeMs = max(p.timeMs, hour*hourMs)
		}
		if err := p.repeats.insert(hour, ids.ID(f.GetHashes()[i*ids.Size:]), at); err != nil {
			return err
		}
	}
	return nil
}

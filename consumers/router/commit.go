package router

import (
	"context"
	"strconv"
	"sync/atomic"
	"time"

	"hookledger/ledger"
	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// chunk is a routed batch of one partition on its way to the commit.
type chunk struct {
	next   int64 // the offset after it
	events int
	passed []passed // ids to be appended to event-ids before the commit
	// open counts the outputs that are not acknowledged, and the routing itself.
	open atomic.Int64
	done func(ledger.Position, error)

	letters   int
	letterAt  int64
	letterWhy error
}

// passed is an entry for event-ids: a client-given id; without a hash, the mark
// of the first event of an hour.
type passed struct {
	hash   ids.ID
	offset int64
	timeMs int64
}

// mark says where in event-ids the entries of an hour begin.
type mark struct {
	hour int64
	at   int64
}

func (in *incarnation) newChunk() *chunk {
	c := new(chunk)
	c.open.Store(1)
	c.done = func(_ ledger.Position, err error) {
		if err != nil {
			in.fail(err)
			return
		}
		in.release(c)
	}
	return c
}

// release takes one from what keeps a chunk open.
func (in *incarnation) release(c *chunk) {
	if c.open.Add(-1) == 0 {
		select {
		case in.settled <- struct{}{}:
		default:
		}
	}
}

// routed puts a chunk in line for the commit.
func (in *incarnation) routed(p *part, c *chunk) {
	p.mu.Lock()
	c.next = p.next
	p.chunks = append(p.chunks, c)
	p.mu.Unlock()
	in.m.Uncommitted.Set(float64(in.uncommitted.Add(int64(c.events))))
	in.release(c)
}

// commitLoop commits what is settled until life ends.
func (in *incarnation) commitLoop() {
	for {
		select {
		case <-in.life.Done():
			return
		case <-in.settled:
		}
		if err := in.commit(in.life); err != nil {
			in.failed("commit", err)
			return
		}
		select {
		case <-in.life.Done():
			return
		case <-time.After(in.opts.CommitEvery):
		}
	}
}

// settledPart is what of a partition is to be committed.
type settledPart struct {
	part   *part
	chunks []*chunk
}

// commit appends the passed ids of settled chunks to event-ids, waits for the
// sync of everything that they caused, and commits. A commit that fails is tried
// again with the next one: the group may be rebalancing, or have lost this node,
// of which it will tell.
func (in *incarnation) commit(ctx context.Context) error {
	var all []settledPart
	next := make(map[int32]int64)
	for _, p := range in.snapshot() {
		if chunks := p.settledChunks(); len(chunks) > 0 {
			all = append(all, settledPart{p, chunks})
			next[p.partition] = chunks[len(chunks)-1].next
		}
	}
	if len(all) == 0 {
		return nil
	}
	if err := in.appendPassed(ctx, all); err != nil {
		return err
	}
	// A commit must not survive a power cut that its outputs don't.
	if err := in.log.Synced(ctx); err != nil {
		return err
	}
	if err := in.group.Commit(ctx, next); err != nil {
		in.m.CommitFailures.Inc()
		in.opts.Logger.Info("a commit failed, it is tried again", "error", err)
		select {
		case in.settled <- struct{}{}:
		default:
		}
		return nil
	}
	in.m.Commits.Inc()
	for _, s := range all {
		in.m.Committed.WithLabelValues(strconv.Itoa(int(s.part.partition))).Set(float64(next[s.part.partition]))
		in.m.Uncommitted.Set(float64(in.uncommitted.Add(-int64(s.part.forget(s.chunks)))))
	}
	select {
	case in.committed <- struct{}{}:
	default:
	}
	return nil
}

// settledChunks are those at the front whose outputs are all acknowledged.
func (p *part) settledChunks() []*chunk {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for n < len(p.chunks) && p.chunks[n].open.Load() == 0 {
		n++
	}
	return p.chunks[:n:n]
}

// forget removes committed chunks and returns how many events they had.
func (p *part) forget(committed []*chunk) (events int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.chunks) < len(committed) { // dropped meanwhile, and counted off
		return 0
	}
	for _, c := range committed {
		events += c.events
	}
	p.chunks = append([]*chunk(nil), p.chunks[len(committed):]...)
	return events
}

// passedMost bounds the entries of one record of event-ids.
const passedMost = 8192

// appendPassed appends the chunks' passed ids, once.
func (in *incarnation) appendPassed(ctx context.Context, all []settledPart) error {
	for _, s := range all {
		var entries []passed
		for _, c := range s.chunks {
			entries = append(entries, c.passed...)
		}
		if len(entries) == 0 {
			continue
		}
		var records []ledger.Record
		marks := make(map[int]int64) // hours, by the record that begins them
		for len(entries) > 0 {
			hour := hourOf(entries[0].timeMs)
			n := 1
			for n < len(entries) && n < passedMost && hourOf(entries[n].timeMs) == hour {
				n++
			}
			if entries[0].hash.IsZero() {
				marks[len(records)] = hour
			}
			records = append(records, ledger.PassedEventsRecord(s.part.partition, passedEvents(entries[:n])))
			entries = entries[n:]
		}
		at, err := in.log.Append(ctx, records...)
		if err != nil {
			return err
		}
		s.part.mu.Lock()
		for i, hour := range marks {
			if hour > s.part.began.hour {
				s.part.began = mark{hour, at[i].Offset}
			}
		}
		s.part.mu.Unlock()
		for _, c := range s.chunks {
			c.passed = nil
		}
	}
	return nil
}

// passedEvents encodes entries of one hour.
func passedEvents(entries []passed) *facts.PassedEvents {
	f := &facts.PassedEvents{
		Hashes: make([]byte, 0, len(entries)*ids.Size), Offsets: make([]uint64, 0, len(entries)),
		TimeMs: entries[len(entries)-1].timeMs,
	}
	before := int64(0)
	for _, e := range entries {
		f.Hashes = append(f.Hashes, e.hash[:]...)
		f.Offsets = append(f.Offsets, uint64(e.offset-before))
		before = e.offset
	}
	return f
}

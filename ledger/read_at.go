package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Bounds of the records kept for ReadAt. A fetch brings neighbours along, and
// what is asked for next is often one of them.
const (
	readAtRecords    = 4096
	readAtBytes      = 32 << 20
	readAtFetchBytes = 256 << 10
)

// recordCache holds single records by place. Bodies of deliveries that waited
// come back through it, so it is bounded by bytes, not only by count.
type recordCache struct {
	log    *Log
	client *kgo.Client

	mu      sync.Mutex
	records *lru.Cache[Position, *kgo.Record]
	bytes   int
}

func newRecordCache(l *Log) (*recordCache, error) {
	// A client of its own, so that a fetch never waits behind an append.
	client, err := l.newClient("places", kgo.ConsumeResetOffset(kgo.NoResetOffset()))
	if err != nil {
		return nil, err
	}
	c := &recordCache{log: l, client: client}
	c.records, err = lru.NewWithEvict(readAtRecords, func(_ Position, r *kgo.Record) { c.bytes -= recordSize(r) })
	if err != nil {
		client.Close()
		return nil, fmt.Errorf("make the cache of records: %w", err)
	}
	return c, nil
}

func (c *recordCache) close() { c.client.Close() }

func recordSize(r *kgo.Record) int {
	n := len(r.Key) + len(r.Value) + 256
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}

func (c *recordCache) get(p Position) (*kgo.Record, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.records.Get(p)
}

func (c *recordCache) put(p Position, r *kgo.Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.records.Contains(p) {
		return
	}
	c.bytes += recordSize(r)
	c.records.Add(p, r)
	for c.bytes > readAtBytes {
		c.records.RemoveOldest()
	}
}

// ReadAt reads one record by its place. ErrBelowStart when it has been
// trimmed, ErrBeyondEnd when it is not there yet. The record is shared: it must
// not be changed.
func (l *Log) ReadAt(ctx context.Context, t Topic, partition int32, offset int64) (*kgo.Record, error) {
	at := Position{t, partition, offset}
	if r, ok := l.at.get(at); ok {
		return r, nil
	}
	records, err := l.at.fetch(ctx, at)
	if err != nil {
		return nil, &PartitionError{Topic: t, Partition: partition, Offset: offset, Err: err}
	}
	var found *kgo.Record
	kept := 0
	for _, r := range records {
		// A whole batch comes back, however large it is: keep so many of it.
		if kept += recordSize(r); found != nil && kept > readAtFetchBytes {
			break
		}
		r = detach(r)
		l.at.put(Position{t, partition, r.Offset}, r)
		if r.Offset == offset {
			found = r
		}
	}
	if found == nil {
		return nil, &PartitionError{Topic: t, Partition: partition, Offset: offset, Err: ErrGap}
	}
	return found, nil
}

// detach copies a record out of its fetch: a kept slice would pin all of it.
func detach(r *kgo.Record) *kgo.Record {
	kept := *r
	kept.Key = append([]byte(nil), r.Key...)
	kept.Value = append([]byte(nil), r.Value...)
	kept.Headers = make([]kgo.RecordHeader, len(r.Headers))
	for i, h := range r.Headers {
		kept.Headers[i] = kgo.RecordHeader{Key: h.Key, Value: append([]byte(nil), h.Value...)}
	}
	kept.Context = nil
	return &kept
}

// fetch asks the leader for the records from a place on. Fetch requests are
// made by hand (protocol version 12, the last that names topics by name):
// kgo's consumers read streams, not places.
func (c *recordCache) fetch(ctx context.Context, at Position) ([]*kgo.Record, error) {
	name := c.log.Name(at.Topic)
	for try := 1; ; try++ {
		records, err := c.fetchOnce(ctx, name, at)
		if err == nil {
			return records, nil
		}
		if !kerr.IsRetriable(err) || try == fetchTries {
			return nil, err
		}
		c.client.ForceMetadataRefresh()
		select { // leaders move; metadata takes a moment to tell
		case <-time.After(time.Duration(try) * fetchPause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Tries of one fetch, and the pause after the first, which grows with each.
const (
	fetchTries = 6
	fetchPause = 100 * time.Millisecond
)

func (c *recordCache) fetchOnce(ctx context.Context, name string, at Position) ([]*kgo.Record, error) {
	leader, err := c.leader(ctx, name, at.Partition)
	if err != nil {
		return nil, err
	}
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID = -1
	req.MaxWaitMillis = 0
	req.MaxBytes = readAtFetchBytes
	req.SessionEpoch = -1
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic = name
	part := kmsg.NewFetchRequestTopicPartition()
	part.Partition = at.Partition
	part.FetchOffset = at.Offset
	part.CurrentLeaderEpoch = -1
	part.PartitionMaxBytes = readAtFetchBytes
	topic.Partitions = append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	got, err := c.client.Broker(int(leader)).RetriableRequest(ctx, &pinnedFetch{req})
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	resp, ok := got.(*kmsg.FetchResponse)
	if !ok || len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return nil, errors.Join(errors.New("fetch: the broker's answer names other partitions"), kerr.ErrorForCode(resp.ErrorCode))
	}
	raw := &resp.Topics[0].Partitions[0]
	if err := kerr.ErrorForCode(raw.ErrorCode); err != nil {
		if errors.Is(err, kerr.OffsetOutOfRange) {
			if at.Offset < raw.LogStartOffset {
				return nil, fmt.Errorf("%w: it starts at %d", ErrBelowStart, raw.LogStartOffset)
			}
			return nil, c.outOfRange(ctx, at)
		}
		return nil, err
	}
	parsed, _ := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
		KeepControlRecords: true, Offset: at.Offset, Topic: name, Partition: at.Partition,
	}, raw, kgo.DefaultDecompressor(), nil)
	if parsed.Err != nil {
		return nil, parsed.Err
	}
	if len(parsed.Records) == 0 {
		return nil, c.outOfRange(ctx, at)
	}
	return parsed.Records, nil
}

// outOfRange says on which side of the log a place lies.
func (c *recordCache) outOfRange(ctx context.Context, at Position) error {
	starts, err := c.log.Starts(ctx, at.Topic)
	if err != nil {
		return err
	}
	if at.Offset < starts[at.Partition] {
		return fmt.Errorf("%w: it starts at %d", ErrBelowStart, starts[at.Partition])
	}
	return ErrBeyondEnd
}

func (c *recordCache) leader(ctx context.Context, name string, partition int32) (int32, error) {
	if leader, _, err := c.client.PartitionLeader(name, partition); err == nil && leader >= 0 {
		return leader, nil
	}
	found, err := c.log.admin.ListTopics(ctx, name)
	if err != nil {
		return 0, fmt.Errorf("ask for the leader of %s/%d: %w", name, partition, err)
	}
	p, ok := found[name].Partitions[partition]
	if !ok {
		return 0, fmt.Errorf("ask for the leader of %s/%d: %w", name, partition, kerr.UnknownTopicOrPartition)
	}
	if p.Leader < 0 {
		return 0, kerr.LeaderNotAvailable
	}
	return p.Leader, nil
}

// pinnedFetch is a fetch request of version 12 at most.
type pinnedFetch struct{ *kmsg.FetchRequest }

// MaxVersion is the last version that names topics by name (KIP-516 came with 13).
func (p *pinnedFetch) MaxVersion() int16 { return 12 }

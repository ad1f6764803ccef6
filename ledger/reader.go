package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Errors of reading that are no passing trouble.
var (
	// ErrGap: offsets are missing in the middle of a partition. Nothing of ours
	// makes gaps, so it is damage.
	ErrGap = errors.New("gap in the log")
	// ErrBelowStart: the position to read from lies below the log's start.
	ErrBelowStart = errors.New("position lies below the start of the log")
	// ErrBeyondEnd: the position to read from lies beyond the log's end: the log was shortened.
	ErrBeyondEnd = errors.New("position lies beyond the end of the log")
)

// PartitionError is an error of reading one partition.
type PartitionError struct {
	Topic     Topic
	Partition int32
	// Offset that was to be read next.
	Offset int64
	Err    error
}

// Error names the partition and the offset.
func (e *PartitionError) Error() string {
	return fmt.Sprintf("read %s/%d at offset %d: %v", e.Topic, e.Partition, e.Offset, e.Err)
}

// Unwrap is the reason.
func (e *PartitionError) Unwrap() error { return e.Err }

// ReaderOptions bound what a reader fetches.
type ReaderOptions struct {
	// MinBytes and MaxWait: the broker answers once it has MinBytes, or after
	// MaxWait. Readers that need not hurry save wake-ups by both. Defaults 1 and
	// 250 ms: a partition that is added while a fetch of others waits at the
	// broker is fetched after it, so MaxWait delays every Add and Seek.
	MinBytes int32
	MaxWait  time.Duration
	// MaxBytes of one fetch (default 8 MiB), MaxPartitionBytes of one partition in it (default 1 MiB).
	MaxBytes, MaxPartitionBytes int32
}

// Batch is consecutive records of one partition. The records' bytes share
// memory with the whole fetch: copy what is kept.
type Batch struct {
	Topic     Topic
	Partition int32
	Records   []*kgo.Record
}

// Reader reads partitions from given offsets, in order and without gaps. It
// belongs to no group. Add and Remove may be called while Poll waits.
type Reader struct {
	log    *Log
	client *kgo.Client

	mu   sync.Mutex
	next map[Topic]map[int32]int64
}

// NewReader makes a reader of nothing; Add gives it partitions. Close ends it.
func (l *Log) NewReader(o ReaderOptions) (*Reader, error) {
	if o.MinBytes == 0 {
		o.MinBytes = 1
	}
	if o.MaxWait == 0 {
		o.MaxWait = 250 * time.Millisecond
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 8 << 20
	}
	if o.MaxPartitionBytes == 0 {
		o.MaxPartitionBytes = 1 << 20
	}
	client, err := l.newClient("reader",
		kgo.FetchMinBytes(o.MinBytes), kgo.FetchMaxWait(o.MaxWait),
		kgo.FetchMaxBytes(o.MaxBytes), kgo.FetchMaxPartitionBytes(o.MaxPartitionBytes),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		// One fetch under way and one buffered, so that what is read ahead is bounded.
		kgo.MaxConcurrentFetches(1),
		kgo.KeepControlRecords(),
	)
	if err != nil {
		return nil, err
	}
	return &Reader{log: l, client: client, next: make(map[Topic]map[int32]int64)}, nil
}

// Add reads a partition from an offset on; the offset must be within the log,
// or at its end.
func (r *Reader) Add(t Topic, partition int32, offset int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next[t] == nil {
		r.next[t] = make(map[int32]int64)
	}
	r.next[t][partition] = offset
	r.client.AddConsumePartitions(map[string]map[int32]kgo.Offset{
		r.log.Name(t): {partition: kgo.NewOffset().At(offset)},
	})
}

// Remove stops reading a partition; nothing of it comes out of a later Poll.
func (r *Reader) Remove(t Topic, partition int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.next[t], partition)
	r.client.RemoveConsumePartitions(map[string][]int32{r.log.Name(t): {partition}})
}

// Seek is Remove and Add.
func (r *Reader) Seek(t Topic, partition int32, offset int64) {
	r.Remove(t, partition)
	r.Add(t, partition, offset)
}

// Pause stops fetching partitions of a topic; what is buffered is dropped and read again at Resume.
func (r *Reader) Pause(t Topic, partitions ...int32) {
	r.client.PauseFetchPartitions(map[string][]int32{r.log.Name(t): partitions})
}

// Resume ends a Pause.
func (r *Reader) Resume(t Topic, partitions ...int32) {
	r.client.ResumeFetchPartitions(map[string][]int32{r.log.Name(t): partitions})
}

// Next is the offset that is read next in a partition.
func (r *Reader) Next(t Topic, partition int32) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.next[t][partition]
}

// Poll waits for records, at most maxRecords of them (0 is as fetched).
// Batches that are whole come back together with the error of another
// partition; a *PartitionError is final for its partition, which is read no
// further until it is added again; other trouble of the broker is retried
// inside and not reported. When ctx ends, its error.
//
// A control record (the end of a transaction; nothing of ours makes one, but a
// platform's producer may) takes an offset like any other, so it comes out as a
// record that can't be decoded, with Attrs.IsControl, rather than as a gap.
func (r *Reader) Poll(ctx context.Context, maxRecords int) ([]Batch, error) {
	fetches := r.client.PollRecords(ctx, maxRecords)
	if fetches.IsClientClosed() {
		return nil, kgo.ErrClientClosed
	}
	if err := ctx.Err(); err != nil && fetches.NumRecords() == 0 {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var batches []Batch
	var errs []error
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		topic := r.log.TopicOf(p.Topic)
		next, ok := r.next[topic][p.Partition]
		if !ok { // removed meanwhile
			return
		}
		fail := func(err error) {
			errs = append(errs, &PartitionError{Topic: topic, Partition: p.Partition, Offset: next, Err: err})
			delete(r.next[topic], p.Partition)
			r.client.RemoveConsumePartitions(map[string][]int32{p.Topic: {p.Partition}})
		}
		records := p.Records
		for len(records) > 0 && records[0].Offset < next { // before a seek
			records = records[1:]
		}
		for i, rec := range records {
			if rec.Offset == next {
				next++
				continue
			}
			records = records[:i]
			defer fail(fmt.Errorf("%w: offset %d follows %d", ErrGap, rec.Offset, next-1))
			break
		}
		if len(records) > 0 {
			r.next[topic][p.Partition] = next
			batches = append(batches, Batch{topic, p.Partition, records})
		}
		if p.Err != nil {
			if err := r.judge(ctx, topic, p.Partition, next, p.Err); err != nil {
				fail(err)
			}
		}
	})
	return batches, errors.Join(errs...)
}

// judge tells final errors from passing ones.
func (r *Reader) judge(ctx context.Context, t Topic, partition int32, next int64, err error) error {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), kerr.IsRetriable(err):
		return nil
	case errors.Is(err, kerr.OffsetOutOfRange):
		starts, startErr := r.log.Starts(ctx, t)
		if startErr != nil {
			return errors.Join(err, startErr)
		}
		if next < starts[partition] {
			return fmt.Errorf("%w: it starts at %d", ErrBelowStart, starts[partition])
		}
		return fmt.Errorf("%w: it starts at %d", ErrBeyondEnd, starts[partition])
	default:
		return err
	}
}

// Close ends the reader; a Poll under way returns.
func (r *Reader) Close() { r.client.Close() }

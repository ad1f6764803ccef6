package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Record is what is appended. Partition is always chosen by the caller.
type Record struct {
	Topic     Topic
	Partition int32
	Key       []byte
	Value     []byte
	Headers   []kgo.RecordHeader
	// Time is the record's timestamp, where the broker keeps the producer's; zero
	// is now.
	Time time.Time
}

// Position is a record's place in the log.
type Position struct {
	Topic     Topic
	Partition int32
	Offset    int64
}

// String is topic/partition/offset.
func (p Position) String() string { return fmt.Sprintf("%s/%d/%d", p.Topic, p.Partition, p.Offset) }

func (l *Log) kafka(r Record) *kgo.Record {
	return &kgo.Record{Topic: l.Name(r.Topic), Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: r.Headers, Timestamp: r.Time}
}

// Append appends records and waits until every one is acknowledged by all
// in-sync replicas. On an error some of them may be in the log nevertheless:
// the caller can't know, and must say so.
func (l *Log) Append(ctx context.Context, records ...Record) ([]Position, error) {
	raw := make([]*kgo.Record, len(records))
	acks := make(chan error, len(records))
	for i, r := range records {
		raw[i] = l.kafka(r)
		l.client.Produce(ctx, raw[i], func(_ *kgo.Record, err error) { acks <- err })
	}
	// What is on its way can't be called back, so a broker that is away would
	// hold the caller beyond its time: it is told that nothing is known.
	var failed error
	for range records {
		select {
		case err := <-acks:
			if failed == nil {
				failed = err
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("append to %s: not acknowledged in time: %w", records[0].Topic, ctx.Err())
		}
	}
	if failed != nil {
		return nil, fmt.Errorf("append to %s: %w", records[0].Topic, failed)
	}
	at := make([]Position, len(raw))
	for i, r := range raw {
		at[i] = Position{records[i].Topic, r.Partition, r.Offset}
	}
	return at, nil
}

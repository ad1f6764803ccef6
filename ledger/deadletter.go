package ledger

import (
	"context"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Headers that a dead letter has beside those of the record, which follow it unchanged.
const (
	DeadLetterTopic     = "hookledger-topic"
	DeadLetterPartition = "hookledger-partition"
	DeadLetterOffset    = "hookledger-offset"
	DeadLetterTime      = "hookledger-time-ms"
	DeadLetterReason    = "hookledger-reason"
)

// deadLetterRoom is what a dead letter may be larger than the record in it.
const deadLetterRoom = 64 << 10

// DeadLetter copies a record that can't be understood to dead-letters, key,
// value and headers as they are, with where it came from and why. It returns
// when that is acknowledged.
func (l *Log) DeadLetter(ctx context.Context, r *kgo.Record, reason error) error {
	t := l.TopicOf(r.Topic)
	headers := []kgo.RecordHeader{
		{Key: DeadLetterTopic, Value: []byte(t)},
		{Key: DeadLetterPartition, Value: []byte(strconv.Itoa(int(r.Partition)))},
		{Key: DeadLetterOffset, Value: []byte(strconv.FormatInt(r.Offset, 10))},
		{Key: DeadLetterTime, Value: []byte(strconv.FormatInt(r.Timestamp.UnixMilli(), 10))},
		{Key: DeadLetterReason, Value: []byte(reason.Error())},
	}
	_, err := l.Append(ctx, Record{
		Topic: DeadLetters, Partition: r.Partition % l.Partitions(DeadLetters),
		Key: r.Key, Value: r.Value, Headers: append(headers, r.Headers...),
	})
	if err != nil {
		return fmt.Errorf("copy %s/%d/%d to the dead letters: %w", t, r.Partition, r.Offset, err)
	}
	return nil
}

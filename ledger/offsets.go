package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// What ListOffsets takes in place of a time.
const (
	atEnd   int64 = -1
	atStart int64 = -2
)

// Starts asks the leaders for the first offset of every partition of a topic.
func (l *Log) Starts(ctx context.Context, t Topic) (map[int32]int64, error) {
	return l.listOffsets(ctx, t, atStart)
}

// Ends asks the leaders for the offset after the last record of every partition of a topic.
func (l *Log) Ends(ctx context.Context, t Topic) (map[int32]int64, error) {
	return l.listOffsets(ctx, t, atEnd)
}

// listOffsets is one round to the leaders. Every barrier is one such question,
// so it is asked directly: kadm asks for the partitions first, which are known.
func (l *Log) listOffsets(ctx context.Context, t Topic, at int64) (map[int32]int64, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	topic := kmsg.NewListOffsetsRequestTopic()
	topic.Topic = l.Name(t)
	for p := range l.Partitions(t) {
		one := kmsg.NewListOffsetsRequestTopicPartition()
		one.Partition, one.Timestamp = p, at
		topic.Partitions = append(topic.Partitions, one)
	}
	req.Topics = append(req.Topics, topic)
	found := make(map[int32]int64, len(topic.Partitions))
	var failed []error
	for _, shard := range l.client.RequestSharded(ctx, req) {
		failed = append(failed, shard.Err)
		if resp, ok := shard.Resp.(*kmsg.ListOffsetsResponse); ok && shard.Err == nil {
			failed = append(failed, listed(resp, found))
		}
	}
	err := errors.Join(failed...)
	if err == nil && len(found) != len(topic.Partitions) {
		err = fmt.Errorf("the brokers answered for %d of %d partitions", len(found), len(topic.Partitions))
	}
	if err != nil {
		return nil, fmt.Errorf("ask the leaders of %q for offsets: %w", topic.Topic, err)
	}
	return found, nil
}

func listed(resp *kmsg.ListOffsetsResponse, into map[int32]int64) error {
	var failed []error
	for _, topic := range resp.Topics {
		for _, p := range topic.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				failed = append(failed, fmt.Errorf("partition %d: %w", p.Partition, err))
				continue
			}
			into[p.Partition] = p.Offset
		}
	}
	return errors.Join(failed...)
}

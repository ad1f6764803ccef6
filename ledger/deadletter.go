package ledger

import (
	"context"
	"fmt"
	"strconv"
	"strings"

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

// maxReason bounds the reason: what is quoted in it may be large.
const maxReason = 4 << 10

// DeadLetterRecord is the dead letter of a record that can't be understood: key,
// value and headers as they are, after headers that say where it came from and
// why. A record that came out of a compressed batch larger than any record may
// be is the one exception: of it only the place and the reason are kept.
func (l *Log) DeadLetterRecord(r *kgo.Record, reason error) Record {
	t := l.TopicOf(r.Topic)
	why := reason.Error()
	letter := Record{Topic: DeadLetters, Partition: r.Partition % l.Partitions(DeadLetters), Key: r.Key, Value: r.Value}
	own := wireSize(letter)
	for _, h := range r.Headers {
		own += 10 + len(h.Key) + len(h.Value)
	}
	cut := own+2*maxReason > l.settings.MaxMessageBytes+deadLetterRoom
	if cut {
		letter.Key, letter.Value = nil, nil
		why = fmt.Sprintf("(left out here, %d bytes: read it in its own topic) ", own) + why
	}
	letter.Headers = []kgo.RecordHeader{
		{Key: DeadLetterTopic, Value: []byte(t)},
		{Key: DeadLetterPartition, Value: []byte(strconv.Itoa(int(r.Partition)))},
		{Key: DeadLetterOffset, Value: []byte(strconv.FormatInt(r.Offset, 10))},
		{Key: DeadLetterTime, Value: []byte(strconv.FormatInt(r.Timestamp.UnixMilli(), 10))},
		{Key: DeadLetterReason, Value: []byte(strings.ToValidUTF8(why[:min(len(why), maxReason)], "?"))},
	}
	if !cut {
		letter.Headers = append(letter.Headers, r.Headers...)
	}
	return letter
}

// DeadLetter appends the dead letter of a record, and returns when that is acknowledged.
func (l *Log) DeadLetter(ctx context.Context, r *kgo.Record, reason error) error {
	if _, err := l.Append(ctx, l.DeadLetterRecord(r, reason)); err != nil {
		return fmt.Errorf("copy %s/%d/%d to the dead letters: %w", l.TopicOf(r.Topic), r.Partition, r.Offset, err)
	}
	return nil
}

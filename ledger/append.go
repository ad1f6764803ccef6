package ledger

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Record is what is appended. Partition is always chosen by the caller.
type Record struct {
	Topic     Topic
	Partition int32
	Key       []byte
	Value     []byte
	Headers   []kgo.RecordHeader
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
	return &kgo.Record{Topic: l.Name(r.Topic), Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: r.Headers}
}

// Append appends records and waits until every one is acknowledged by all
// in-sync replicas. On an error some of them may be in the log nevertheless:
// the caller can't know, and must say so.
func (l *Log) Append(ctx context.Context, records ...Record) ([]Position, error) {
	raw := make([]*kgo.Record, len(records))
	for i, r := range records {
		raw[i] = l.kafka(r)
	}
	if err := l.client.ProduceSync(ctx, raw...).FirstErr(); err != nil {
		return nil, fmt.Errorf("append to %s: %w", records[0].Topic, err)
	}
	at := make([]Position, len(raw))
	for i, r := range raw {
		at[i] = Position{records[i].Topic, r.Partition, r.Offset}
	}
	return at, nil
}

// Producer appends records of one incarnation of one component, in order for
// each partition. The first error ends it: every later append fails with the
// same, so that nothing can follow a record that may be missing.
type Producer struct {
	log    *Log
	client *kgo.Client
	failed chan error
}

// NewProducer makes a producer with an identity of its own.
func (l *Log) NewProducer() (*Producer, error) {
	client, err := l.newClient(producerOptions(l.settings.MaxMessageBytes)...)
	if err != nil {
		return nil, err
	}
	return &Producer{log: l, client: client, failed: make(chan error, 1)}, nil
}

// Append appends a record and calls done, from another goroutine, with its
// place once all in-sync replicas have it. It blocks while the client's buffer
// is full, until ctx ends; ctx does not cut short what is buffered.
func (p *Producer) Append(ctx context.Context, r Record, done func(Position, error)) {
	select {
	case err := <-p.failed:
		p.failed <- err
		done(Position{}, err)
		return
	default:
	}
	p.client.Produce(ctx, p.log.kafka(r), func(got *kgo.Record, err error) {
		if err != nil {
			err = fmt.Errorf("append to %s/%d: %w", r.Topic, r.Partition, err)
			select {
			case p.failed <- err:
			default:
			}
			done(Position{}, err)
			return
		}
		done(Position{r.Topic, got.Partition, got.Offset}, nil)
	})
}

// Flush waits until everything appended has been acknowledged or has failed.
func (p *Producer) Flush(ctx context.Context) error {
	if err := p.client.Flush(ctx); err != nil {
		return fmt.Errorf("flush appends: %w", err)
	}
	select {
	case err := <-p.failed:
		p.failed <- err
		return err
	default:
		return nil
	}
}

// Close drops what is not yet acknowledged; whether it is in the log is unknown.
func (p *Producer) Close() { p.client.Close() }

package main

import (
	"context"
	"fmt"
	"testing"
	"time"

	"hookledger/consumers/sender/receivertest"
	"hookledger/deploy/embedded/broker"
	"hookledger/deploy/embedded/datadir"
	"hookledger/ledger"
	"hookledger/ledger/ids"
)

// A record that nobody can understand goes to the dead letters as it is, with
// where it came from and why, whatever topic it lies in; and what comes behind it
// in the same partition is delivered and recorded.
func TestGarbageInTheLog(t *testing.T) {
	s := common.get(t)
	log := logOf(t, s)
	c := s.account(t)
	r := receiver(t, func(*receivertest.Request) receivertest.Answer { return receivertest.Answer{} })
	h := c.webhook(r.URL())
	id, err := ids.Parse(ids.Webhook, h.id)
	if err != nil {
		t.Fatal(err)
	}

	// One of each kind: no fact at all, a fact of a newer format, a fact that is cut short.
	garbage := map[ledger.Topic][]byte{
		ledger.Deliveries: []byte("no fact"), ledger.Attempts: {'H', 'L', 2, 'a'}, ledger.Lanes: {'H', 'L', 1, 'l', 0xff}, ledger.Events: []byte("[]"),
	}
	at := make(map[string]string)
	for topic, value := range garbage {
		where, err := log.Append(t.Context(), ledger.Record{Topic: topic, Partition: log.WebhookPartition(id[:]), Key: id[:], Value: value})
		if err != nil {
			t.Fatal(err)
		}
		at[fmt.Sprintf("%s/%d/%d", topic, where[0].Partition, where[0].Offset)] = string(value)
	}

	c.delivery(c.publish(), "delivered") // by the history, so router, dispatcher and historian all went on
	received(t, r, 1)
	eventually(t, "all garbage to be among the dead letters", func() error {
		letters, err := deadLetters(t.Context(), log)
		if err != nil {
			return err
		}
		for place, value := range at {
			if got, ok := letters[place]; !ok || got != value {
				return fmt.Errorf("the dead letter of %s is %q (%v), want %q", place, got, ok, value)
			}
		}
		return nil
	})
}

// logOf is a client of a server's log.
func logOf(t *testing.T, s *server) *ledger.Log {
	t.Helper()
	served, err := datadir.ReadServing(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	log, err := ledger.Open(t.Context(), ledger.Options{
		Client: broker.ClientOpts(served.Broker), Settings: ledger.EmbeddedSettings("hl."),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(log.Close)
	return log
}

// deadLetters are the values of all dead letters, by where they came from.
func deadLetters(ctx context.Context, log *ledger.Log) (map[string]string, error) {
	starts, err := log.Starts(ctx, ledger.DeadLetters)
	if err != nil {
		return nil, err
	}
	ends, err := log.Ends(ctx, ledger.DeadLetters)
	if err != nil {
		return nil, err
	}
	reader, err := log.NewReader(ledger.ReaderOptions{MaxWait: 20 * time.Millisecond})
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	left := int64(0)
	for p, end := range ends {
		reader.Add(ledger.DeadLetters, p, starts[p])
		left += end - starts[p]
	}
	found := make(map[string]string)
	for left > 0 {
		batches, err := reader.Poll(ctx, 0)
		if err != nil {
			return nil, err
		}
		for _, b := range batches {
			for _, rec := range b.Records {
				left--
				head := make(map[string]string)
				for _, h := range rec.Headers {
					head[h.Key] = string(h.Value)
				}
				if head[ledger.DeadLetterReason] == "" {
					return nil, fmt.Errorf("dead letter %d/%d has no reason", b.Partition, rec.Offset)
				}
				place := head[ledger.DeadLetterTopic] + "/" + head[ledger.DeadLetterPartition] + "/" + head[ledger.DeadLetterOffset]
				found[place] = string(rec.Value)
			}
		}
	}
	return found, nil
}

package ledger_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"hookledger/ledger"
)

func producer(t testing.TB, l *ledger.Log) *ledger.Producer {
	t.Helper()
	p, err := l.NewProducer()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func TestAppendReturnsPlaces(t *testing.T) {
	t.Parallel()
	l := ready(t)
	at, err := l.Append(t.Context(),
		ledger.Record{Topic: ledger.Events, Partition: 1, Key: []byte("k"), Value: []byte("a")},
		ledger.Record{Topic: ledger.Lanes, Partition: 2, Value: []byte("b")},
		ledger.Record{Topic: ledger.Events, Partition: 1, Value: []byte("c")})
	if err != nil {
		t.Fatal(err)
	}
	want := []ledger.Position{{Topic: ledger.Events, Partition: 1, Offset: 0}, {Topic: ledger.Lanes, Partition: 2, Offset: 0}, {Topic: ledger.Events, Partition: 1, Offset: 1}}
	for i := range want {
		if at[i] != want[i] {
			t.Errorf("record %d is at %v, want %v", i, at[i], want[i])
		}
	}
	if got := all(t, l, ledger.Events, 1); string(got[0].Key) != "k" || string(got[0].Value) != "a" || string(got[1].Value) != "c" {
		t.Errorf("events/1 holds %q, %q", got[0].Value, got[1].Value)
	}
	if err := l.Synced(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestProducerKeepsTheOrderOfEachPartition(t *testing.T) {
	t.Parallel()
	l := ready(t)
	p := producer(t, l)
	const n = 3000
	var mu sync.Mutex
	seen := map[int32][]int64{}
	for i := range n {
		p.Append(t.Context(), ledger.Record{Topic: ledger.Deliveries, Partition: int32(i % 3), Value: []byte(strconv.Itoa(i))}, func(at ledger.Position, err error) {
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			seen[at.Partition] = append(seen[at.Partition], at.Offset)
		})
	}
	if err := p.Flush(soon(t)); err != nil {
		t.Fatal(err)
	}
	for partition := range int32(3) {
		for i, at := range seen[partition] {
			if at != int64(i) {
				t.Fatalf("partition %d: call %d told of offset %d", partition, i, at)
			}
		}
		for i, r := range all(t, l, ledger.Deliveries, partition) {
			if want := strconv.Itoa(3*i + int(partition)); string(r.Value) != want {
				t.Fatalf("partition %d: offset %d holds %s, want %s", partition, i, r.Value, want)
			}
		}
	}
}

// A record that the broker refuses, in the midst of others that are appended as
// fast as they go: what is in the log is what stood before it, and no more.
func TestNothingFollowsAFailedAppend(t *testing.T) {
	t.Parallel()
	for range 3 {
		c, o, stop := fake(t)
		l := open(t, o)
		ensure(t, l)
		p := producer(t, l)
		var refuse atomic.Bool
		c.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
			c.KeepControl()
			if !refuse.CompareAndSwap(true, false) { // once; later ones are welcome
				return nil, nil, false
			}
			req := kreq.(*kmsg.ProduceRequest)
			resp := req.ResponseKind().(*kmsg.ProduceResponse)
			for _, t := range req.Topics {
				rt := kmsg.ProduceResponseTopic{Topic: t.Topic, TopicID: t.TopicID}
				for _, p := range t.Partitions {
					rp := kmsg.NewProduceResponseTopicPartition()
					rp.Partition, rp.ErrorCode = p.Partition, kerr.TopicAuthorizationFailed.Code
					rt.Partitions = append(rt.Partitions, rp)
				}
				resp.Topics = append(resp.Topics, rt)
			}
			return resp, nil, true
		})
		var acked, failed atomic.Int64
		for i := range 10_000 {
			if i == 2500 {
				refuse.Store(true)
			}
			p.Append(t.Context(), ledger.Record{Topic: ledger.Deliveries, Value: []byte(strconv.Itoa(i))}, func(_ ledger.Position, err error) {
				switch {
				case err == nil && failed.Load() > 0:
					t.Error("a success after a failure")
				case err == nil:
					acked.Add(1)
				case !errors.Is(err, kerr.TopicAuthorizationFailed):
					t.Errorf("error %v", err)
				default:
					failed.Add(1)
				}
			})
		}
		if err := p.Flush(soon(t)); !errors.Is(err, kerr.TopicAuthorizationFailed) {
			t.Fatalf("flush: %v", err)
		}
		if acked.Load()+failed.Load() != 10_000 {
			t.Fatalf("%d acknowledged, %d failed", acked.Load(), failed.Load())
		}
		got := all(t, l, ledger.Deliveries, 0)
		if len(got) != int(acked.Load()) {
			t.Errorf("%d acknowledged, %d in the log", acked.Load(), len(got))
		}
		for i, r := range got {
			if string(r.Value) != strconv.Itoa(i) {
				t.Fatalf("offset %d holds %s: something is missing before it", i, r.Value)
			}
		}
		stop()
	}
}

// A round may have more for one partition than a batch may hold: the client has
// to cut it where the broker's limit of that topic is, and there alone.
func TestLargeRoundsAreCutIntoBatches(t *testing.T) {
	t.Parallel()
	l := ready(t)
	for _, topic := range []ledger.Topic{ledger.Deliveries, ledger.DeadLetters} {
		p := producer(t, l)
		hold := make(chan struct{})
		p.Append(t.Context(), ledger.Record{Topic: topic}, func(ledger.Position, error) { <-hold })
		const n = 3 * 4 << 20 / 16_000
		for range n {
			p.Append(t.Context(), ledger.Record{Topic: topic, Value: make([]byte, 16_000)}, func(ledger.Position, error) {})
		}
		close(hold)
		if err := p.Flush(soon(t)); err != nil {
			t.Fatal(err)
		}
		if got := all(t, l, topic, 0); len(got) != n+1 {
			t.Errorf("%d records in %s, %d were appended", len(got), topic, n+1)
		}
	}
}

func TestFirstErrorSticks(t *testing.T) {
	t.Parallel()
	l := ready(t)
	p := producer(t, l)
	appended := func(value []byte) (err error) {
		done := make(chan error, 1)
		p.Append(t.Context(), ledger.Record{Topic: ledger.Lanes, Value: value}, func(_ ledger.Position, err error) { done <- err })
		return <-done
	}
	if err := appended([]byte("a")); err != nil {
		t.Fatal(err)
	}
	if err := appended(make([]byte, l.Settings().MaxMessageBytes+1<<17)); !errors.Is(err, kerr.MessageTooLarge) {
		t.Fatalf("a record that is too large: %v", err)
	}
	if err := appended([]byte("b")); !errors.Is(err, kerr.MessageTooLarge) {
		t.Errorf("the append after it: %v", err)
	}
	if err := p.Flush(t.Context()); !errors.Is(err, kerr.MessageTooLarge) {
		t.Errorf("flush: %v", err)
	}
	if got := all(t, l, ledger.Lanes, 0); len(got) != 1 {
		t.Errorf("%d records in the log", len(got))
	}
	if other := producer(t, l); other.Flush(t.Context()) != nil {
		t.Error("another producer has failed too")
	}
}

// While the broker doesn't answer, a producer takes so much and no more; closing
// it settles all that it took.
func TestProducerIsBounded(t *testing.T) {
	t.Parallel()
	c, o, _ := fake(t)
	l := open(t, o)
	ensure(t, l)
	p := producer(t, l)
	held := make(chan struct{})
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.SleepControl(func() { <-held })
		return nil, nil, false
	})
	ctx, cancel := context.WithCancel(t.Context())
	var took, settled atomic.Int64
	var blocked sync.WaitGroup
	blocked.Go(func() {
		for ctx.Err() == nil {
			took.Add(1)
			p.Append(ctx, ledger.Record{Topic: ledger.Deliveries, Value: make([]byte, 64<<10)}, func(ledger.Position, error) { settled.Add(1) })
		}
	})
	last := int64(-1)
	eventually(t, "no more is taken", func() bool {
		now := took.Load()
		stands := now == last && now > 200
		last = now
		return stands
	})
	if took.Load() > 300 {
		t.Errorf("took %d records of 64 KiB", took.Load())
	}
	cancel()
	blocked.Wait()
	if err := p.Flush(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("flush: %v", err)
	}
	close(held)
	p.Close()
	p.Close()
	if settled.Load() != took.Load() {
		t.Errorf("took %d, settled %d", took.Load(), settled.Load())
	}
	p.Append(t.Context(), ledger.Record{Topic: ledger.Lanes}, func(_ ledger.Position, err error) {
		if err == nil {
			t.Error("an append after Close succeeded")
		}
	})
}

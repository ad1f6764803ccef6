package router

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"hookledger/ledger"
	"hookledger/ledger/event"
	"hookledger/ledger/ids"
)

var noon = time.UnixMilli(1_700_000_000_000)

func TestOptionsAreChecked(t *testing.T) {
	_, err := New(Options{Instance: "x"})
	for _, name := range []string{"Log", "Subscriptions", "Folder"} {
		if err == nil || !strings.Contains(err.Error(), "Options."+name) {
			t.Errorf("nothing is said of %s: %v", name, err)
		}
	}
	if strings.Contains(fmt.Sprint(err), "Instance") {
		t.Errorf("error %v", err)
	}
	registry := prometheus.NewPedanticRegistry()
	for _, c := range NewMetrics().Collectors() {
		registry.MustRegister(c)
	}
}

func TestRequestsSayAllThatIsNeeded(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	plain, meta, big := hook(2), hook(1), hook(3)
	meta.Metadata, meta.MetadataOffset = []byte(`{"team":"x"}`), 17
	s.hooks.set(plain, meta, big)
	large := ev("large", `{"x":"`+strings.Repeat("y", 20_000)+`"}`)
	e := ev("e1", `{ "n": 1.0 }`)
	e.OrderingKey, e.IndexID = "o", "i"
	s.produce(1, noon, e, large)
	r := s.router()
	s.start(r)
	s.routed()
	got := s.accepted()
	if len(got) != 6 {
		t.Fatalf("%d requests", len(got))
	}
	for _, d := range got {
		subject, content := d.GetSubject(), d.GetContent()
		w := map[byte][]byte{1: meta.Metadata}[subject.GetWebhookId()[0]]
		of, offset := e, int64(0)
		if subject.GetEventId() == "large" {
			of, offset = large, 1
		}
		body := event.Compose(of, w)
		hash := sha256.Sum256(body)
		id := ids.ForDelivery(noon.UnixMilli(), 1, offset, ids.ID(subject.GetWebhookId()))
		switch {
		case string(content.GetBodyHash()) != string(hash[:]), content.GetBodySize() != uint32(len(body)):
			t.Errorf("hash or size of %v", subject)
		case subject.GetEventId() == "e1" && string(d.GetBody()) != string(body), subject.GetEventId() == "large" && d.GetBody() != nil:
			t.Errorf("body of %v: %q", subject, d.GetBody())
		case content.GetSource().GetPartition() != 1, content.GetSource().GetOffset() != offset:
			t.Errorf("source %v", content.GetSource())
		case w == nil && content.GetMetadataOffset() != -1, w != nil && content.GetMetadataOffset() != 17:
			t.Errorf("metadata offset %d", content.GetMetadataOffset())
		case string(subject.GetDeliveryId()) != string(id[:]), subject.GetCreatedMs() != noon.UnixMilli(), subject.GetAccount() != "a", subject.GetEventType() != "export.ready":
			t.Errorf("subject %v", subject)
		}
	}
	if count(r, resultMatched) != 2 || value(r.m.Requests) != 6 {
		t.Error("it was counted wrongly")
	}
}

func TestFilters(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	failedOnly, other := hook(4), hook(5)
	failedOnly.Events = []string{"export.failed"}
	other.Account = "b"
	s.hooks.set(hook(1), hook(2, "i", "j"), hook(3, "k"), failedOnly, other)
	with := func(id, index string) *event.Event {
		e := ev(id, `{}`)
		e.IndexID = index
		return e
	}
	failed, unknown := ev("failed", `{}`), ev("unknown", `{}`)
	failed.Type, unknown.Type = "export.failed", "nobody.knows"
	s.produce(0, noon, with("none", ""), with("i", "i"), with("z", "z"), failed, unknown)
	r := s.router()
	s.start(r)
	s.routed()
	s.want("none 1", "none 2", "none 3", "i 1", "i 2", "z 1", "failed 1", "failed 2", "failed 3", "failed 4")
	if count(r, resultUnmatched) != 1 || len(s.letters(0)) != 0 {
		t.Error("an event that nobody subscribes to is no dead letter")
	}
}

func TestOrder(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.hooks.set(hook(1), hook(2), hook(3), hook(4), hook(5))
	for i := range 20 {
		var events []*event.Event
		for j := range 50 {
			events = append(events, ev(fmt.Sprint(i, "-", j), `{}`))
		}
		s.produce(int32(i%2), noon, events...)
	}
	s.start(s.router())
	s.routed()
	seen := 0
	for partition := range int32(3) {
		last := map[int32]string{}
		for _, r := range s.all(ledger.Deliveries, partition) {
			c, err := ledger.DecodeCommand(r.Value)
			if err != nil {
				t.Fatal(err)
			}
			src := c.GetRequest().GetContent().GetSource()
			now := fmt.Sprintf("%09d %x", src.GetOffset(), c.GetRequest().GetSubject().GetWebhookId())
			if now <= last[src.GetPartition()] {
				t.Fatalf("%s after %s", now, last[src.GetPartition()])
			}
			last[src.GetPartition()] = now
			seen++
		}
	}
	if seen != 5000 {
		t.Errorf("%d requests", seen)
	}
}

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.hooks.set(hook(1))
	noID := ev("x", `{}`)
	noID.ID = ""
	good := func(id string) *kgo.Record {
		e := ev(id, `{}`)
		return &kgo.Record{Key: e.Key(), Value: e.Data, Headers: e.Headers()}
	}
	s.raw(0, noon, good("1"), &kgo.Record{Value: []byte("no event")},
		&kgo.Record{Key: noID.Key(), Value: noID.Data, Headers: noID.Headers()}, good("2"),
		&kgo.Record{Key: ev("3", "").Key(), Value: []byte(`[1]`), Headers: ev("3", "").Headers()}, good("4"))
	r := s.router()
	s.start(r)
	s.routed()
	s.want("1 1", "2 1", "4 1")
	letters := s.letters(0)
	if len(letters) != 3 || !strings.Contains(letters["1"], "ce_specversion") || !strings.Contains(letters["2"], "ce_id is missing") || !strings.Contains(letters["4"], "not a JSON object") {
		t.Errorf("dead letters %v", letters)
	}
	if count(r, resultDeadLetter) != 3 {
		t.Error("they were counted wrongly")
	}
}

// What a transaction leaves is no event, and no reason to stop.
func TestTransactionalProducer(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.hooks.set(hook(1))
	tx := s.transactional()
	if err := tx.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	e := ev("1", `{}`)
	if err := tx.ProduceSync(t.Context(), &kgo.Record{Topic: s.log.Name(ledger.Events), Key: e.Key(), Value: e.Data, Headers: e.Headers()}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := tx.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	s.produce(0, noon, ev("2", `{}`))
	s.start(s.router())
	s.routed()
	s.want("1 1", "2 1")
	if letters := s.letters(0); len(letters) != 1 || !strings.Contains(letters["1"], "transaction") {
		t.Errorf("dead letters %v", letters)
	}
}

func TestBarrierIsPassedBeforeMatching(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	gate := make(chan struct{})
	s.hooks.gate = gate
	s.produce(0, noon, ev("1", `{}`))
	s.start(s.router())
	eventually(t, "the router waits at the barrier", func() bool {
		s.hooks.mu.Lock()
		defer s.hooks.mu.Unlock()
		return s.hooks.barriers > 0
	})
	s.hooks.set(hook(1)) // the webhook that the barrier waits for
	close(gate)
	s.routed()
	s.want("1 1")
}

func TestBarrierThatFailsIsTriedAgain(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.hooks.set(hook(1))
	s.produce(0, noon, ev("1", `{}`))
	flaky := &flakyBarrier{hooks: s.hooks, fail: 3}
	s.start(s.router(func(o *Options) { o.Subscriptions = flaky }))
	s.routed()
	s.want("1 1")
}

type flakyBarrier struct {
	*hooks
	fail int
}

func (f *flakyBarrier) Barrier(context.Context) error {
	if f.fail--; f.fail >= 0 {
		return errors.New("not current")
	}
	return nil
}

// gated is a stage whose syncs, from the n-th on, wait for the gate.
func gated(t *testing.T, n int64) (s *stage, open func()) {
	t.Helper()
	gate := make(chan struct{})
	var calls atomic.Int64
	o := bare(t).options()
	o.Sync = func(ctx context.Context) error {
		if calls.Add(1) < n {
			return nil
		}
		select {
		case <-gate:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s = stageOn(t, o)
	s.commitAs(0, 0)
	s.hooks.set(hook(1))
	return s, func() { close(gate) }
}

func TestWhatIsNotSyncedIsNotRouted(t *testing.T) {
	t.Parallel()
	s, open := gated(t, 1)
	s.produce(0, noon, ev("1", `{}`))
	s.start(s.router())
	eventually(t, "the batch is fetched", func() bool {
		s.hooks.mu.Lock()
		defer s.hooks.mu.Unlock()
		return s.hooks.barriers > 0
	})
	if got := s.accepted(); len(got) != 0 {
		t.Errorf("%d requests before the sync", len(got))
	}
	open()
	s.routed()
	s.want("1 1")
}

// A commit that survives a power cut which its requests don't would lose them.
func TestWhatIsNotSyncedIsNotCommitted(t *testing.T) {
	t.Parallel()
	s, open := gated(t, 2)
	s.produce(0, noon, ev("1", `{}`))
	s.start(s.router())
	eventually(t, "request and id are appended", func() bool { return len(s.all(ledger.EventIDs, 0)) == 1 && len(s.accepted()) == 1 })
	if commits, err := s.log.Committed(t.Context(), Group, ledger.Events); err != nil || commits[0] != 0 {
		t.Errorf("commits %v, %v", commits, err)
	}
	open()
	s.routed()
}

// An event to many webhooks is larger than everything that may be unacknowledged.
func TestWideFanOut(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	const n = 1100
	for i := range n {
		w := hook(1)
		w.ID = ids.ID{byte(i >> 8), byte(i), 5}
		s.hooks.list = append(s.hooks.list, w)
	}
	s.produce(0, noon, ev("wide", `{"x":"`+strings.Repeat("y", 16_000)+`"}`))
	s.start(s.router())
	s.routed()
	seen := map[ids.ID]int{}
	for _, d := range s.accepted() {
		seen[ids.ID(d.GetSubject().GetWebhookId())]++
	}
	if len(seen) != n {
		t.Errorf("%d webhooks", len(seen))
	}
}

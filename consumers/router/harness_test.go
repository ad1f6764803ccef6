package router

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"hookledger/deploy/embedded/broker/brokertest"
	"hookledger/ledger"
	"hookledger/ledger/event"
	"hookledger/ledger/ids"
	"hookledger/projections/subscriptions"
)

func TestMain(m *testing.M) {
	code := brokertest.Main(m)
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// hooks are subscriptions in a slice, in order of id. Barrier waits for gate, if there is one.
type hooks struct {
	mu       sync.Mutex
	list     []*subscriptions.Webhook
	barriers int
	gate     chan struct{}
}

func (h *hooks) Barrier(ctx context.Context) error {
	h.mu.Lock()
	h.barriers++
	gate := h.gate
	h.mu.Unlock()
	if gate == nil {
		return nil
	}
	select {
	case <-gate:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *hooks) Match(dst []*subscriptions.Webhook, account, name, indexID string) []*subscriptions.Webhook {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range h.list {
		if w.Account == account && w.Matches(name, indexID) {
			dst = append(dst, w)
		}
	}
	return dst
}

func (h *hooks) set(list ...*subscriptions.Webhook) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.list = slices.SortedFunc(slices.Values(list), func(a, b *subscriptions.Webhook) int { return bytes.Compare(a.ID[:], b.ID[:]) })
}

// hook is a webhook of account "a" that listens to export.ready.
func hook(n byte, indexIDs ...string) *subscriptions.Webhook {
	return &subscriptions.Webhook{
		ID: ids.ID{n, 1, 2, 3, 15: n}, Account: "a", Events: []string{"export.ready", "export.failed"},
		IndexIDs: indexIDs, MetadataOffset: subscriptions.NoMetadata,
	}
}

// stage is a log and what a router on it needs.
type stage struct {
	t      testing.TB
	opts   ledger.Options
	log    *ledger.Log
	hooks  *hooks
	folder string
}

func settings(prefix string) ledger.Settings {
	s := ledger.EmbeddedSettings(prefix)
	s.ConfigPartitions, s.EventPartitions, s.DeliveryPartitions = 1, 2, 3
	return s
}

// bare is a stage whose group has no commits yet.
func bare(t testing.TB) *stage {
	t.Helper()
	b := brokertest.Start(t)
	return stageOn(t, ledger.Options{Client: b.ClientOpts(), Sync: b.Sync, Settings: settings(brokertest.Prefix(t))})
}

func stageOn(t testing.TB, o ledger.Options) *stage {
	t.Helper()
	l, err := ledger.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	if _, err := l.EnsureTopics(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &stage{t: t, opts: o, log: l, hooks: new(hooks), folder: t.TempDir()}
}

// newStage is a stage as serve makes it: the first commits are written with the topics.
func newStage(t testing.TB) *stage {
	t.Helper()
	s := bare(t)
	s.commitAs(0, 0)
	return s
}

// options are those of another node on the same topics.
func (s *stage) options() ledger.Options { return s.opts }

func (s *stage) transactional() *kgo.Client {
	s.t.Helper()
	c, err := kgo.NewClient(append(slices.Clone(s.opts.Client), kgo.TransactionalID(s.opts.Settings.Prefix), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Close)
	return c
}

func (s *stage) commitAs(next ...int64) {
	s.t.Helper()
	commits := make(map[int32]int64)
	for p, at := range next {
		if at >= 0 {
			commits[int32(p)] = at
		}
	}
	if err := s.log.CommitAs(s.t.Context(), Group, map[ledger.Topic]map[int32]int64{ledger.Events: commits}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) router(change ...func(*Options)) *Router {
	s.t.Helper()
	o := Options{
		Log: s.log, Subscriptions: s.hooks, Instance: "node-1", Folder: s.folder, CommitEvery: 5 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(s.t.Output(), nil)),
	}
	for _, c := range change {
		c(&o)
	}
	r, err := New(o)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// start runs a router until stop, which waits for its end, or the end of the test.
func (s *stage) start(r *Router) (stop func() error) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	var once sync.Once
	var err error
	stop = func() error {
		once.Do(func() {
			cancel()
			err = <-done
		})
		return err
	}
	s.t.Cleanup(func() {
		if err := stop(); err != nil {
			s.t.Error(err)
		}
	})
	return stop
}

// live runs one incarnation after another of a router that has every partition,
// whoever else has, and commits as it is told to.
func (s *stage) live(r *Router, commits committer) (stop func()) {
	s.t.Helper()
	r.assigned([]int32{0, 1})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if err, ok := errors.AsType[*RepairError](r.live(ctx, commits)); ok {
				s.t.Error(err)
				return
			}
		}
	}()
	stop = func() { cancel(); <-done }
	s.t.Cleanup(stop)
	return stop
}

// asNobody commits for a group without members.
type asNobody struct{ *ledger.Log }

func (l asNobody) Commit(ctx context.Context, next map[int32]int64) error {
	return l.CommitAs(ctx, Group, map[ledger.Topic]map[int32]int64{ledger.Events: next})
}

// unfenced is live with commits that nothing refuses.
func (s *stage) unfenced(r *Router) (stop func()) { return s.live(r, asNobody{s.log}) }

// fails runs a router that must end with an error by itself.
func (s *stage) fails(r *Router) error {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 15*time.Second)
	defer cancel()
	err := r.Run(ctx)
	if err == nil {
		s.t.Fatal("the router ended without an error")
	}
	return err
}

// ev is an event of account "a" without index, in partition 0.
func ev(id, data string) *event.Event {
	return &event.Event{ID: id, Source: "test", Type: "export.ready", Account: "a", Data: []byte(data), CreatedAt: time.UnixMilli(1_700_000_000_000)}
}

// produce appends events to a partition, whatever their keys say, at a time.
func (s *stage) produce(partition int32, at time.Time, events ...*event.Event) {
	s.t.Helper()
	records := make([]*kgo.Record, len(events))
	for i, e := range events {
		records[i] = &kgo.Record{Key: e.Key(), Value: e.Data, Headers: e.Headers()}
	}
	s.raw(partition, at, records...)
}

func (s *stage) raw(partition int32, at time.Time, records ...*kgo.Record) {
	s.t.Helper()
	for _, r := range records {
		r.Topic, r.Partition, r.Timestamp = s.log.Name(ledger.Events), partition, at
	}
	if err := s.client().ProduceSync(s.t.Context(), records...).FirstErr(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) client() *kgo.Client {
	s.t.Helper()
	c, err := kgo.NewClient(append(slices.Clone(s.opts.Client), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Close)
	return c
}

// letters lists the reasons of the dead letters by offset.
func (s *stage) letters(partition int32) map[string]string {
	s.t.Helper()
	got := make(map[string]string)
	for _, r := range s.all(ledger.DeadLetters, partition) {
		of := map[string]string{}
		for _, h := range r.Headers {
			of[h.Key] = string(h.Value)
		}
		got[of[ledger.DeadLetterOffset]] = of[ledger.DeadLetterReason]
	}
	return got
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-ctx.Done():
			t.Fatal("waited in vain for: " + what)
		case <-tick.C:
		}
	}
}

func count(r *Router, result string) float64 {
	return value(r.m.Events.WithLabelValues(result))
}

func value(m prometheus.Metric) float64 {
	var out dto.Metric
	if err := m.Write(&out); err != nil {
		panic(err)
	}
	return out.GetCounter().GetValue() + out.GetGauge().GetValue()
}

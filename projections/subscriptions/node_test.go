package subscriptions

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	diff "github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"hookledger/deploy/embedded/broker"
	"hookledger/deploy/embedded/broker/brokertest"
	"hookledger/ledger"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

type withBroker struct{ m *testing.M }

func (w withBroker) Run() int { return brokertest.Main(w.m) }

func TestMain(m *testing.M) { goleak.VerifyTestMain(withBroker{m}) }

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func openLog(t testing.TB, b *broker.Broker, prefix string, sync func(context.Context) error) *ledger.Log {
	t.Helper()
	ctx := testContext(t)
	log, err := ledger.Open(ctx, ledger.Options{Client: b.ClientOpts(), Settings: ledger.EmbeddedSettings(prefix), Sync: sync})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(log.Close)
	if _, err := log.EnsureTopics(ctx); err != nil {
		t.Fatal(err)
	}
	return log
}

// running starts a node and returns it with what stops it and gives Run's error.
func running(t testing.TB, log *ledger.Log, o Options) (*Subscriptions, func() error) {
	s := NewNode(log, o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	var once sync.Once
	var err error
	stop := func() error {
		once.Do(func() { cancel(); err = <-done })
		return err
	}
	t.Cleanup(func() { _ = stop() })
	return s, stop
}

func (s *Subscriptions) must(t testing.TB, k Kind, account string, f *facts.ConfigFact) Verdict {
	t.Helper()
	f.Account = account
	v, err := s.Command(testContext(t), f)
	if err != nil || v.Kind != k {
		t.Fatalf("verdict %v (%s), %v; want %v", v.Kind, v.Reason, err, k)
	}
	return v
}

func saved(s *Subscriptions) (parts []savedPart) {
	for p := range s.parts {
		parts = append(parts, s.save(p))
	}
	return parts
}

func same(t testing.TB, a, b *Subscriptions) {
	t.Helper()
	if d := diff.Diff(saved(a), saved(b), diff.AllowUnexported(Webhook{})); d != "" {
		t.Errorf("the nodes differ:\n%s", d)
	}
}

func TestMetadataIsReadAgain(t *testing.T) {
	log := openLog(t, brokertest.Start(t), brokertest.Prefix(t), nil)
	s, _ := running(t, log, Options{})
	ctx := testContext(t)
	first := s.must(t, Applied, "a", newFact(1, func(w *facts.Webhook) { w.Metadata = []byte(`{"n":1}`) }))
	f := first.Webhook.Fact()
	f.Version, f.Metadata = 2, []byte(`{"n":2}`)
	second := s.must(t, Applied, "a", &facts.ConfigFact{Change: &facts.ConfigFact_WebhookUpdated{
		WebhookUpdated: &facts.WebhookUpdated{ExpectedVersion: 1, Webhook: f},
	}})
	other := s.must(t, Applied, "a", newFact(2, nil))
	for range 2 { // the second time, the webhook is deleted
		for offset, want := range map[int64]string{first.Offset: `{"n":1}`, second.Offset: `{"n":2}`, NoMetadata: ""} {
			if got, err := s.Metadata(ctx, "a", testID(1), offset); err != nil || string(got) != want {
				t.Errorf("at %d: %q, %v; want %q", offset, got, err, want)
			}
		}
		if _, err := s.Command(ctx, func() *facts.ConfigFact { r := remove(1, 0); r.Account = "a"; return r }()); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := s.Metadata(ctx, "a", testID(1), other.Offset); err == nil {
		t.Errorf("another webhook's fact gives %q", got)
	}
	if _, err := s.Metadata(ctx, "a", testID(1), 1<<40); err == nil {
		t.Error("an offset beyond the end gives metadata")
	}
}

func TestFeed(t *testing.T) {
	log := openLog(t, brokertest.Start(t), brokertest.Prefix(t), nil)
	s, _ := running(t, log, Options{})
	feed := s.Changes()
	s.must(t, Applied, "a", newFact(1, nil))
	s.must(t, Applied, "a", rotate(1, 1, "x", 0))
	s.must(t, Applied, "b", newFact(2, nil))
	s.must(t, NotFound, "b", remove(1, 0))
	if err := s.Barrier(testContext(t)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-feed.C:
	default:
		t.Error("nothing to take")
	}
	got := make(map[Change]bool)
	for _, c := range feed.Take() {
		got[c] = true
	}
	if len(got) != 2 || !got[Change{"a", testID(1)}] || !got[Change{"b", testID(2)}] {
		t.Errorf("changes %v", got)
	}
	s.Unwatch(feed)
	s.must(t, Applied, "a", remove(1, 0))
	if n := len(feed.Take()); n != 0 {
		t.Errorf("%d changes after Unwatch", n)
	}
}

// TestNothingActsOnWhatIsNotSynced: no verdict, and nothing to read, before the shared sync.
func TestNothingActsOnWhatIsNotSynced(t *testing.T) {
	asked, release := make(chan struct{}, 100), make(chan struct{})
	log := openLog(t, brokertest.Start(t), brokertest.Prefix(t), func(ctx context.Context) error {
		asked <- struct{}{}
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	s, _ := running(t, log, Options{})
	verdict := make(chan Verdict, 1)
	go func() {
		f := newFact(1, nil)
		f.Account = "a"
		v, err := s.Command(testContext(t), f)
		if err != nil {
			t.Error(err)
		}
		verdict <- v
	}()
	<-asked
	if _, ok := s.Webhook("a", testID(1)); ok {
		t.Error("applied before it was synced")
	}
	select {
	case v := <-verdict:
		t.Errorf("verdict %v before it was synced", v)
	default:
	}
	if err := s.Barrier(testContext(t)); !errors.Is(err, ErrNotCurrent) {
		t.Errorf("barrier before the sync: %v, want ErrNotCurrent", err)
	}
	close(release)
	if v := <-verdict; v.Kind != Applied {
		t.Errorf("verdict %v", v)
	}
}

func TestARecordThatCannotBeReadStopsTheNode(t *testing.T) {
	log := openLog(t, brokertest.Start(t), brokertest.Prefix(t), nil)
	ctx := testContext(t)
	s, _ := running(t, log, Options{})
	s.must(t, Applied, "a", newFact(1, nil))
	p := log.Partition(ledger.Config, []byte("a"))
	if _, err := log.Append(ctx, ledger.Record{Topic: ledger.Config, Partition: p, Value: []byte("not a fact")}); err != nil {
		t.Fatal(err)
	}
	f := newFact(2, nil)
	f.Account = "a"
	if v, err := s.Command(ctx, f); !errors.Is(err, ErrUnsettled) && !errors.Is(err, ErrNotCurrent) {
		t.Errorf("a command behind it: %v, %v", v, err)
	}
	if err := s.Barrier(ctx); !errors.Is(err, ErrNotCurrent) {
		t.Errorf("barrier: %v, want ErrNotCurrent", err)
	}
	// Not on a second start either.
	err := NewNode(log, Options{}).Run(ctx)
	var record *RecordError
	if !errors.As(err, &record) || record.Offset != 1 || !errors.Is(err, ledger.ErrUndecodable) {
		t.Errorf("Run: %v, want a RecordError of offset 1", err)
	}
}

func TestBarrierWithoutABroker(t *testing.T) {
	dead := brokertest.New(t, broker.Options{Fsync: broker.FsyncNone})
	log := openLog(t, dead, brokertest.Prefix(t), nil)
	s, stop := running(t, log, Options{})
	ctx := testContext(t)
	if err := s.Barrier(ctx); err != nil {
		t.Fatal(err)
	}
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := s.Barrier(ctx); !errors.Is(err, ErrNotCurrent) {
		t.Errorf("barrier: %v, want ErrNotCurrent", err)
	}
	if took := time.Since(began); took > 5*BarrierTimeout {
		t.Errorf("it took %v to say so", took)
	}
	if err := stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if err := s.Barrier(ctx); !errors.Is(err, ErrNotCurrent) {
		t.Errorf("barrier of a stopped node: %v, want ErrNotCurrent", err)
	}
	f := newFact(1, nil)
	f.Account = "a"
	if _, err := s.Command(ctx, f); !errors.Is(err, ErrNotCurrent) {
		t.Errorf("command on a stopped node: %v, want ErrNotCurrent", err)
	}
}

func TestAShortenedLogStopsTheNode(t *testing.T) {
	log := openLog(t, brokertest.Start(t), brokertest.Prefix(t), nil)
	s := NewNode(log, Options{})
	done := make(chan error, 1)
	go func() { done <- s.Run(testContext(t)) }()
	if err := s.Barrier(testContext(t)); err != nil {
		t.Fatal(err)
	}
	s.progress.advance(0, 1000) // as if it had applied what the broker has lost
	if err := s.Barrier(testContext(t)); !errors.Is(err, ErrNotCurrent) {
		t.Errorf("barrier: %v, want ErrNotCurrent", err)
	}
	if err := <-done; !errors.Is(err, ErrShortened) {
		t.Errorf("Run: %v, want ErrShortened", err)
	}
}

// BenchmarkBarrier is what every API request, and every batch of the router
// and the dispatcher, waits for. waiters share questions.
func BenchmarkBarrier(b *testing.B) {
	log := openLog(b, brokertest.Start(b), brokertest.Prefix(b), nil)
	s, _ := running(b, log, Options{})
	ctx := context.Background()
	for _, waiters := range []int{1, 50} {
		b.Run(fmt.Sprint("waiters=", waiters), func(b *testing.B) {
			var left atomic.Int64
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			for range waiters {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						if err := s.Barrier(ctx); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// BenchmarkCommand is a create, from the fact to its verdict.
func BenchmarkCommand(b *testing.B) {
	log := openLog(b, brokertest.Start(b), brokertest.Prefix(b), nil)
	s, _ := running(b, log, Options{})
	for n := range b.N {
		f := newFact(uint64(n+1), nil)
		f.Account = fmt.Sprint("account-", n%100)
		if v, err := s.Command(context.Background(), f); err != nil || v.Kind != Applied {
			b.Fatal(v, err)
		}
	}
}

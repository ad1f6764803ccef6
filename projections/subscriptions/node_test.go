package subscriptions

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	diff "github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"hookledger/deploy/embedded/broker"
	"hookledger/deploy/embedded/broker/brokertest"
	"hookledger/ledger"
	"hookledger/ledger/ids"
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

// TestThreeNodes: commands race on a real broker; each race has one winner,
// every node sees what any acknowledged, and all end equal.
func TestThreeNodes(t *testing.T) {
	b, prefix := brokertest.Start(t), brokertest.Prefix(t)
	ctx := testContext(t)
	var nodes []*Subscriptions
	for range 3 {
		s, _ := running(t, openLog(t, b, prefix, nil), Options{})
		nodes = append(nodes, s)
	}
	var wg sync.WaitGroup
	accounts := []string{"a", "b", "globex", "acme"}
	for n := range 24 {
		wg.Go(func() {
			s, account := nodes[n%3], accounts[n%len(accounts)]
			for i := range 10 {
				f := newFact(uint64(1000*n+i+1), nil)
				f.Account = account
				v, err := s.Command(ctx, f)
				if err != nil || v.Kind != Applied {
					t.Errorf("create: %v, %v", v, err)
					return
				}
				other := nodes[(n+1)%3]
				if err := other.Barrier(ctx); err != nil {
					t.Error(err)
					return
				}
				if _, ok := other.Webhook(account, v.WebhookID); !ok {
					t.Error("acknowledged on one node, not there on another after its barrier")
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}

	// One key, many creates, everywhere at once.
	var applied, repeated atomic.Int64
	var first, answer atomic.Int64
	for n := range 12 {
		wg.Go(func() {
			f := with(idem(1, 1), newFact(uint64(100_000+n), nil))
			f.Account = "a"
			switch v, err := nodes[n%3].Command(ctx, f); {
			case err != nil:
				t.Error(err)
			case v.Kind == Applied:
				applied.Add(1)
				first.Store(v.Offset)
			case v.Kind == Repeat:
				repeated.Add(1)
				answer.Store(v.First)
			default:
				t.Errorf("verdict %v", v.Kind)
			}
		})
	}
	wg.Wait()
	if applied.Load() != 1 || repeated.Load() != 11 || first.Load() != answer.Load() {
		t.Errorf("%d applied, %d repeated, first at %d, answered from %d", applied.Load(), repeated.Load(), first.Load(), answer.Load())
	}
	fact, err := nodes[0].Fact(ctx, "a", answer.Load())
	if err != nil || fact.GetWebhookCreated().GetWebhook().GetVersion() != 1 {
		t.Errorf("the first fact: %v, %v", fact, err)
	}
	if _, err := nodes[0].Fact(ctx, "b", answer.Load()); err == nil && testPartition("a") == testPartition("b") {
		t.Error("another account reads the fact")
	}

	// One version, many updates: one wins; the others learn the current version and go on from it.
	id := ids.ID(fact.GetWebhookCreated().GetWebhook().GetWebhookId())
	for n := range 12 {
		wg.Go(func() {
			s := nodes[n%3]
			for {
				w, ok := s.Webhook("a", id)
				if !ok {
					if err := s.Barrier(ctx); err != nil {
						t.Error(err)
						return
					}
					continue
				}
				f := w.Fact()
				f.Version++
				f.Name += "+"
				v, err := s.Command(ctx, &facts.ConfigFact{Account: "a", Change: &facts.ConfigFact_WebhookUpdated{
					WebhookUpdated: &facts.WebhookUpdated{ExpectedVersion: w.Version, Webhook: f}}})
				if err != nil {
					t.Error(err)
					return
				}
				if v.Kind == Applied {
					return
				}
				if v.Kind != Conflict || v.Webhook == nil || v.Version <= w.Version {
					t.Errorf("lost the race with %+v", v)
					return
				}
			}
		})
	}
	wg.Wait()
	for _, s := range nodes {
		if err := s.Barrier(ctx); err != nil {
			t.Fatal(err)
		}
		if w, _ := s.Webhook("a", id); w == nil || w.Version != 13 || strings.Count(w.Name, "+") != 12 {
			t.Errorf("after 12 updates: %+v", w)
		}
		same(t, nodes[0], s)
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
		WebhookUpdated: &facts.WebhookUpdated{ExpectedVersion: 1, Webhook: f}}})
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

func TestSnapshot(t *testing.T) {
	b, prefix, folder := brokertest.Start(t), brokertest.Prefix(t), t.TempDir()
	log := openLog(t, b, prefix, nil)
	ctx := testContext(t)
	s, stop := running(t, log, Options{Folder: folder})
	for n := range uint64(20) {
		s.must(t, Applied, fmt.Sprint("account-", n%5), with(idem(byte(n), 1), newFact(n+1, func(w *facts.Webhook) {
			w.Metadata, w.IndexIds = []byte("{}"), []string{"i"}
		})))
	}
	s.must(t, Applied, "account-0", remove(1, 0))
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, snapshotName)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// load starts a node from what lies in the folder, and says whether it was used.
	load := func(text []byte, log *ledger.Log) (*Subscriptions, bool) {
		t.Helper()
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		var said bytes.Buffer
		n := NewNode(log, Options{Folder: folder, Logger: slog.New(slog.NewTextHandler(&said, nil))})
		if err := n.loadSnapshot(ctx); err != nil {
			t.Fatal(err)
		}
		used := n.savedFacts > 0
		if used == strings.Contains(said.String(), "thrown away") {
			t.Errorf("used %v, and said %q", used, said.String())
		}
		return n, used
	}
	whole, used := load(good, log)
	if !used {
		t.Fatal("the snapshot was not used")
	}
	same(t, s, whole)
	for at := 0; at < len(good); at += 1 + len(good)/200 {
		flipped := bytes.Clone(good)
		flipped[at] ^= 4
		if _, used := load(flipped, log); used {
			t.Fatalf("used with byte %d flipped", at)
		}
		if _, used := load(good[:at], log); used {
			t.Fatalf("used when cut at %d", at)
		}
	}
	if _, used := load(good, openLog(t, b, brokertest.Prefix(t), nil)); used {
		t.Error("used on another log")
	}
	// A log that lost its tail, or has another one.
	parts := saved(whole)
	for p := range parts {
		if parts[p].Next > 0 {
			parts[p].Last[0]++
			break
		}
	}
	forged, err := encodeSnapshot(whole.head, parts)
	if err != nil {
		t.Fatal(err)
	}
	if _, used := load(forged, log); used {
		t.Error("used though the log has another record at its end")
	}
	parts = saved(whole)
	parts[0].Next += 1000
	if forged, err = encodeSnapshot(whole.head, parts); err != nil {
		t.Fatal(err)
	}
	if _, used := load(forged, log); used {
		t.Error("used though the log ends before it")
	}

	// Snapshot and rest are the whole.
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	fromSnapshot, _ := running(t, log, Options{Folder: folder})
	fromStart, _ := running(t, log, Options{})
	fromSnapshot.must(t, Applied, "account-1", newFact(100, nil))
	fromStart.must(t, Applied, "account-2", newFact(101, nil))
	for _, n := range []*Subscriptions{fromSnapshot, fromStart} {
		if err := n.Barrier(ctx); err != nil {
			t.Fatal(err)
		}
	}
	same(t, fromStart, fromSnapshot)
}

package historian_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hookledger/consumers/historian"
	"hookledger/deploy/embedded/broker/brokertest"
	"hookledger/deploy/embedded/engine/enginetest"
	"hookledger/ledger"
	"hookledger/ledger/event"
	"hookledger/ledger/ids"
	"hookledger/projections/history"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// db is the package's engine; TestMain has no other way to hand it to tests.
var db enginetest.Engine

func TestMain(m *testing.M) {
	enginetest.Child()
	code := brokertest.Main(m)
	db.Stop()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// world is a log, a database, and how to reach it.
type world struct {
	testing.TB
	log *ledger.Log
	dsn string
	h   *history.History
}

func newWorld(t testing.TB) *world {
	t.Helper()
	return newWorldAt(t, db.Database(t))
}

func newWorldAt(t testing.TB, dsn string) *world {
	t.Helper()
	b := brokertest.Start(t)
	s := ledger.EmbeddedSettings(brokertest.Prefix(t))
	s.ConfigPartitions, s.EventPartitions, s.DeliveryPartitions = 2, 2, 2
	log, err := ledger.Open(t.Context(), ledger.Options{Client: b.ClientOpts(), Settings: s, Sync: b.Sync})
	must(t, err)
	t.Cleanup(log.Close)
	_, err = log.EnsureTopics(t.Context())
	must(t, err)
	w := &world{TB: t, log: log, dsn: dsn}
	w.h = w.open(dsn)
	return w
}

func (w *world) open(dsn string) *history.History {
	h, err := history.Open(history.Options{DSN: dsn})
	must(w, err)
	w.Cleanup(func() { _ = h.Close() })
	return h
}

// run runs a historian until stop is called (or the test ends) and returns what Run returned.
func (w *world) run(h *history.History, change ...func(*historian.Options)) (stop func() error) {
	w.Helper()
	o := historian.Options{Log: w.log, History: h, MaxBackoff: 200 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(w.Output(), nil))}
	for _, c := range change {
		c(&o)
	}
	hist, err := historian.New(o)
	must(w, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.Context()))
	done := make(chan error, 1)
	go func() { done <- hist.Run(ctx) }()
	var result error
	var ended bool
	stop = func() error {
		if !ended {
			cancel()
			result, ended = <-done, true
		}
		return result
	}
	w.Cleanup(func() { _ = stop() })
	return stop
}

// failed waits for Run to end by itself.
func (w *world) failed(h *history.History) error {
	w.Helper()
	hist, err := historian.New(historian.Options{Log: w.log, History: h})
	must(w, err)
	ctx, cancel := context.WithTimeout(w.Context(), 30*time.Second)
	defer cancel()
	err = hist.Run(ctx)
	if ctx.Err() != nil {
		w.Fatal("Run did not end by itself")
	}
	if hist.Ready() == nil {
		w.Error("ready after Run has failed")
	}
	return err
}

// covered waits until the history has all that is in the log now.
func (w *world) covered() {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 60*time.Second)
	defer cancel()
	for _, t := range []ledger.Topic{ledger.Config, ledger.Events, ledger.Deliveries, ledger.Attempts, ledger.DeadLetters} {
		ends, err := w.log.Ends(ctx, t)
		must(w, err)
		for ctx.Err() == nil { // the schema may not be there yet
			if err = w.h.WaitCovered(ctx, t, ends); err == nil {
				break
			}
		}
		must(w, err)
	}
}

func (w *world) append(records ...ledger.Record) []ledger.Position {
	w.Helper()
	at, err := w.log.Append(w.Context(), records...)
	must(w, err)
	return at
}

func (w *world) exec(sql string) {
	w.Helper()
	must(w, enginetest.Open(w, w.dsn).Exec(w.Context(), sql))
}

// execAfter is exec for a test that has ended.
func (w *world) execAfter(sql string) {
	w.Helper()
	must(w, enginetest.Open(w, w.dsn).Exec(context.WithoutCancel(w.Context()), sql))
}

// dump is every answer-bearing table, row by row, as FINAL shows it.
func (w *world) dump() map[string][]string {
	w.Helper()
	conn := enginetest.Open(w, w.dsn)
	all := make(map[string][]string)
	for _, table := range []string{"attempts", "deliveries", "events", "config_changes", "attempts_hourly"} {
		rows, err := conn.Query(w.Context(), "SELECT toString(tuple(*)) FROM "+table+" FINAL")
		must(w, err)
		for rows.Next() {
			var row string
			must(w, rows.Scan(&row))
			all[table] = append(all[table], row)
		}
		must(w, rows.Err())
		must(w, rows.Close())
		slices.Sort(all[table])
	}
	return all
}

// settled waits until attempts_hourly is owed nothing: it counts every attempt.
func (w *world) settled() {
	w.Helper()
	w.covered()
	conn := enginetest.Open(w, w.dsn)
	for deadline := time.Now().Add(30 * time.Second); ; {
		var attempts, counted uint64
		must(w, conn.QueryRow(w.Context(), "SELECT uniqExact(attempt_id) FROM attempts FINAL WHERE kind = 'attempt'").Scan(&attempts))
		must(w, conn.QueryRow(w.Context(), "SELECT sum(n) FROM attempts_hourly FINAL").Scan(&counted))
		if attempts == counted {
			return
		}
		if time.Now().After(deadline) {
			w.Fatalf("attempts_hourly counts %d of %d attempts", counted, attempts)
		}
	}
}

func id(n int, kind byte) (i ids.ID) {
	binary.BigEndian.PutUint32(i[0:], uint32(n)*0x9e3779b9)
	i[4] = kind
	binary.BigEndian.PutUint32(i[12:], uint32(n))
	return i
}

const hooks = 8

// traffic appends events, what the router and the dispatcher would write about
// them, and changes of configuration; n of each, about.
func (w *world) traffic(seed uint64, n int) {
	w.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	serial := int(seed) * 1_000_000
	var config, events []ledger.Record
	for i := range hooks {
		config = append(config, w.log.ConfigRecord(w.created(id(i, 'w'), serial+i)))
	}
	config = append(config, w.log.ConfigRecord(w.created(id(1, 'w'), serial+99))) // taken
	w.append(config...)
	for i := range n {
		e := &event.Event{
			ID: fmt.Sprintf("evt_%d", serial+i), Account: "acme", Type: "export.ready", CreatedAt: time.Now().Truncate(time.Millisecond),
			Data: fmt.Appendf(nil, `{"n":%d,"pad":"%0*d"}`, i, r.IntN(100), 0),
		}
		events = append(events, ledger.Record{
			Topic: ledger.Events, Partition: w.log.Partition(ledger.Events, e.Key()), Key: e.Key(), Value: e.Data, Headers: e.Headers(),
		})
	}
	events = append(events, ledger.Record{Topic: ledger.Events, Key: []byte("bad"), Value: []byte("no event")})
	var requests, attempts []ledger.Record
	var tries []func(round uint64) []ledger.Record
	now := time.Now().UnixMilli()
	for i, at := range w.append(events...) {
		if i == n {
			break
		}
		source := &facts.Source{Partition: at.Partition, Offset: at.Offset}
		for hook := range hooks {
			if (i+hook)%4 != 0 {
				continue
			}
			sub := w.subject(id(hook, 'w'), now-int64(r.IntN(7_200_000)), source, fmt.Sprintf("evt_%d", serial+i))
			requests = append(requests, w.request(sub, source))
			tries = append(tries, func(round uint64) []ledger.Record { return w.facts(r, sub, source, round, serial+i*hooks+hook) })
		}
	}
	for i, at := range w.append(requests...) {
		attempts = append(attempts, tries[i](uint64(at.Offset))...)
	}
	if len(requests) > 4 { // the router begins again at an older commit
		w.append(requests[len(requests)/2:]...)
	}
	w.append(attempts...)
}

func (w *world) created(hook ids.ID, n int) *facts.ConfigFact {
	fact := id(n, 'c')
	return &facts.ConfigFact{
		FactId: fact[:], Rules: 1, Account: "acme", AtMs: 1, Actor: &facts.Actor{Kind: facts.ActorKind_ACTOR_KIND_TOKEN, Id: "me"},
		Change: &facts.ConfigFact_WebhookCreated{WebhookCreated: &facts.WebhookCreated{
			Webhook: &facts.Webhook{
				WebhookId: hook[:], Name: "w", Url: "https://x", Events: []string{"export.ready"},
				Status: facts.WebhookStatus_WEBHOOK_STATUS_ACTIVE, Version: 1, CreatedMs: 1, UpdatedMs: 1, Metadata: []byte(`{"a":1}`),
			},
			Secret: &facts.Sealed{KeyId: "k", Box: []byte("secret")},
		}},
	}
}

func (w *world) subject(hook ids.ID, ms int64, source *facts.Source, eventID string) *facts.Subject {
	d := ids.ForDelivery(ms, source.GetPartition(), source.GetOffset(), hook)
	return &facts.Subject{DeliveryId: d[:], WebhookId: hook[:], Account: "acme", EventId: eventID, EventType: "export.ready", CreatedMs: ms}
}

func (w *world) request(sub *facts.Subject, source *facts.Source) ledger.Record {
	return w.log.CommandRecord(&facts.DeliveryCommand{Command: &facts.DeliveryCommand_Request{Request: &facts.DeliveryRequest{
		Subject: sub, Content: content(source),
	}}})
}

func content(source *facts.Source) *facts.Content {
	return &facts.Content{Source: source, MetadataOffset: -1, BodyHash: make([]byte, 32), BodySize: 10}
}

// facts are some failures of a delivery and perhaps its success, one in ten with a completed copy.
func (w *world) facts(r *rand.Rand, sub *facts.Subject, source *facts.Source, round uint64, n int) []ledger.Record {
	partition := w.log.WebhookPartition(sub.GetWebhookId())
	var all []ledger.Record
	for try := range uint32(r.IntN(4)) {
		fact := id(n*4+int(try), 'a')
		f := &facts.AttemptFact{
			FactId: fact[:], Kind: facts.FactKind_FACT_KIND_ATTEMPT, Epoch: 3, Subject: sub, Content: content(source), Round: round, Upto: round,
			Attempt: try + 1, Outcome: facts.Outcome_OUTCOME_HTTP_STATUS, StatusCode: 500, RequestSent: true,
			StartedMs: sub.GetCreatedMs() + int64(try)*1000, DurationUs: uint32(r.IntN(1e6)), NextRetryMs: sub.GetCreatedMs() + 5000,
			ResponseBody: []byte("busy"), ResponseHeaders: []*facts.Header{{Name: "Server", Value: "x"}, {Name: "Date", Value: "today"}},
		}
		if r.IntN(3) == 0 {
			f.Outcome, f.StatusCode, f.End, f.NextRetryMs = facts.Outcome_OUTCOME_DELIVERED, 200, facts.End_END_DELIVERED, 0
		}
		all = append(all, ledger.AttemptRecord(partition, f))
		if r.IntN(10) == 0 {
			f.Completed = true
			all = append(all, ledger.AttemptRecord(partition, f))
		}
		if f.GetEnd() != 0 {
			break
		}
	}
	return all
}

// gate stands before the engine and may refuse statements.
type gate struct {
	dsn string
	// refuse is asked about each statement that lies in the address, as inserts do.
	refuse atomic.Pointer[func(sql string) bool]
}

func newGate(t testing.TB, dsn string) *gate {
	t.Helper()
	to, err := url.Parse(dsn)
	must(t, err)
	g := &gate{}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: to.Host})
	transport := &http.Transport{}
	proxy.Transport = transport
	proxy.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if f := g.refuse.Load(); f != nil && (*f)(r.URL.Query().Get("query")) {
			panic(http.ErrAbortHandler) // the connection breaks
		}
		proxy.ServeHTTP(rw, r)
	}))
	t.Cleanup(s.Close)
	t.Cleanup(transport.CloseIdleConnections)
	at, err := url.Parse(s.URL)
	must(t, err)
	to.Host = at.Host
	g.dsn = to.String()
	return g
}

func (g *gate) set(refuse func(sql string) bool) { g.refuse.Store(&refuse) }

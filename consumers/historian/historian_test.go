package historian_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"hookledger/consumers/historian"
	"hookledger/deploy/embedded/engine"
	"hookledger/deploy/embedded/engine/enginetest"
	"hookledger/ledger"
	"hookledger/ledger/event"
	"hookledger/ledger/ids"
	"hookledger/projections/history"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// Run twice at once, started again from places, and from the beginning of the
// log: the same rows, byte for byte.
func TestTheSameRowsHoweverOften(t *testing.T) {
	w := newWorld(t)
	w.traffic(1, 30)
	stop := w.run(w.h)
	w.settled()
	want := w.dump()
	for table, rows := range want {
		if len(rows) == 0 {
			t.Errorf("no rows in %s", table)
		}
	}
	must(t, stop())

	stop, other := w.run(w.h), w.run(w.h) // from the places; nothing is new
	w.append(ledger.Record{Topic: ledger.Events, Key: []byte("x"), Value: []byte("sentinel")})
	w.settled()
	must(t, stop())
	must(t, other())
	got := w.dump()
	if len(got["events"]) != len(want["events"])+1 {
		t.Errorf("%d events, want one more than %d", len(got["events"]), len(want["events"]))
	}
	want["events"] = got["events"]
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("run again (-before +after):\n%s", diff)
	}

	w.exec("TRUNCATE TABLE places")
	stop = w.run(w.h)
	w.settled()
	must(t, stop())
	if diff := gocmp.Diff(want, w.dump()); diff != "" {
		t.Errorf("replayed over itself (-before +after):\n%s", diff)
	}

	for _, table := range []string{"places", "attempts", "deliveries", "events", "config_changes", "attempts_hourly"} {
		w.exec("TRUNCATE TABLE " + table)
	}
	stop = w.run(w.h, func(o *historian.Options) { o.MaxRows = 10 }) // in other batches
	w.settled()
	must(t, stop())
	if diff := gocmp.Diff(want, w.dump()); diff != "" {
		t.Errorf("made again from nothing (-before +after):\n%s", diff)
	}
}

// Killed at any statement, it goes on where it was.
func TestKilledBetweenInserts(t *testing.T) {
	w := newWorld(t)
	stop := w.run(w.h)
	w.traffic(1, 25)
	w.settled()
	must(t, stop())
	want := w.dump()

	g := newGate(t, db.Database(t))
	again := &world{TB: t, log: w.log, dsn: strings.Replace(w.dsn, w.dsn[strings.LastIndex(w.dsn, "/"):], g.dsn[strings.LastIndex(g.dsn, "/"):], 1)}
	again.h = w.open(g.dsn)
	for _, table := range []string{"events", "attempts", "deliveries", "places"} {
		// The schema is there from the second life on.
		var hit atomic.Bool
		g.set(func(sql string) bool {
			if strings.Contains(sql, "."+table+" ") && strings.HasPrefix(sql, "INSERT") {
				hit.Store(true)
				return true
			}
			return false
		})
		stop := again.run(again.h, func(o *historian.Options) { o.MaxRows = 20 })
		for deadline := time.Now().Add(20 * time.Second); !hit.Load(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("nothing was inserted into %s", table)
			}
		}
		must(t, stop())
		g.set(func(string) bool { return false })
	}
	stop = again.run(again.h)
	again.settled()
	must(t, stop())
	if diff := gocmp.Diff(want, again.dump()); diff != "" {
		t.Errorf("killed (-straight +killed):\n%s", diff)
	}
}

// What the router writes again under newer subscriptions is dropped, as the
// dispatcher drops it, also by a historian that begins at its place.
func TestRequestsThatAreDroppedAreNotPending(t *testing.T) {
	w := newWorld(t)
	request := func(hook int, offset int64) (ledger.Record, ids.ID) {
		source := &facts.Source{Partition: 1, Offset: offset}
		sub := w.subject(id(hook, 'w'), time.Now().UnixMilli(), source, "evt")
		return w.request(sub, source), ids.ID(sub.GetDeliveryId())
	}
	// Two webhooks of one partition, in order of id.
	a, b := 0, 1
	for w.log.WebhookPartition(idBytes(b)) != w.log.WebhookPartition(idBytes(a)) {
		b++
	}
	if idA, idB := id(a, 'w'), id(b, 'w'); string(idA[:]) > string(idB[:]) {
		a, b = b, a
	}
	first, firstID := request(a, 10)
	second, secondID := request(b, 20)
	w.append(first, second)
	stop := w.run(w.h)
	w.covered()
	must(t, stop())
	late, lateID := request(b, 10) // b subscribed before the router began again
	third, thirdID := request(a, 21)
	w.append(first, late, second, third)
	w.run(w.h)
	w.covered()
	for want, list := range map[bool][]ids.ID{true: {firstID, secondID, thirdID}, false: {lateID}} {
		for _, delivery := range list {
			d, err := w.h.Delivery(t.Context(), "acme", delivery)
			if want && (err != nil || d.Status != history.Pending) {
				t.Errorf("%s: %v", delivery.Text(ids.Delivery), err)
			}
			if !want && !errors.Is(err, history.ErrNotFound) {
				t.Errorf("a dropped request is there: %v", err)
			}
		}
	}
}

func idBytes(hook int) []byte {
	i := id(hook, 'w')
	return i[:]
}

// A log that was trimmed to its end is covered without a record.
func TestTrimmedLogIsCovered(t *testing.T) {
	w := newWorld(t)
	w.append(ledger.Record{Topic: ledger.Attempts, Partition: 1, Value: []byte("x")})
	must(t, w.log.Trim(t.Context(), ledger.Attempts, 1, 1))
	w.run(w.h)
	w.covered()
}

// Places are shown, so that the log below them may be trimmed, only once a power
// cut can't take what they cover from the history.
func TestPlacesAreShownAfterTheSync(t *testing.T) {
	w := newWorld(t)
	asked, works := make(chan struct{}, 64), make(chan struct{})
	w.run(w.h, func(o *historian.Options) {
		o.Sync = func(context.Context) error {
			asked <- struct{}{}
			select {
			case <-works:
				return nil
			default:
				return errors.New("the disk fails")
			}
		}
	})
	shown := func() int64 {
		at, err := w.log.Committed(t.Context(), historian.Group, ledger.Attempts)
		must(t, err)
		return at[0]
	}
	n := int64(0)
	call := func() { // places are shown with a batch, once a second
		t.Helper()
		for called := false; !called; n++ {
			w.append(ledger.Record{Topic: ledger.Attempts, Value: []byte("x")})
			select {
			case <-asked:
				called = true
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
	call()
	call() // comes after all that the first one's failure led to
	if at := shown(); at != 0 {
		t.Errorf("place %d is shown, though the history could not be synced", at)
	}
	close(works)
	want := n
	for deadline := time.Now().Add(30 * time.Second); shown() < want; call() {
		if time.Now().After(deadline) {
			t.Fatal("the place is not shown after the sync works")
		}
	}
}

// A retry by hand changes nothing until the dispatcher says so.
func TestRetryByHand(t *testing.T) {
	w := newWorld(t)
	w.run(w.h)
	source := &facts.Source{Offset: 1}
	sub := w.subject(id(1, 'w'), time.Now().UnixMilli(), source, "evt")
	partition := w.log.WebhookPartition(sub.GetWebhookId())
	delivery := ids.ID(sub.GetDeliveryId())
	fact := func(n int, f *facts.AttemptFact) {
		t.Helper()
		i := id(n, 'a')
		f.FactId, f.Subject, f.Content, f.StartedMs = i[:], sub, content(source), time.Now().UnixMilli()
		w.append(ledger.AttemptRecord(partition, f))
	}
	state := func() *history.Delivery {
		t.Helper()
		w.covered()
		d, err := w.h.Delivery(t.Context(), "acme", delivery)
		must(t, err)
		return d
	}
	at := w.append(w.request(sub, source))[0]
	round := uint64(at.Offset)
	if d := state(); d.Status != history.Pending || d.Attempts != 0 || d.Last != nil {
		t.Errorf("accepted: %+v", d)
	}
	fact(1, &facts.AttemptFact{
		Kind: facts.FactKind_FACT_KIND_ATTEMPT, Round: round, Upto: round, Attempt: 1, Outcome: facts.Outcome_OUTCOME_TIMEOUT,
		Error: "no answer", End: facts.End_END_GIVEN_UP, EndReason: facts.EndReason_END_REASON_EXHAUSTED,
	})
	failed := state()
	if failed.Status != history.Failed || failed.Attempts != 1 || failed.Last.Error != "no answer" || failed.CompletedAt.IsZero() || !failed.Ended() {
		t.Errorf("given up: %+v", failed)
	}
	retry := w.append(w.log.CommandRecord(&facts.DeliveryCommand{Command: &facts.DeliveryCommand_Retry{Retry: &facts.DeliveryRetry{
		Subject: failed.Subject(), Content: failed.Content, Round: failed.Round, Ended: true,
	}}}))[0]
	if d := state(); d.Status != history.Failed || d.Upto != round {
		t.Errorf("asked for: %+v", d)
	}
	second := uint64(retry.Offset)
	fact(2, &facts.AttemptFact{
		Kind: facts.FactKind_FACT_KIND_RETRY_ASKED, Round: second, Upto: second, CommandOffset: second, Attempt: 1, NextRetryMs: time.Now().UnixMilli(),
	})
	if d := state(); d.Status != history.Retrying || d.NextRetryAt.IsZero() || !d.CompletedAt.IsZero() || d.Attempts != 1 || d.Last.Error != "no answer" {
		t.Errorf("reopened: %+v", d)
	}
	fact(3, &facts.AttemptFact{Kind: facts.FactKind_FACT_KIND_RETRY_REFUSED, Round: second, Upto: second + 3, CommandOffset: second + 3, Attempt: 1})
	fact(4, &facts.AttemptFact{
		Kind: facts.FactKind_FACT_KIND_ATTEMPT, Round: second, Upto: second, Attempt: 2, Outcome: facts.Outcome_OUTCOME_DELIVERED, StatusCode: 204,
		End: facts.End_END_DELIVERED,
	})
	d := state()
	if d.Status != history.Delivered || d.Attempts != 2 || d.Last.StatusCode != 204 {
		t.Errorf("delivered: %+v", d)
	}
	all, err := w.h.Attempts(t.Context(), d)
	must(t, err)
	var kinds []facts.FactKind
	for _, a := range all {
		kinds = append(kinds, a.Kind)
	}
	if want := []facts.FactKind{1, 3, 4, 1}; !slices.Equal(kinds, want) {
		t.Errorf("facts of the delivery: %v, want %v", kinds, want)
	}
}

func TestUndecodableRecordsGoToTheDeadLetters(t *testing.T) {
	w := newWorld(t)
	w.run(w.h)
	w.append(
		ledger.Record{Topic: ledger.Attempts, Partition: 1, Value: []byte("no fact")},
		ledger.Record{Topic: ledger.Deliveries, Partition: 0, Value: []byte("no command")},
		ledger.Record{Topic: ledger.DeadLetters, Partition: 0, Value: []byte("no dead letter")},
	)
	e := &event.Event{ID: "evt_after", Account: "acme", Type: "export.ready", CreatedAt: time.Now(), Data: []byte(`{}`)}
	w.append(ledger.Record{Topic: ledger.Events, Partition: w.log.Partition(ledger.Events, e.Key()), Key: e.Key(), Value: e.Data, Headers: e.Headers()})
	w.covered()
	if _, err := w.h.Event(t.Context(), "acme", "evt_after", nil); err != nil {
		t.Errorf("it did not go on: %v", err)
	}
	ends, err := w.log.Ends(t.Context(), ledger.DeadLetters)
	must(t, err)
	if n := ends[0] + ends[1]; n != 3 {
		t.Errorf("%d dead letters, want 3", n)
	}
	var text string
	must(t, enginetest.Open(t, w.dsn).QueryRow(t.Context(), "SELECT error FROM attempts WHERE kind = 'undecodable'").Scan(&text))
	if !strings.Contains(text, "decoded") {
		t.Errorf("reason in the row: %q", text)
	}
}

func TestUndecodableConfigEndsRun(t *testing.T) {
	w := newWorld(t)
	w.append(ledger.Record{Topic: ledger.Config, Partition: 1, Key: []byte("acme"), Value: []byte("no fact")})
	if err := w.failed(w.h); !errors.Is(err, ledger.ErrUndecodable) {
		t.Errorf("Run: %v", err)
	}
}

func TestDamageIsSaid(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*world, ledger.Topic, ids.ID)
		want  error
	}{
		{"beyond the end", func(w *world, topic ledger.Topic, id ids.ID) {
			must(w, w.h.AppendPlaces(w.Context(), []history.Place{{Topic: topic, Partition: 1, Next: 1000, TopicID: id}}))
		}, ledger.ErrBeyondEnd},
		{"below the start", func(w *world, topic ledger.Topic, _ ids.ID) {
			ends, err := w.log.Ends(w.Context(), topic)
			must(w, err)
			w.append(ledger.Record{Topic: topic, Partition: 1, Value: []byte("x")}, ledger.Record{Topic: topic, Partition: 1, Value: []byte("x")})
			must(w, w.log.Trim(w.Context(), topic, 1, ends[1]+2))
		}, ledger.ErrBelowStart},
		{"another topic", func(w *world, topic ledger.Topic, _ ids.ID) {
			ends, err := w.log.Ends(w.Context(), topic)
			must(w, err)
			w.append(ledger.Record{Topic: topic, Partition: 1, Value: []byte("x")})
			must(w, w.h.AppendPlaces(w.Context(), []history.Place{{Topic: topic, Partition: 1, Next: ends[1] + 1, TopicID: ids.ID{1}}}))
		}, historian.ErrOtherTopic},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			stop := w.run(w.h)
			w.append(ledger.Record{Topic: ledger.Events, Partition: 1, Value: []byte("x")})
			w.covered()
			must(t, stop())
			id, err := w.log.TopicID(t.Context(), ledger.Events)
			must(t, err)
			c.spoil(w, ledger.Events, id)
			err = w.failed(w.h)
			var damage *historian.DamageError
			if !errors.As(err, &damage) || !errors.Is(err, c.want) || damage.Topic != ledger.Events || damage.Partition != 1 {
				t.Errorf("Run: %v, want %v", err, c.want)
			}
		})
	}
}

// The engine dies under it; what was acknowledged by the log comes through.
func TestClickHouseRestarts(t *testing.T) {
	e := enginetest.Start(t, t.TempDir())
	w := newWorldAt(t, e.DSNTo(engine.UserService, "hookledger"))
	w.run(w.h)
	for round := range 3 {
		w.traffic(uint64(round), 20)
		if pid := e.PID(); pid != 0 {
			must(t, syscall.Kill(pid, syscall.SIGKILL))
		}
		w.traffic(uint64(round+10), 20)
	}
	w.settled()
	for table, rows := range w.dump() {
		if len(rows) == 0 {
			t.Errorf("no rows in %s", table)
		}
	}
}

// While ClickHouse is away the historian waits, holds one batch, and says so.
func TestClickHouseAway(t *testing.T) {
	w := newWorld(t)
	g := newGate(t, w.dsn)
	var away atomic.Bool
	var tried atomic.Int64
	g.set(func(string) bool {
		if away.Load() {
			tried.Add(1)
		}
		return away.Load()
	})
	hist, err := historian.New(historian.Options{Log: w.log, History: w.open(g.dsn), MaxBackoff: 100 * time.Millisecond})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- hist.Run(ctx) }()
	ready := func(want bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); (hist.Ready() == nil) != want; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("ready is not %v: %v", want, hist.Ready())
			}
		}
	}
	w.traffic(1, 5)
	w.covered()
	ready(true)
	away.Store(true)
	w.traffic(2, 5)
	for deadline := time.Now().Add(20 * time.Second); tried.Load() < 3; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not try")
		}
	}
	ready(false)
	away.Store(false)
	w.covered()
	ready(true)
	cancel()
	must(t, <-done)
}

// On an idle machine what was acknowledged is visible within a second.
func TestVisibleWithinASecond(t *testing.T) {
	w := newWorld(t)
	w.run(w.h)
	w.traffic(1, 1)
	w.settled()
	var took []time.Duration
	for i := range 6 {
		w.traffic(uint64(i+2), 1)
		began := time.Now()
		w.covered()
		took = append(took, time.Since(began))
		time.Sleep(1100 * time.Millisecond) // idle, and not a condition to wait for
	}
	slices.Sort(took)
	t.Logf("visible after p50 %v, most %v", took[len(took)/2], took[len(took)-1])
	if p50 := took[len(took)/2]; p50 > time.Second {
		t.Errorf("half of all was visible only after %v", p50)
	}
}

package history_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"hookledger/deploy/embedded/engine/enginetest"
	"hookledger/ledger"
	"hookledger/ledger/ids"
	"hookledger/projections/history"
)

func place(next int64) []history.Place {
	return []history.Place{{Topic: ledger.Attempts, Partition: 0, Next: next, TopicID: ids.ID{1}}}
}

// Questions go to the history that is live, but not before it has what the one before has.
func TestQuestionsGoOver(t *testing.T) {
	h := open(t)
	must(t, h.AppendPlaces(t.Context(), place(10)))
	lease, err := h.Acquire(t.Context())
	must(t, err)
	made, g, err := lease.Begin(t.Context(), "test")
	must(t, err)
	must(t, made.AppendPlaces(t.Context(), place(9)))
	must(t, lease.GoLive(t.Context(), g, "test"))

	ctx, cancel := context.WithCancel(t.Context())
	followed := make(chan error, 1)
	go func() { followed <- h.Follow(ctx, nil) }()
	covered := func() int64 {
		t.Helper()
		c, err := h.Covered(t.Context(), ledger.Attempts)
		must(t, err)
		return c[0]
	}
	// A node that starts now begins at the old one.
	fresh, err := history.Open(history.Options{DSN: db.Engine(t).DSNTo("service", h.Home())})
	must(t, err)
	defer fresh.Close()
	if c, err := fresh.Covered(t.Context(), ledger.Attempts); err != nil || c[0] != 10 || fresh.Database() != h.Home() {
		t.Errorf("a fresh node asks %s: %v, %v", fresh.Database(), c, err)
	}
	must(t, made.AppendPlaces(t.Context(), place(11)))
	for deadline := time.Now().Add(20 * time.Second); covered() != 11; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("questions still go to %s", h.Database())
		}
	}
	if h.Database() != g.Database {
		t.Errorf("questions go to %s", h.Database())
	}
	cancel()
	must(t, <-followed)

	// Who slept while the old one was dropped finds the live one.
	old, half, err := h.Leftovers(t.Context())
	must(t, err)
	if len(old) != 1 || old[0].Database != h.Home() || len(half) != 0 {
		t.Fatalf("left over: %v, %v", old, half)
	}
	if err := lease.Drop(t.Context(), g, "test"); err == nil || !strings.Contains(err.Error(), "live") {
		t.Errorf("dropping the live one: %v", err)
	}
	must(t, lease.Drop(t.Context(), old[0], "test"))
	if c, err := fresh.Covered(t.Context(), ledger.Attempts); err != nil || c[0] != 11 {
		t.Errorf("after the drop: %v, %v", c, err)
	}
}

// One at a time; what runs out is taken over, and then decides nothing more.
func TestLease(t *testing.T) {
	h := open(t)
	first, err := h.Acquire(t.Context())
	must(t, err)
	kept, stop := context.WithCancel(t.Context())
	lost := make(chan error, 1)
	go func() { lost <- first.Keep(kept) }()
	if _, err := h.Acquire(t.Context()); !errors.Is(err, history.ErrRebuilding) {
		t.Errorf("a second one: %v", err)
	}
	_, g, err := first.Begin(t.Context(), "test")
	must(t, err)
	stop()
	must(t, <-lost)

	conn := enginetest.Open(t, db.Engine(t).DSNTo("service", h.Home()))
	must(t, conn.Exec(t.Context(), "INSERT INTO rebuild_lease (token, holder, until) SELECT token, holder, now64(3) - 1 FROM rebuild_lease FINAL"))
	second, err := h.Acquire(t.Context())
	must(t, err)
	if err := first.GoLive(t.Context(), g, "test"); !errors.Is(err, history.ErrLeaseLost) {
		t.Errorf("going live on a lease that ran out: %v", err)
	}
	if err := first.Keep(t.Context()); !errors.Is(err, history.ErrLeaseLost) {
		t.Errorf("keeping a lease that ran out: %v", err)
	}
	all, err := h.Generations(t.Context())
	must(t, err)
	if live := history.LiveOf(all); live.Database != h.Home() {
		t.Errorf("live is %s", live.Database)
	}
	must(t, second.Drop(t.Context(), g, "test"))
	must(t, second.Release(t.Context()))
	third, err := h.Acquire(t.Context())
	must(t, err)
	must(t, third.Release(t.Context()))
}

// What is hashed here is what ClickHouse hashes, whatever bytes there are.
func TestRowsHashAlike(t *testing.T) {
	h := open(t)
	r := rand.New(rand.NewPCG(5, 6))
	odd := func() string {
		b := make([]byte, r.IntN(12))
		for i := range b {
			b[i] = []byte("ab:,'\\\x00\xff\n9")[r.IntN(10)]
		}
		return string(b)
	}
	raw := func() (i ids.ID) {
		for n := range r.IntN(17) { // zeros at the end, too
			i[n] = byte(r.IntN(256))
		}
		return i
	}
	var b history.Batch
	hash := history.NewRowHasher()
	want := make(map[history.Table]map[history.OffsetBucket]history.Sum)
	add := func(t history.Table, off uint64, hash uint64) {
		if want[t] == nil {
			want[t] = make(map[history.OffsetBucket]history.Sum)
		}
		at := history.BucketOf(1, int64(off))
		s := want[t][at]
		want[t][at] = history.Sum{Rows: s.Rows + 1, Offsets: s.Offsets + 1, Hashes: s.Hashes + hash}
	}
	for i := range 200 {
		off := uint64(i * 1000)
		at := noon.Add(-time.Duration(r.IntN(1e6)) * time.Second).UnixMilli()
		a := history.AttemptRow{
			Account: odd(), Webhook: raw(), Delivery: raw(), EventID: odd(), EventType: odd(), AttemptID: raw(), Kind: int8(r.IntN(6)),
			Attempt: r.Uint32(), Outcome: int8(r.IntN(12)), StatusCode: uint16(r.IntN(600)), RequestSent: i%2 == 0, MaybeRepeat: i%3 == 0, URL: odd(),
			WebhookVersion: r.Uint64(), StartedMs: at, DurationUs: r.Uint32(), Headers: odd(), Body: []byte(odd()), Truncated: i%5 == 0, Cut: i%7 == 0,
			Error: odd(), Round: r.Uint64(), End: int8(r.IntN(4)), EndReason: int8(r.IntN(5)), NextRetryMs: at, RoundStartedMs: 0, Upto: r.Uint64(),
			Epoch: r.Uint64(), CommandOffset: r.Uint64(), Completed: i%2 == 1, Actor: odd(), RequestID: odd(), Part: 1, Off: off, RecordLagMs: -r.Int64N(1e6), RecordHash: r.Uint64(),
		}
		e := history.EventRow{
			Account: odd(), EventKey: raw(), EventID: odd(), EventType: odd(), IndexID: odd(), OrderingKey: odd(), EventSource: odd(), CreatedMs: at, Fresh: i%2 == 0,
			Data: []byte(odd()), Status: history.EventStatus(1 + r.IntN(3)), Reason: odd(), Part: 1, Off: off, RecordMs: at, RecordHash: r.Uint64(), Ver: uint8(r.IntN(2)),
		}
		c := history.ConfigRow{
			Account: odd(), SubjectID: odd(), Change: []int8{10, 14, 31}[r.IntN(3)], Verdict: int8(1 + r.IntN(8)), FactID: raw(), Rules: r.Uint32(), ActorKind: int8(r.IntN(5)),
			ActorID: odd(), RequestID: odd(), AtMs: at, ExpectedVersion: r.Uint64(), Version: r.Uint64(), Fields: slices.Repeat([]string{odd()}, r.IntN(3)), State: odd(),
			Metadata: []byte(odd()), Part: 1, Off: off, RecordMs: at, RecordHash: r.Uint64(),
		}
		b.Attempts, b.Events, b.Changes = append(b.Attempts, a), append(b.Events, e), append(b.Changes, c)
		add(history.TableAttempts, off, hash.Attempt(&a))
		add(history.TableEvents, off, hash.Event(&e))
		add(history.TableConfig, off, hash.Change(&c))
	}
	insert(t, h, &b)
	for table, sums := range want {
		got, err := h.Sums(t.Context(), table, []history.Range{{Partition: 1, First: 0, End: 1 << 40}})
		must(t, err)
		if fmt.Sprint(got) != fmt.Sprint(sums) {
			t.Errorf("%s: ClickHouse adds up to\n%v, want\n%v", table, got, sums)
		}
	}
}

// The version of a state is the one that ClickHouse computes.
func TestVersionsAreAlike(t *testing.T) {
	h := open(t)
	r := rand.New(rand.NewPCG(7, 8))
	var b history.Batch
	want := make(map[ids.ID]history.DeliveryRow)
	for i := range 200 {
		hook := webhook(i)
		d := history.DeliveryRow{
			Account: "a", Webhook: hook, Delivery: ids.ForDelivery(noon.UnixMilli(), 0, int64(i), hook), Status: history.Pending, CreatedMs: noon.UnixMilli(),
			Round: r.Uint64N(1 << 48), End: int8(r.IntN(4)), Attempt: r.Uint32(), Upto: r.Uint64N(1 << 48), Epoch: r.Uint64N(1 << 48),
			IsFact: i%2 == 0, Completed: i%3 == 0, Part: 1, Off: r.Uint64N(1 << 48),
		}
		want[d.Delivery] = d
		b.Deliveries = append(b.Deliveries, d)
	}
	insert(t, h, &b)
	hash := history.NewRowHasher()
	seen := 0
	for n := range uint32(3) {
		must(t, h.States(t.Context(), 1, history.Slice{Number: n, Of: 3}, func(s history.State) {
			seen++
			d := want[s.Delivery]
			if s.Version != d.Version() || s.Hash != hash.Delivery(&d) || s.Offset != int64(d.Off) || s.IsFact != d.IsFact || !(history.Slice{Number: n, Of: 3}).Has(s.Delivery) {
				t.Errorf("%+v, want %v of %+v", s, d.Version(), d)
			}
		}))
	}
	if seen != len(want) {
		t.Errorf("%d states, want %d", seen, len(want))
	}
}

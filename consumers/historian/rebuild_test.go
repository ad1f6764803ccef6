package historian_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"hookledger/consumers/rebuilder"
	"hookledger/ledger"
	"hookledger/ledger/ids"
	"hookledger/projections/history"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// rebuild makes the world's history again.
func (w *world) rebuild(change ...func(*rebuilder.Options)) (*rebuilder.Result, error) {
	w.Helper()
	o := rebuilder.Options{Log: w.log, History: w.h, Program: "test", Grace: 100 * time.Millisecond}
	for _, c := range change {
		c(&o)
	}
	result, err := rebuilder.New(o).Run(w.Context())
	if result != nil && result.Report != nil && !result.Report.Equal() {
		w.Logf("the new history differs:\n%s", strings.Join(said(result.Report, true), "\n"))
	}
	return result, err
}

// at is the world over another database of its history.
func (w *world) at(database string) *world {
	w.Helper()
	other := *w
	other.dsn = w.dsn[:strings.LastIndex(w.dsn, "/")+1] + database
	other.h = w.h.At(database)
	return &other
}

// live is the world over its live database.
func (w *world) live() *world {
	w.Helper()
	_, g, err := w.h.Live(w.Context())
	must(w, err)
	return w.at(g.Database)
}

// waits appends a delivery that waits for its first try.
func (w *world) waits(hook int, source *facts.Source) ids.ID {
	w.Helper()
	sub := w.subject(id(hook, 'w'), time.Now().UnixMilli(), source, "evt_waits")
	w.append(w.request(sub, source))
	return ids.ID(sub.GetDeliveryId())
}

// trimRequests does what a dispatcher does: what has no fact yet waits in lanes,
// and deliveries is trimmed. The last few stay, among them what was written twice.
func (w *world) trimRequests() {
	w.Helper()
	for p, end := range w.ends(ledger.Deliveries) {
		for off := range end {
			r, err := w.log.ReadAt(w.Context(), ledger.Deliveries, p, off)
			must(w, err)
			c, err := ledger.DecodeCommand(r.Value)
			must(w, err)
			sub := c.GetRequest().GetSubject()
			d, err := w.h.Delivery(w.Context(), "acme", ids.ID(sub.GetDeliveryId()))
			if errors.Is(err, history.ErrNotFound) || err == nil && d.Round != uint64(off) { // dropped
				continue
			}
			must(w, err)
			if d.Status != history.Pending {
				continue
			}
			key := id(int(p)*1_000_000+int(off), 'l')
			w.append(ledger.LaneRecord(p, &facts.LaneRecord{Key: key[:], Epoch: 1, Record: &facts.LaneRecord_Waiting{Waiting: &facts.Waiting{
				Subject: sub, Content: c.GetRequest().GetContent(), Round: uint64(off), Order: uint64(off), Upto: uint64(off), Reason: facts.WaitReason_WAIT_REASON_HELD,
			}}}))
		}
		must(w, w.log.Trim(w.Context(), ledger.Deliveries, p, end-3))
	}
}

// Made again from a log that was trimmed, as it always is, the history is the
// same, row by row: what waits in lanes, and what the router wrote twice, too.
func TestRebuildIsTheSame(t *testing.T) {
	w := newWorld(t)
	w.run(w.h)
	w.traffic(1, 25)
	w.oddities()
	late := w.droppedRequest()
	waiting := w.waits(2, &facts.Source{Partition: 1, Offset: 7000})
	w.settled()
	w.trimRequests()
	must(t, w.log.Trim(t.Context(), ledger.Events, 0, 7))
	must(t, w.log.Trim(t.Context(), ledger.Attempts, 1, 11))
	want := w.dump()
	result, err := w.rebuild()
	must(t, err)
	if result.Before != w.h.Home() || result.Database == w.h.Home() || len(result.Kept) != 1 {
		t.Errorf("%+v", result)
	}
	var rows []uint64
	for _, c := range result.Carried {
		rows = append(rows, c.Rows)
	}
	slices.Sort(rows)
	if !slices.Equal(rows, []uint64{7, 11}) {
		t.Errorf("carried over: %+v", result.Carried)
	}
	if diff := gocmp.Diff(want, w.live().dump()); diff != "" {
		t.Errorf("made again (-before +after):\n%s", diff)
	}
	if d, err := w.h.At(result.Database).Delivery(t.Context(), "acme", waiting); err != nil || d.Status != history.Pending {
		t.Errorf("what waits: %v", err)
	}
	if _, err := w.h.At(result.Database).Delivery(t.Context(), "acme", late); !errors.Is(err, history.ErrNotFound) {
		t.Errorf("a dropped request is there: %v", err)
	}

	// The historian has gone over: what comes now is in the new history, and a
	// second rebuild removes the first.
	w.goneOver(result.Database)
	w.traffic(7, 10)
	w.live().settled()
	w.equal(w.verify())
	again, err := w.rebuild(func(o *rebuilder.Options) { o.DropOld = true })
	must(t, err)
	if again.Before != result.Database || len(again.Kept) != 0 {
		t.Errorf("%+v", again)
	}
	w.goneOver(again.Database)
	w.traffic(8, 10)
	w.live().settled()
	w.equal(w.verify())
}

// droppedRequest appends what TestRequestsThatAreDroppedAreNotPending is about,
// with the facts of what was delivered: one request of them is to be dropped.
func (w *world) droppedRequest() (dropped ids.ID) {
	w.Helper()
	a, b := 0, 1
	for w.log.WebhookPartition(idBytes(b)) != w.log.WebhookPartition(idBytes(a)) {
		b++
	}
	if string(idBytes(a)) > string(idBytes(b)) {
		a, b = b, a
	}
	request := func(hook int, offset int64) (ledger.Record, *facts.Subject) {
		source := &facts.Source{Partition: 1, Offset: offset}
		sub := w.subject(id(hook, 'w'), time.Now().UnixMilli(), source, "evt_dropped")
		return w.request(sub, source), sub
	}
	first, firstSub := request(a, 6000)
	second, secondSub := request(b, 6001)
	for i, r := range w.append(first, second) {
		sub := []*facts.Subject{firstSub, secondSub}[i]
		n := id(9_000_000+i, 'a')
		w.append(ledger.AttemptRecord(r.Partition, &facts.AttemptFact{
			FactId: n[:], Kind: facts.FactKind_FACT_KIND_ATTEMPT, Subject: sub, Content: content(&facts.Source{Partition: 1, Offset: 6000 + int64(i)}),
			Round: uint64(r.Offset), Upto: uint64(r.Offset), Attempt: 1, Outcome: facts.Outcome_OUTCOME_DELIVERED, StatusCode: 200,
			End: facts.End_END_DELIVERED, StartedMs: time.Now().UnixMilli(),
		}))
	}
	late, lateSub := request(b, 6000) // b subscribed before the router began again
	w.append(first, late, second)
	return ids.ID(lateSub.GetDeliveryId())
}

// goneOver waits until the historian has gone over: a record that comes now has
// its place in the new history, and questions are asked there.
func (w *world) goneOver(database string) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 30*time.Second)
	defer cancel()
	w.append(ledger.Record{Topic: ledger.Events, Partition: 0, Value: []byte("sentinel")})
	must(w, w.h.At(database).WaitCovered(ctx, ledger.Events, w.ends(ledger.Events)))
}

// Abandoned at any step it leaves one live history, and the next run goes through.
func TestRebuildAbandoned(t *testing.T) {
	w := newWorld(t)
	stop := w.run(w.h)
	w.traffic(1, 6)
	w.settled()
	want := w.dump()
	must(t, stop())
	for _, at := range []rebuilder.Step{rebuilder.StepFill, rebuilder.StepVerify, rebuilder.StepSwitch, rebuilder.StepViews} {
		before := w.live().dsn
		_, err := w.rebuild(func(o *rebuilder.Options) {
			o.Step = func(s rebuilder.Step) error {
				if s == at {
					return rebuilder.ErrAbandoned
				}
				return nil
			}
		})
		if !errors.Is(err, rebuilder.ErrAbandoned) {
			t.Fatalf("abandoned at %q: %v", at, err)
		}
		if switched := w.live().dsn != before; switched != (at == rebuilder.StepViews) {
			t.Errorf("abandoned at %q: switched %v", at, switched)
		}
		if diff := gocmp.Diff(want, w.live().dump()); diff != "" {
			t.Errorf("abandoned at %q (-before +after):\n%s", at, diff)
		}
		w.exec("TRUNCATE TABLE IF EXISTS " + w.h.Home() + ".rebuild_lease") // as if its time had run out
	}
	result, err := w.rebuild(func(o *rebuilder.Options) { o.DropOld = true })
	must(t, err)
	if len(result.Kept) != 0 {
		t.Errorf("kept %v", result.Kept)
	}
	if diff := gocmp.Diff(want, w.live().dump()); diff != "" {
		t.Errorf("in the end (-before +after):\n%s", diff)
	}
	var databases []string
	w.row("SELECT groupArray(name) FROM system.databases WHERE startsWith(name, '"+w.h.Home()+"_')", &databases)
	if !slices.Equal(databases, []string{result.Database}) {
		t.Errorf("databases: %v", databases)
	}
}

func TestTwoRebuilds(t *testing.T) {
	w := newWorld(t)
	w.run(w.h)
	w.traffic(1, 5)
	w.settled()
	_, err := w.rebuild(func(o *rebuilder.Options) {
		o.Step = func(s rebuilder.Step) error {
			if s != rebuilder.StepVerify {
				return nil
			}
			if _, err := w.rebuild(); !errors.Is(err, history.ErrRebuilding) {
				t.Errorf("a second rebuild: %v", err)
			}
			return nil
		}
	})
	must(t, err)
	w.equal(w.verify())
}

// What the new history lacks keeps it from going live: here somebody takes a row away.
func TestRebuildThatDiffers(t *testing.T) {
	w := newWorld(t)
	w.run(w.h)
	w.traffic(1, 20)
	w.settled()
	result, err := w.rebuild(func(o *rebuilder.Options) {
		o.Step = func(s rebuilder.Step) error {
			if s == rebuilder.StepVerify {
				w.at(w.h.Home() + "_2").exec("ALTER TABLE events DELETE WHERE part = 0 AND off = 1" + sync)
			}
			return nil
		}
	})
	if !errors.Is(err, rebuilder.ErrDifferent) || result.Report.Different() != 1 {
		t.Errorf("%v: %+v", err, result.Report)
	}
	if live := w.live(); live.dsn != w.dsn {
		t.Errorf("live is %s", live.dsn)
	}
}

// Beside traffic: nothing is missing, and who reads never reads less than before.
func TestRebuildBesideTraffic(t *testing.T) {
	w := newWorld(t)
	w.run(w.h)
	w.traffic(1, 20)
	w.settled()
	ctx, cancel := context.WithCancel(t.Context())
	followed := make(chan error, 1)
	go func() { followed <- w.h.Follow(ctx, nil) }()
	worked := make(chan struct{})
	go func() {
		defer close(worked)
		for i := 0; ctx.Err() == nil; i++ {
			w.traffic(uint64(i+2), 10)
			if ends := w.ends(ledger.Attempts); w.h.WaitCovered(ctx, ledger.Attempts, ends) != nil {
				return
			}
		}
	}()
	watched := make(chan struct{})
	go func() { // what is covered never falls
		defer close(watched)
		seen := make(map[int32]int64)
		for ctx.Err() == nil {
			covered, err := w.h.Covered(ctx, ledger.Attempts)
			if err != nil {
				if ctx.Err() == nil {
					t.Errorf("covered: %v", err)
				}
				return
			}
			for p, next := range covered {
				if next < seen[p] {
					t.Errorf("attempts/%d were covered to %d, then to %d in %s", p, seen[p], next, w.h.Database())
				}
				seen[p] = next
			}
		}
	}()
	result, err := w.rebuild()
	must(t, err)
	for deadline := time.Now().Add(30 * time.Second); w.h.Database() != result.Database; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("questions did not go over")
		}
	}
	cancel()
	<-worked
	<-watched
	must(t, <-followed)
	w.live().settled()
	w.equal(w.verify())
}

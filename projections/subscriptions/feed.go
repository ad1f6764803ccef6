package subscriptions

import (
	"sync"

	"hookledger/ledger/ids"
)

// Change names a webhook that was created, changed or deleted.
type Change struct {
	Account string
	ID      ids.ID
}

// Feed says which webhooks have changed. Changes of one webhook are one until
// taken, so that a slow reader costs at most one entry for each webhook. What
// was applied before a Barrier or WaitApplied returned is in the next Take.
type Feed struct {
	// C has a value when there is something to take.
	C <-chan struct{}

	mu      sync.Mutex
	wake    chan struct{}
	changed map[ids.ID]string
}

func newFeed() *Feed {
	wake := make(chan struct{}, 1)
	return &Feed{C: wake, wake: wake, changed: make(map[ids.ID]string)}
}

// Take returns the webhooks that have changed since the last Take, in no
// particular order; ask the fold for their state.
func (f *Feed) Take() []Change {
	f.mu.Lock()
	defer f.mu.Unlock()
	taken := make([]Change, 0, len(f.changed))
	for id, account := range f.changed {
		taken = append(taken, Change{account, id})
	}
	clear(f.changed)
	return taken
}

func (f *Feed) mark(c Change) {
	f.mu.Lock()
	f.changed[c.ID] = c.Account
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// Changes makes a feed of what is applied from now on. Close it with Unwatch.
func (s *Subscriptions) Changes() *Feed {
	f := newFeed()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.feeds[f] = struct{}{}
	return f
}

// Unwatch ends a feed.
func (s *Subscriptions) Unwatch(f *Feed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.feeds, f)
}

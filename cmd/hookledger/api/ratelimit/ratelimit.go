// Package ratelimit counts what callers ask for against quotas: a token bucket for
// each name, in bounded memory.
//
// It promises that over any time t a name gets at most Quota + t*Quota/Window
// units, that one name never costs another anything, and that a refusal takes
// nothing and says after how long the same question is answered with yes, if
// nobody else asks meanwhile. It never waits, starts no goroutine, and writes
// nothing down: quotas are per process and begin whole at a start.
//
// A bucket is one number, the time at which it is full again (GCRA, the generic
// cell rate algorithm of ATM Forum TM 4.0). A full bucket is the same as none, so
// forgetting one that was not asked for a Window loses nothing. That is what bounds
// the memory honestly: Size buckets are kept, the least recently asked goes, and it
// is a way around a quota only where more than Size names ask within one Window. Give
// more than the process can answer in that time where names can't be made up
// (accounts, keys); where they can (addresses), whoever has so many fresh ones gets more
// from them than from the forgotten.
//
// Our own and not golang.org/x/time/rate: that has no remaining and no time until
// full for the headers, can't take back, and is 100 bytes a name beside the map.
package ratelimit

import (
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Limit is a quota: so many units in a window, all of which may come at once.
type Limit struct {
	Quota  int
	Window time.Duration
}

// State is what a limit says to one question.
type State struct {
	Limit
	// OK says that the units were taken.
	OK bool
	// Remaining is how many units could be taken now.
	Remaining int
	// Reset is when the quota is whole again if nothing is taken.
	Reset time.Duration
	// RetryAfter, if not OK, is when the question is worth asking again.
	RetryAfter time.Duration
}

// Nearer says whether s leaves less than another of its quota: the one to tell of when several hold.
func (s State) Nearer(other State) bool {
	return s.OK != other.OK && !s.OK ||
		s.OK == other.OK && float64(s.Remaining)*float64(other.Quota) < float64(other.Remaining)*float64(s.Quota)
}

// Buckets are the buckets of one limit by name. Its methods may be called by any number of goroutines.
type Buckets struct {
	limit Limit
	now   func() time.Time
	began time.Time

	mu   sync.Mutex
	full *simplelru.LRU[string, time.Duration] // when a name's bucket is full again, since began
}

// New returns buckets for at most size names. A limit without Quota is an error: have no buckets then.
func New(l Limit, size int, now func() time.Time) (*Buckets, error) {
	if l.Quota < 1 || l.Window <= 0 {
		return nil, fmt.Errorf("a limit of %d in %s limits nothing that could pass", l.Quota, l.Window)
	}
	full, err := simplelru.NewLRU[string, time.Duration](size, nil)
	if err != nil {
		return nil, fmt.Errorf("make the buckets of a limit: %w", err)
	}
	return &Buckets{limit: l, now: now, began: now(), full: full}, nil
}

// Take takes n units of a name, or none if there are fewer. More than the quota
// are never there: n is held to it, so that a large question waits for a full bucket
// and not for ever.
func (b *Buckets) Take(name string, n int) State {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now().Sub(b.began) // the monotonic clock
	full, known := b.full.Get(name)
	full = max(full, now)
	cost := b.cost(min(n, b.limit.Quota))
	if wait := full + cost - now - b.limit.Window; wait > 0 {
		s := b.state(full, now)
		s.OK, s.RetryAfter = false, wait
		return s
	}
	if full += cost; cost > 0 || known {
		b.full.Add(name, full)
	}
	return b.state(full, now)
}

// Wait is how long it takes until a unit of a name could be taken, 0 if one could be now. It takes nothing.
func (b *Buckets) Wait(name string) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	full, ok := b.full.Peek(name)
	if !ok {
		return 0
	}
	return max(0, full+b.cost(1)-b.now().Sub(b.began)-b.limit.Window)
}

// Return gives back n units that were taken and not used.
func (b *Buckets) Return(name string, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if full, ok := b.full.Peek(name); ok {
		b.full.Add(name, full-b.cost(min(n, b.limit.Quota)))
	}
}

// Len is how many buckets are kept.
func (b *Buckets) Len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.full.Len()
}

// cost is how much later n units make a bucket full. It is rounded down, so that a
// whole quota always fits a window.
func (b *Buckets) cost(n int) time.Duration {
	return time.Duration(float64(b.limit.Window) * float64(n) / float64(b.limit.Quota))
}

func (b *Buckets) state(full, now time.Duration) State {
	reset := full - now
	left := float64(b.limit.Window-reset) * float64(b.limit.Quota) / float64(b.limit.Window)
	return State{Limit: b.limit, OK: true, Reset: reset, Remaining: max(0, int(math.Floor(left+1e-6)))}
}

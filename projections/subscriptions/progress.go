package subscriptions

import (
	"context"
	"sync"
)

// progress is how far the fold has come, and who waits for it.
type progress struct {
	mu      sync.Mutex
	next    []int64
	changed chan struct{} // closed and replaced at every step
	// stopped is why there will be no further step.
	stopped error
}

func newProgress(partitions int32) *progress {
	return &progress{next: make([]int64, partitions), changed: make(chan struct{})}
}

func (p *progress) advance(partition int32, next int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next[partition] = next
	p.wake()
}

// stop ends all waiting, now and later, with err. The first reason stands.
func (p *progress) stop(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped == nil {
		p.stopped = err
		p.wake()
	}
}

func (p *progress) wake() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// positions is a copy of the next offsets.
func (p *progress) positions() []int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]int64(nil), p.next...)
}

// state is a channel that closes at the next step, and why there will be none.
func (p *progress) state() (<-chan struct{}, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed, p.stopped
}

// wait returns when everything below ends has been applied.
func (p *progress) wait(ctx context.Context, ends map[int32]int64) error {
	for {
		p.mu.Lock()
		there, stopped, changed := p.reached(ends), p.stopped, p.changed
		p.mu.Unlock()
		switch {
		case stopped != nil:
			return stopped
		case there:
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (p *progress) reached(ends map[int32]int64) bool {
	for partition, end := range ends {
		if partition < 0 || int(partition) >= len(p.next) || p.next[partition] < end {
			return false
		}
	}
	return true
}

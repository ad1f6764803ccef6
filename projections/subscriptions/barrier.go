package subscriptions

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// BarrierTimeout is how long Barrier tries.
const BarrierTimeout = time.Second

// barrierPause is between a question that failed at once and the next.
const barrierPause = 20 * time.Millisecond

// questionGap is the least time between the beginnings of two questions.
const questionGap = time.Millisecond

// ErrNotCurrent is returned when a node can't know that it has applied all of
// `config`: nothing may be judged then. The API answers 503.
var ErrNotCurrent = errors.New("the subscriptions are not known to be current")

// question is one asking of the leaders for the end offsets. Who arrives while
// one is under way waits for the next: the answer may be older than what
// the caller must see.
type question struct {
	done chan struct{}
	ends map[int32]int64
	err  error
}

// questions shares questions among all that wait.
type questions struct {
	mu      sync.Mutex
	pending *question // not asked yet
	wake    chan struct{}
}

func newQuestions() *questions { return &questions{wake: make(chan struct{}, 1)} }

// join returns the next question to be asked.
func (q *questions) join() *question {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.pending == nil {
		q.pending = &question{done: make(chan struct{})}
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
	return q.pending
}

func (q *questions) take() *question {
	q.mu.Lock()
	defer q.mu.Unlock()
	taken := q.pending
	q.pending = nil
	return taken
}

// run asks, one question after another, until ctx ends.
func (q *questions) run(ctx context.Context, ask func(context.Context) (map[int32]int64, error)) {
	var asked time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-q.wake:
		}
		// Who comes within the gap shares the next question: under load they are
		// most of what the broker is asked.
		if gap := questionGap - time.Since(asked); gap > 0 {
			select {
			case <-ctx.Done():
				return
			case <-time.After(gap):
			}
		}
		now := q.take()
		if now == nil {
			continue
		}
		asked = time.Now()
		asking, cancel := context.WithTimeout(ctx, BarrierTimeout)
		now.ends, now.err = ask(asking)
		cancel()
		close(now.done)
	}
}

// Barrier returns when this node has applied everything that was in `config`
// when it was called: what was acknowledged anywhere before, is seen after. All
// callers share one question to the leaders at a time. If that does not succeed
// within [BarrierTimeout], or Run is not running, the error is ErrNotCurrent.
func (s *Subscriptions) Barrier(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, BarrierTimeout)
	defer cancel()
	var last error
	for {
		err := s.cross(limited)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if _, stopped := s.progress.state(); stopped != nil {
			return fmt.Errorf("%w: %w", ErrNotCurrent, stopped)
		}
		if !errors.Is(err, context.DeadlineExceeded) || last == nil {
			last = err
		}
		select {
		case <-limited.Done():
			return fmt.Errorf("%w within %v: %w", ErrNotCurrent, BarrierTimeout, last)
		case <-time.After(barrierPause):
		}
	}
}

// cross is one try of the barrier.
func (s *Subscriptions) cross(ctx context.Context) error {
	q := s.questions.join()
	changed, stopped := s.progress.state()
	for stopped == nil {
		select {
		case <-q.done:
			if q.err != nil {
				return q.err
			}
			return s.progress.wait(ctx, q.ends)
		case <-changed: // perhaps it was the stop
			changed, stopped = s.progress.state()
		case <-ctx.Done():
			return fmt.Errorf("wait for the end offsets of config: %w", ctx.Err())
		}
	}
	return stopped
}

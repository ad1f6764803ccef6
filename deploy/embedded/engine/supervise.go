package engine

import (
	"context"
	"errors"
	"time"
)

// A child that dies is started again after minBackoff, and twice as long each
// time that it dies again before it lived for steady.
const (
	minBackoff = 50 * time.Millisecond
	maxBackoff = 10 * time.Second
	steady     = time.Minute
)

// Run starts the child again whenever it dies, until ctx ends; then it ends the
// child and returns nil.
func (e *Engine) Run(ctx context.Context) error {
	defer e.Close()
	backoff := minBackoff
	for {
		began := time.Now()
		c := e.current()
		if c == nil {
			return errors.New("the engine was closed")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-c.exited:
		}
		e.setDown(c.err)
		if time.Since(began) > steady {
			backoff = minBackoff
		}
		e.o.Logger.Error("engine died, starting it again", "error", c.err, "after", backoff)
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(backoff):
			}
			backoff = min(2*backoff, maxBackoff)
			err := e.launch(ctx)
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return nil
			}
			e.setDown(err)
			e.o.Logger.Error("engine did not start", "error", err, "again_after", backoff)
		}
	}
}

func (e *Engine) current() *child {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.child
}

func (e *Engine) setDown(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.child, e.down = nil, err
}

// Close ends the child and waits for it. Run does it by itself.
func (e *Engine) Close() {
	c := e.current()
	if c != nil {
		c.stop(e.o.StopTimeout)
	}
	e.setDown(errors.New("the engine was closed"))
	_ = e.listener.Close()
}

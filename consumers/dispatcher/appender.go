package dispatcher

import (
	"context"
	"sync"

	"hookledger/ledger"
)

// appender is the producer of all workers. A producer's first error ends it,
// because nothing may follow a record that may be missing; a new one takes its
// place, and the machines, told of the failure, claim anew.
type appender struct {
	log *ledger.Log

	mu      sync.Mutex
	current *ledger.Producer
}

func newAppender(log *ledger.Log) (*appender, error) {
	p, err := log.NewProducer()
	if err != nil {
		return nil, err
	}
	return &appender{log: log, current: p}, nil
}

// append appends and calls done with the offset, or an error.
func (a *appender) append(ctx context.Context, r ledger.Record, done func(offset int64, err error)) {
	a.mu.Lock()
	p := a.current
	a.mu.Unlock()
	p.Append(ctx, r, func(at ledger.Position, err error) {
		if err != nil {
			a.replace(p)
		}
		done(at.Offset, err)
	})
}

// replace puts a new producer in the place of a failed one.
func (a *appender) replace(failed *ledger.Producer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.current != failed {
		return
	}
	p, err := a.log.NewProducer()
	if err != nil { // the options were good a moment ago; the next failure tries again
		return
	}
	a.current = p
	go failed.Close() // it waits for its callbacks, one of which is calling here
}

func (a *appender) close() {
	a.mu.Lock()
	current := a.current
	a.mu.Unlock()
	current.Close() // it waits for its callbacks, which may take the lock
}

package historian

import (
	"context"
	"errors"
	"time"

	"hookledger/projections/history"
)

// followEvery is how often the live history is asked for, and, while two are
// written, whether the new one has all that the old one has.
const followEvery = time.Second

// life is the writing of one database.
type life struct {
	to         *history.History
	generation uint32
	stop       context.CancelFunc
	done       chan error
}

func (h *Historian) live(ctx context.Context, to *history.History, generation uint32) *life {
	ctx, stop := context.WithCancel(ctx)
	l := &life{to: to, generation: generation, stop: stop, done: make(chan error, 1)}
	go func() { l.done <- h.write(ctx, to) }()
	return l
}

// end stops the writing and waits for it.
func (l *life) end() error {
	l.stop()
	return <-l.done
}

// follow writes the live history. When another goes live both are written until
// the new one has all that the old one has: whoever still answers from the old
// one misses nothing until then, and knows by its places that he may go over.
func (h *Historian) follow(ctx context.Context) error {
	var first *history.History
	var generation uint32
	err := h.try(ctx, "find the live history", func(ctx context.Context) error {
		to, g, err := h.opts.History.Live(ctx)
		first, generation = to, g.Number
		return err
	})
	if err != nil {
		return err
	}
	now := h.live(ctx, first, generation)
	var next *life
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		var nextDone chan error
		if next != nil {
			nextDone = next.done
		}
		select {
		case err := <-now.done:
			if next != nil {
				err = errors.Join(err, next.end())
			}
			return err
		case err := <-nextDone:
			return errors.Join(err, now.end())
		case <-tick.C:
		}
		if next == nil {
			to, g, err := h.opts.History.Live(ctx)
			if err == nil && g.Number > now.generation {
				h.opts.Logger.Info("the historian writes the new history too", "database", g.Database, "beside", now.to.Database())
				next = h.live(ctx, to, g.Number)
			}
			continue
		}
		if covers, err := next.to.Covers(ctx, now.to); err != nil || !covers {
			continue
		}
		if err := now.end(); err != nil && !errors.Is(err, context.Canceled) {
			return errors.Join(err, next.end())
		}
		h.opts.Logger.Info("the historian has gone over to the new history", "database", next.to.Database(), "from", now.to.Database())
		now, next = next, nil
	}
}

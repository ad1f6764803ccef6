package history

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// followEvery is how often the live history is asked for.
const followEvery = time.Second

// How long going over may hold questions up before they are let through again
// and it is tried later.
const (
	holdQuestions = time.Second
	coverQuestion = 20 * time.Millisecond
)

// errBehind: the new history lacks what the old one has; whoever writes it goes on.
var errBehind = errors.New("it lacks what the old one has")

// Follow keeps questions at the live history until ctx ends: when another one
// goes live, they go there once it has all that the one before has. For that
// moment questions wait, at most a second at a time, so that none is answered
// from less than an earlier one was. While ClickHouse is away nothing changes.
func (h *History) Follow(ctx context.Context, log *slog.Logger) error {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for tries := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		from, err := h.conn.at.where(ctx)
		if err != nil {
			continue
		}
		all, err := h.Generations(ctx)
		if err != nil {
			continue // who asks a question hears of it
		}
		live := LiveOf(all)
		if live.Number <= from.generation {
			tries = 0
			continue
		}
		tries++
		began := time.Now()
		if err := h.goOver(ctx, from, target{live.Database, live.Number}, tries); err != nil {
			if ctx.Err() == nil {
				log.Warn("the new history is not answered from yet", "database", live.Database, "error", err)
			}
			continue
		}
		log.Info("questions are answered from the new history", "database", live.Database, "generation", live.Number,
			"before", from.name, "held_up", time.Since(began).Round(time.Millisecond))
		if err := h.ApplyViews(ctx); err != nil && ctx.Err() == nil { // who rebuilt may have died before
			log.Warn("the views for auditors are not over the new history yet", "error", err)
		}
	}
}

// goOver closes the gate, waits until what was asked is answered and the new
// history has what the old one has, and lets questions through to it.
func (h *History) goOver(ctx context.Context, from, to target, tries int) error {
	// Not worth a pause yet, if the new one is far behind.
	if covers, err := h.covers(ctx, from.name, to.name); err != nil || !covers && tries%5 != 0 {
		if err == nil {
			err = errBehind
		}
		return err
	}
	patience := holdQuestions
	if tries > 3 { // long questions all the time: none outlives this
		patience = h.maxTime + holdQuestions
	}
	gate := h.conn.at.gate
	defer gate.open()
	if err := shutWithin(ctx, gate, patience); err != nil && (tries <= 3 || ctx.Err() != nil) {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, holdQuestions)
	defer cancel()
	had, err := h.At(from.name).reached(ctx)
	if err != nil && !missing(err) {
		return err
	}
	for {
		covers, err := h.coversThese(limited, to.name, had)
		if err != nil {
			return err
		}
		if covers {
			h.conn.at.set(to)
			return nil
		}
		select {
		case <-limited.Done():
			return errBehind
		case <-time.After(coverQuestion):
		}
	}
}

func shutWithin(ctx context.Context, g *gate, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := g.shut(ctx); err != nil {
		return fmt.Errorf("questions are still being answered: %w", err)
	}
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// actor is a part of the running program: it owns its goroutines and ends them
// before run returns.
type actor struct {
	name string
	run  func(ctx context.Context) error
}

// runActors starts actors in the order given and stops them in the opposite
// one, each once those that need it have ended: what reads stops after what
// writes. One that ends by itself ends all. What does not end within the
// timeout is left behind and named.
func runActors(ctx context.Context, log *slog.Logger, timeout time.Duration, actors ...actor) error {
	type running struct {
		actor
		stop context.CancelFunc
		done chan error
	}
	ended := make(chan string, len(actors))
	all := make([]running, len(actors))
	for i, a := range actors {
		own, stop := context.WithCancel(context.WithoutCancel(ctx))
		all[i] = running{a, stop, make(chan error, 1)}
		go func() {
			err := a.run(own)
			if err != nil {
				err = fmt.Errorf("%s: %w", a.name, err)
			}
			all[i].done <- err
			ended <- a.name
		}()
	}
	select {
	case <-ctx.Done():
		log.Info("stopping")
	case name := <-ended:
		log.Error("a part of the program has ended, so all of it stops", "part", name)
	}
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	var failed []error
	for i, a := range slices.Backward(all) {
		a.stop()
		select {
		case err := <-a.done:
			if err != nil && !errors.Is(err, context.Canceled) {
				failed = append(failed, err)
			}
		case <-deadline.C:
			for j := range i {
				all[j].stop()
			}
			return errors.Join(append(failed, fmt.Errorf("%s did not stop within %s; what it had in flight is handed back at the next start", a.name, timeout))...)
		}
	}
	return errors.Join(failed...)
}

package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// Trimmer enforces retention where the broker can't: it deletes what lies
// below the first record that is younger than the topic's retention. Without
// it the embedded log would grow until the disk is full.
type Trimmer struct {
	// Log whose topics are trimmed.
	Log *Log
	// Every is how often (default one minute).
	Every time.Duration
	// Now is the clock (default time.Now).
	Now func() time.Time
	// Floor, when set, is the offset of a partition that must stay, whatever its
	// age: nothing is trimmed that the history or the router has yet to read.
	Floor func(ctx context.Context, t Topic) (map[int32]int64, error)
	// Logger is told of each trim.
	Logger *slog.Logger
}

// Run trims until ctx ends. A failed round is logged and tried again.
func (t *Trimmer) Run(ctx context.Context) error {
	every := t.Every
	if every == 0 {
		every = time.Minute
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if err := t.Trim(ctx); err != nil && ctx.Err() == nil {
			t.Logger.Warn("retention could not be enforced, it is tried again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Trim enforces the retention of every topic once.
func (t *Trimmer) Trim(ctx context.Context) error {
	now := time.Now
	if t.Now != nil {
		now = t.Now
	}
	var failed []error
	for _, topic := range AllTopics {
		keep := t.Log.settings.retention(topic)
		if keep <= 0 {
			continue
		}
		failed = append(failed, t.trimTopic(ctx, topic, now().Add(-keep)))
	}
	return errors.Join(failed...)
}

func (t *Trimmer) trimTopic(ctx context.Context, topic Topic, before time.Time) error {
	name := t.Log.Name(topic)
	first, err := t.Log.admin.ListOffsetsAfterMilli(ctx, before.UnixMilli(), name)
	if err = errors.Join(err, first.Error()); err != nil {
		return fmt.Errorf("find what of %q is old: %w", name, err)
	}
	starts, err := t.Log.Starts(ctx, topic)
	if err != nil {
		return err
	}
	var floor map[int32]int64
	if t.Floor != nil {
		if floor, err = t.Floor(ctx, topic); err != nil {
			return fmt.Errorf("ask what of %q is still needed: %w", name, err)
		}
	}
	var failed []error
	first.Each(func(o kadm.ListedOffset) {
		below := o.Offset
		if at, ok := floor[o.Partition]; ok {
			below = min(below, at)
		}
		if below <= starts[o.Partition] {
			return
		}
		if err := t.Log.Trim(ctx, topic, o.Partition, below); err != nil {
			failed = append(failed, err)
			return
		}
		t.Logger.Info("trimmed", "topic", name, "partition", o.Partition, "below", below)
	})
	return errors.Join(failed...)
}

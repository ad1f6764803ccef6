package dispatcher

import (
	"context"
	"sync"
	"time"

	"hookledger/consumers/dispatcher/partition"
)

// trimEvery spaces the trims of one log: each costs the broker an index write.
const trimEvery = 5 * time.Second

// trims are the latest wishes of the machines.
type trims struct {
	mu     sync.Mutex
	wanted [3]map[int32]int64
	done   [3]map[int32]int64
}

func newTrims() *trims {
	t := new(trims)
	for i := range t.wanted {
		t.wanted[i], t.done[i] = make(map[int32]int64), make(map[int32]int64)
	}
	return t
}

func (t *trims) want(l partition.Log, p int32, before int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wanted[l][p] = max(t.wanted[l][p], before)
}

// due are the wishes that were not carried out yet.
func (t *trims) due(l partition.Log) map[int32]int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	due := make(map[int32]int64)
	for p, before := range t.wanted[l] {
		if before > t.done[l][p] {
			due[p] = before
		}
	}
	return due
}

func (t *trims) did(l partition.Log, p int32, before int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done[l][p] = before
}

// trimLoop deletes what the machines no longer need. A trim that fails is
// tried again; nothing depends on it but disk space.
func (d *Dispatcher) trimLoop(ctx context.Context) error {
	tick := time.NewTicker(trimEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		for p, before := range d.trims.due(partition.LogLanes) {
			d.trim(ctx, partition.LogLanes, p, before)
		}
		due := d.trims.due(partition.LogDeliveries)
		if len(due) == 0 {
			continue
		}
		read, err := d.StillRead(ctx)
		if err != nil {
			d.Logger.Warn("`deliveries` is not trimmed: how far others have read it could not be asked for", "error", err)
			continue
		}
		for p, before := range due {
			if before = min(before, read[p]); before > 0 {
				d.trim(ctx, partition.LogDeliveries, p, before)
			}
		}
	}
}

func (d *Dispatcher) trim(ctx context.Context, l partition.Log, p int32, before int64) {
	if err := d.Log.Trim(ctx, topicOf[l], p, before); err != nil {
		if ctx.Err() == nil {
			d.Logger.Warn("a log could not be trimmed, it is tried again", "error", err)
		}
		return
	}
	d.trims.did(l, p, before)
}

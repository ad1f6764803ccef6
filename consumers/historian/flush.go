package historian

import (
	"context"
	"time"

	"hookledger/ledger"
	"hookledger/projections/history"
)

// Group is the consumer group under which the places are shown. Nobody joins it,
// and the historian itself starts from the places in ClickHouse.
const Group = "historian"

// showEvery is the least time between two showings.
const showEvery = time.Second

// flush makes the batch visible: when it returns, all that was read is in the
// tables, and the places say so. Each step is tried until it succeeds; together
// they may be repeated.
func (w *writer) flush(ctx context.Context) error {
	began := time.Now()
	// What is not synced may be lost in a power cut, and its offset used again by
	// another record: rows must not outlive their record.
	if err := w.try(ctx, "sync what was read", w.log.Synced); err != nil {
		return err
	}
	for len(w.dead) > 0 {
		letter := w.dead[0]
		err := w.try(ctx, "copy an undecodable record to the dead letters", func(ctx context.Context) error {
			return w.log.DeadLetter(ctx, letter.record, letter.reason)
		})
		if err != nil {
			return err
		}
		w.dead = w.dead[1:]
	}
	if err := w.try(ctx, "insert into the history", func(ctx context.Context) error { return w.h.Insert(ctx, &w.batch) }); err != nil {
		return err
	}
	places := w.moved()
	if err := w.try(ctx, "append the history's places", func(ctx context.Context) error { return w.h.AppendPlaces(ctx, places) }); err != nil {
		return err
	}
	now := time.Now()
	w.pace.took(now, w.records)
	w.m.BatchSeconds.Observe(now.Sub(began).Seconds())
	w.m.RecordAge.Observe(max(now.Sub(w.oldest).Seconds(), 0))
	for table, rows := range map[string]int{
		"attempts": len(w.batch.Attempts), "deliveries": len(w.batch.Deliveries), "events": len(w.batch.Events), "config_changes": len(w.batch.Changes),
	} {
		w.m.Rows.WithLabelValues(table).Add(float64(rows))
	}
	for _, p := range places {
		w.m.place(p.Topic, p.Partition, p.Next)
		w.places[at{p.Topic, p.Partition}].moved = false
	}
	w.batch.Reset()
	w.bytes, w.records, w.dead = 0, 0, nil
	w.show(ctx, now)
	return nil
}

// show commits the places as a consumer group: lag monitors see them there, and
// whoever trims leaves what the history has yet to read. What a power cut could
// still take of the history it would have to read again: so it is synced first. A
// sync or a commit that fails holds back trimming and nothing else, and the next one says it again.
func (w *writer) show(ctx context.Context, now time.Time) {
	if w.opts.Aside || now.Sub(w.shown) < showEvery {
		return
	}
	w.shown = now
	if w.opts.Sync != nil {
		if err := w.opts.Sync(ctx); err != nil {
			if ctx.Err() == nil {
				w.opts.Logger.Warn("the history could not be synced; nothing is trimmed meanwhile", "error", err)
			}
			return
		}
	}
	next := make(map[ledger.Topic]map[int32]int64)
	for where, p := range w.places {
		if next[where.topic] == nil {
			next[where.topic] = make(map[int32]int64)
		}
		next[where.topic][where.partition] = p.next
	}
	if err := w.log.CommitAs(ctx, Group, next); err != nil && ctx.Err() == nil {
		w.opts.Logger.Warn("the history's places could not be shown to the broker; nothing is trimmed meanwhile", "error", err)
	}
}

// moved are the places of the partitions that were read. Those of attempts say
// which hours are owed, so that a crash before they are recomputed is mended.
func (w *writer) moved() []history.Place {
	var all []history.Place
	for where, p := range w.places {
		if !p.moved {
			continue
		}
		next := history.Place{Topic: where.topic, Partition: where.partition, Next: max(p.next, p.rowsFrom), TopicID: p.topicID}
		switch where.topic {
		case ledger.Deliveries:
			next.Sources = p.sources
		case ledger.Attempts:
			next.Hours = w.owed.list()
		case ledger.Config, ledger.Events, ledger.EventIDs, ledger.Lanes, ledger.DeadLetters:
		}
		all = append(all, next)
	}
	return all
}

// recompute makes attempts_hourly good for one hour, if that is due. It waits
// for the batch that touched the hour: owed hours below the places only.
func (w *writer) recompute(ctx context.Context) error {
	began := time.Now()
	if len(w.owed.hours) == 0 || w.records > 0 || began.Before(w.owed.next) {
		return nil
	}
	hour := w.owed.newest()
	err := w.try(ctx, "recompute attempts_hourly", func(ctx context.Context) error { return w.h.Recompute(ctx, hour) })
	if err != nil {
		return err
	}
	now := time.Now()
	w.owed.done(hour, now.Sub(began), now)
	w.m.HourSeconds.Observe(now.Sub(began).Seconds())
	w.m.HoursOwed.Set(float64(len(w.owed.hours)))
	return nil
}

package historian

import (
	"context"
	"time"

	"hookledger/ledger"
	"hookledger/projections/history"
)

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
	w.pace.took(now)
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
	return nil
}

// moved are the places of the partitions that were read. Those of attempts say
// which hours are owed, so that a crash before they are recomputed is mended.
func (w *writer) moved() []history.Place {
	var all []history.Place
	for where, p := range w.places {
		if !p.moved {
			continue
		}
		next := history.Place{Topic: where.topic, Partition: where.partition, Next: p.next, TopicID: p.topicID}
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

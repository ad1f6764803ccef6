package historian

import (
	"context"
	"fmt"
	"time"

	"hookledger/ledger"
	"hookledger/ledger/ids"
	"hookledger/projections/history"
	"hookledger/projections/subscriptions"
)

// topics that the history is made from.
func topics() []ledger.Topic {
	return []ledger.Topic{ledger.Config, ledger.Events, ledger.Deliveries, ledger.Attempts, ledger.DeadLetters}
}

// at is one partition of the log.
type at struct {
	topic     ledger.Topic
	partition int32
}

// place is how far one partition has come.
type place struct {
	// next is the offset after the last record that was folded.
	next int64
	// rowsFrom is where rows begin: what lies below is there already.
	rowsFrom int64
	topicID  ids.ID
	// sources is of deliveries.
	sources history.Sources
	// moved since its last place was appended.
	moved bool
}

// begin waits for ClickHouse and the broker, finds the places, and checks that
// they fit the log.
func (h *Historian) begin(ctx context.Context, to *history.History) (*writer, error) {
	if err := h.try(ctx, "migrate the history's schema", to.Apply); err != nil {
		return nil, err
	}
	w := h.newWriter(to)
	if err := h.try(ctx, "find the history's places", w.findPlaces); err != nil {
		return nil, err
	}
	// A partition that was trimmed to its end has no record to wait for: its place
	// has to be there without one, or who waits for the history waits for ever.
	places := w.moved()
	if err := h.try(ctx, "append the history's first places", func(ctx context.Context) error { return w.h.AppendPlaces(ctx, places) }); err != nil {
		return nil, err
	}
	for _, p := range w.places {
		p.moved = false
	}
	var err error
	// No MinBytes: the pace of polling makes the batches, and idle costs nothing.
	if w.reader, err = h.log.NewReader(ledger.ReaderOptions{MaxWait: 500 * time.Millisecond}); err != nil {
		return nil, fmt.Errorf("historian: %w", err)
	}
	for where, p := range w.places {
		w.reader.Add(where.topic, where.partition, p.next)
	}
	return w, nil
}

func (h *Historian) newWriter(to *history.History) *writer {
	return &writer{
		Historian: h, h: to, places: make(map[at]*place), owed: newOwed(),
		pace: pace{linger: h.opts.Linger, interval: h.opts.Interval},
		fold: subscriptions.New(h.log.Partitions(ledger.Config), func(account string) int32 {
			return h.log.Partition(ledger.Config, []byte(account))
		}),
	}
}

func (w *writer) findPlaces(ctx context.Context) error {
	clear(w.places)
	// The starts before the places: whoever trims follows the places, so a start
	// that was asked for later may be above a place that was read before.
	before := make(map[ledger.Topic]map[int32]int64)
	for _, topic := range topics() {
		starts, err := w.log.Starts(ctx, topic)
		if err != nil {
			return err
		}
		before[topic] = starts
	}
	known, err := w.h.Places(ctx)
	if err != nil {
		return err
	}
	kept := make(map[at]history.Place)
	for _, p := range known {
		kept[at{p.Topic, p.Partition}] = p
		w.owed.add(p.Hours...)
	}
	for _, topic := range topics() {
		id, err := w.log.TopicID(ctx, topic)
		if err != nil {
			return err
		}
		starts := before[topic]
		ends, err := w.log.Ends(ctx, topic)
		if err != nil {
			return err
		}
		for partition := range w.log.Partitions(topic) {
			where := at{topic, partition}
			var from *history.Place
			if p, ok := kept[where]; ok {
				from = &p
			}
			p, err := startAt(where, from, id, starts[partition], ends[partition])
			if err != nil {
				return err
			}
			if from == nil && topic == ledger.Deliveries && p.next > 0 {
				w.opts.Logger.Warn("no place of the history in a partition whose beginning was trimmed: "+
					"deliveries that are waiting for their first try are not listed until then",
					"topic", topic, "partition", partition, "start", p.next)
			}
			p.moved = from == nil
			w.places[where] = p
		}
	}
	return nil
}

// startAt is where a partition is read from: at its place, which must lie
// within the log, or from the log's start. Config is always folded whole.
func startAt(where at, kept *history.Place, id ids.ID, start, end int64) (*place, error) {
	p := &place{next: start, rowsFrom: start, topicID: id, sources: make(history.Sources)}
	damage := func(offset int64, format string, args ...any) (*place, error) {
		return nil, &DamageError{where.topic, where.partition, offset, fmt.Errorf(format, args...)}
	}
	if kept != nil {
		p.next, p.rowsFrom = kept.Next, kept.Next
		switch {
		case kept.TopicID != id:
			return damage(kept.Next, "%w", ErrOtherTopic)
		case kept.Next < start:
			return damage(kept.Next, "%w: it starts at %d", ledger.ErrBelowStart, start)
		case kept.Next > end:
			return damage(kept.Next, "%w: it ends at %d", ledger.ErrBeyondEnd, end)
		}
		if kept.Sources != nil {
			p.sources = kept.Sources
		}
	}
	if where.topic == ledger.Config {
		if start > 0 {
			return damage(0, "%w: it starts at %d, though config is never trimmed", ledger.ErrBelowStart, start)
		}
		p.next = 0
	}
	return p, nil
}

package history

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"hookledger/ledger"
	"hookledger/ledger/ids"
)

// Place is how far the history has come in one partition of the log.
type Place struct {
	Topic     ledger.Topic
	Partition int32
	// Next is the first offset whose row may be missing.
	Next int64
	// TopicID is the broker's own id of the topic: another one is another log.
	TopicID ids.ID
	// Sources is of deliveries: what was accepted below Next.
	Sources Sources
	// Hours is of attempts: the hours that attempts_hourly is still owed.
	Hours []time.Time
}

// AppendPlaces writes places after all rows below them. Those that are already
// there may be appended again.
func (h *History) AppendPlaces(ctx context.Context, places []Place) error {
	if len(places) == 0 {
		return nil
	}
	batch, err := h.conn.PrepareBatch(h.writing(ctx),
		h.sql("INSERT INTO {{db}}.places (topic, part, next_off, topic_id, sources, hours, at)"))
	if err != nil {
		return fmt.Errorf("append %d places: %w", len(places), err)
	}
	defer func() { _ = batch.Close() }() // after Send it says nothing new
	at := h.now()
	for _, p := range places {
		sources := make([][]any, 0, len(p.Sources))
		for _, part := range slices.Sorted(maps.Keys(p.Sources)) {
			m := p.Sources[part]
			sources = append(sources, []any{uint16(part), uint64(m.Offset), string(m.Webhook[:])})
		}
		hours := make([]uint32, len(p.Hours))
		for i, t := range p.Hours {
			hours[i] = uint32(t.Unix())
		}
		if err := batch.Append(string(p.Topic), uint16(p.Partition), uint64(p.Next), p.TopicID[:], sources, hours, at); err != nil {
			return fmt.Errorf("append the place of %s/%d: %w", p.Topic, p.Partition, err)
		}
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("append %d places: %w", len(places), err)
	}
	return nil
}

// Places returns the greatest place of every partition that has one.
func (h *History) Places(ctx context.Context) ([]Place, error) {
	rows, err := h.conn.Query(h.asking(ctx), h.sql(
		"SELECT topic, part, next_off, topic_id, sources, hours FROM {{db}}.places FINAL ORDER BY topic, part"))
	if err != nil {
		return nil, fmt.Errorf("read the places of database %s: %w", h.Database(), err)
	}
	defer rows.Close()
	var all []Place
	for rows.Next() {
		var topic string
		var part uint16
		var next uint64
		var p Place
		var sources [][]any
		var hours []uint32
		if err := rows.Scan(&topic, &part, &next, (*[16]byte)(&p.TopicID), &sources, &hours); err != nil {
			return nil, fmt.Errorf("read the places of database %s: %w", h.Database(), err)
		}
		p.Topic, p.Partition, p.Next = ledger.Topic(topic), int32(part), int64(next)
		p.Sources = make(Sources, len(sources))
		for _, s := range sources {
			from, _ := s[0].(uint16)
			off, _ := s[1].(uint64)
			webhook, _ := s[2].(string)
			p.Sources[int32(from)] = Mark{int64(off), ids.ID([]byte(webhook))}
		}
		for _, hour := range hours {
			p.Hours = append(p.Hours, time.Unix(int64(hour), 0).UTC())
		}
		all = append(all, p)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the places of database %s: %w", h.Database(), err)
	}
	slices.SortFunc(all, func(a, b Place) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return all, nil
}

// Covered is, for each partition of a topic, the offset below which all records
// are in the tables.
func (h *History) Covered(ctx context.Context, topic ledger.Topic) (map[int32]int64, error) {
	rows, err := h.conn.Query(h.asking(ctx), h.sql(
		"SELECT part, max(next_off) FROM {{db}}.places WHERE topic = "+text(string(topic))+" GROUP BY part"))
	if err != nil {
		return nil, fmt.Errorf("read the places of %s: %w", topic, err)
	}
	defer rows.Close()
	covered := make(map[int32]int64)
	for rows.Next() {
		var part uint16
		var next uint64
		if err := rows.Scan(&part, &next); err != nil {
			return nil, fmt.Errorf("read the places of %s: %w", topic, err)
		}
		covered[int32(part)] = int64(next)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the places of %s: %w", topic, err)
	}
	return covered, nil
}

// coverPoll is how often WaitCovered looks again.
const coverPoll = 25 * time.Millisecond

// WaitCovered returns when the history has covered these ends of a topic's
// partitions (as Log.Ends gives them), or with the context's error.
func (h *History) WaitCovered(ctx context.Context, topic ledger.Topic, ends map[int32]int64) error {
	for {
		covered, err := h.Covered(ctx, topic)
		if err != nil {
			return err
		}
		behind := false
		for part, end := range ends {
			behind = behind || covered[part] < end
		}
		if !behind {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the history of %s: %w", topic, ctx.Err())
		case <-time.After(coverPoll):
		}
	}
}

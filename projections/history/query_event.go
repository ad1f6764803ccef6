package history

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hookledger/ledger/event"
	"hookledger/ledger/ids"
)

// repeatHours is how long the router remembers an id: the hour of record time in
// which it passed, and as many after it.
const repeatHours = 24

// identityRows bounds how many records of one id are looked at.
const identityRows = 10_000

// record is what is needed of a row of events to judge repeats.
type record struct {
	orderingKey string
	part        uint16
	off         uint64
	at          time.Time
	fresh       bool
	status      EventStatus
}

// Event returns the newest accepted event of an id, with its data. An id names
// one event per ordering key; orderingKey picks one of them, nil the newest of all.
//
// Whether a record repeated an earlier one is judged as the router does: the
// same account, ordering key and id as an accepted one, in its hour of record
// time or the 24 after it, unless the id was drawn for the record.
func (h *History) Event(ctx context.Context, account, eventID string, orderingKey *string) (*Event, error) {
	found, repeats, err := h.accepted(ctx, account, eventID, orderingKey)
	var e *Event
	if err == nil {
		e, err = h.eventRecord(ctx, account, eventID, int32(found.part), int64(found.off), found.at)
	}
	if err != nil {
		return nil, fmt.Errorf("event %q: %w", eventID, err)
	}
	e.Repeats = repeats
	return e, nil
}

func (h *History) accepted(ctx context.Context, account, eventID string, orderingKey *string) (newest record, repeats int, err error) {
	where := eventWhere(account, eventID)
	if orderingKey != nil {
		where += " AND ordering_key = " + text(*orderingKey)
	}
	rows, err := h.conn.Query(h.asking(ctx), h.sql("SELECT ordering_key, part, off, record_time, fresh, status FROM {{db}}.events FINAL WHERE "+
		where+fmt.Sprintf(" ORDER BY part, off LIMIT %d", identityRows)))
	if err != nil {
		return newest, 0, fmt.Errorf("ask ClickHouse: %w", err)
	}
	defer rows.Close()
	var all []record
	for rows.Next() {
		var r record
		var status int8
		if err := rows.Scan(&r.orderingKey, &r.part, &r.off, &r.at, &r.fresh, &status); err != nil {
			return newest, 0, fmt.Errorf("read the answer of ClickHouse: %w", err)
		}
		r.status = EventStatus(status)
		all = append(all, r)
	}
	if err := rows.Err(); err != nil {
		return newest, 0, fmt.Errorf("ask ClickHouse: %w", err)
	}
	return judgeRepeats(all)
}

// judgeRepeats finds the newest accepted record among those of one id, which
// come in the order of the log, and counts the repeats of it.
func judgeRepeats(all []record) (newest record, repeats int, err error) {
	type state struct {
		accepted record
		repeats  int
	}
	identities := make(map[string]state)
	var best string
	for _, r := range all {
		s, seen := identities[r.orderingKey]
		switch {
		case r.status == EventInvalid:
			continue
		case r.status == EventRepeat, seen && !r.fresh && r.at.Truncate(time.Hour).Sub(s.accepted.at.Truncate(time.Hour)) <= repeatHours*time.Hour:
			s.repeats++
		default:
			s = state{accepted: r}
		}
		identities[r.orderingKey] = s
		if !s.accepted.at.IsZero() && !s.accepted.at.Before(identities[best].accepted.at) {
			best = r.orderingKey
		}
	}
	s, ok := identities[best]
	if !ok || s.accepted.at.IsZero() {
		return newest, 0, ErrNotFound
	}
	return s.accepted, s.repeats, nil
}

// eventWhere finds an id's records by a range of the key: the ordering key is
// its second half.
func eventWhere(account, eventID string) string {
	first := EventKey(account, eventID, "")
	last := first
	clear(first[8:])
	for i := 8; i < len(last); i++ {
		last[i] = 0xff
	}
	return "account = " + text(account) + " AND event_key >= " + id(first) + " AND event_key <= " + id(last) +
		" AND event_id = " + text(eventID)
}

// eventRecord reads one record of events by its place and time.
func (h *History) eventRecord(ctx context.Context, account, eventID string, part int32, off int64, at_ time.Time) (*Event, error) {
	rows, err := h.conn.Query(h.asking(ctx), h.sql("SELECT event_id, event_type, account, index_id, ordering_key, source, created_at, record_time, data "+
		"FROM {{db}}.events FINAL WHERE "+eventWhere(account, eventID)+
		fmt.Sprintf(" AND part = %d AND off = %d AND record_time = %s LIMIT 1", part, off, at(at_))))
	if err != nil {
		return nil, fmt.Errorf("ask ClickHouse: %w", err)
	}
	defer rows.Close()
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return nil, fmt.Errorf("ask ClickHouse: %w", err)
		}
		return nil, ErrNotFound
	}
	e := &Event{Partition: part, Offset: off}
	var data string
	if err := rows.Scan(&e.ID, &e.Type, &e.Account, &e.IndexID, &e.OrderingKey, &e.Source, &e.CreatedAt, &e.AcceptedAt, &data); err != nil {
		return nil, fmt.Errorf("read the answer of ClickHouse: %w", err)
	}
	e.CreatedAt, e.AcceptedAt, e.Data = e.CreatedAt.UTC(), e.AcceptedAt.UTC(), []byte(data)
	return e, nil
}

// EventDeliveries returns the deliveries of an event in order of their id, and
// the cursor of the next page; it is zero at the end.
func (h *History) EventDeliveries(ctx context.Context, e *Event, p Page) ([]Delivery, ids.ID, error) {
	limit := p.limit()
	where := fmt.Sprintf("account = %s AND created_at = %s AND source_part = %d AND source_off = %d",
		text(e.Account), at(e.AcceptedAt), e.Partition, e.Offset)
	if !p.Cursor.IsZero() {
		where += " AND delivery_id > " + id(p.Cursor)
	}
	if p.Status != 0 {
		where += fmt.Sprintf(" AND status = %d", p.Status)
	}
	found, err := h.deliveries(ctx, where+fmt.Sprintf(" ORDER BY delivery_id LIMIT %d", limit+1))
	if err != nil {
		return nil, ids.ID{}, fmt.Errorf("deliveries of event %q: %w", e.ID, err)
	}
	return h.page(ctx, found, limit)
}

// Payload makes the body of a delivery again, as the router froze it: from the
// event's record, and the metadata that the webhook had then. It is checked
// against the hash of what was sent.
func (h *History) Payload(ctx context.Context, d *Delivery) ([]byte, error) {
	body, err := h.payload(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("payload of %s: %w", d.ID.Text(ids.Delivery), err)
	}
	return body, nil
}

func (h *History) payload(ctx context.Context, d *Delivery) ([]byte, error) {
	source := d.Content.GetSource()
	e, err := h.eventRecord(ctx, d.Account, d.EventID, source.GetPartition(), source.GetOffset(), d.CreatedAt)
	if errors.Is(err, ErrNotFound) {
		return nil, ErrPayloadExpired
	}
	if err != nil {
		return nil, err
	}
	metadata, err := h.metadata(ctx, d)
	if err != nil {
		return nil, err
	}
	body := event.Compose(&event.Event{
		ID: e.ID, Type: e.Type, Account: e.Account, IndexID: e.IndexID, OrderingKey: e.OrderingKey, CreatedAt: e.CreatedAt, Data: e.Data,
	}, metadata)
	return body, checkBody(body, d.Content)
}

// metadata is what the webhook's fact at the frozen offset of config says.
func (h *History) metadata(ctx context.Context, d *Delivery) ([]byte, error) {
	offset := d.Content.GetMetadataOffset()
	if offset < 0 {
		return nil, nil
	}
	rows, err := h.conn.Query(h.asking(ctx), h.sql("SELECT metadata FROM {{db}}.config_changes FINAL WHERE account = "+text(d.Account)+
		" AND subject_id = "+text(d.Webhook.Text(ids.Webhook))+fmt.Sprintf(" AND off = %d LIMIT 1", offset)))
	if err != nil {
		return nil, fmt.Errorf("ask ClickHouse: %w", err)
	}
	defer rows.Close()
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return nil, fmt.Errorf("ask ClickHouse: %w", err)
		}
		return nil, fmt.Errorf("%w: the change of configuration at offset %d, which holds its metadata", ErrNotFound, offset)
	}
	var metadata string
	if err := rows.Scan(&metadata); err != nil {
		return nil, fmt.Errorf("read the answer of ClickHouse: %w", err)
	}
	return []byte(metadata), nil
}

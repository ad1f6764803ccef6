package hookledger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// NewEvent is an event to publish.
type NewEvent struct {
	// ID is your own: the same one within 24 hours is the same event. Empty, and the service gives one.
	ID string
	// Event is one of the event names.
	Event string
	// Data is written as a JSON object; json.RawMessage is delivered byte by byte.
	Data any
	// IndexID, if not empty: only webhooks of this index, or of every index, get it.
	IndexID string
	// OrderingKey: deliveries of one key's events are begun in the order in which they were published.
	OrderingKey string
	// CreatedAt is when it happened; zero, when it is accepted.
	CreatedAt time.Time
}

// append writes an event, its data verbatim: json.Marshal would take the white space out of a json.RawMessage.
func (e *NewEvent) append(b *bytes.Buffer) error {
	data, ok := e.Data.(json.RawMessage)
	if !ok {
		var text bytes.Buffer
		enc := json.NewEncoder(&text)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(e.Data); err != nil {
			return err
		}
		data = bytes.TrimSpace(text.Bytes())
	}
	if !json.Valid(data) {
		return errors.New("data is not JSON")
	}
	createdAt := ""
	if !e.CreatedAt.IsZero() {
		createdAt = e.CreatedAt.UTC().Format(time.RFC3339Nano)
	}
	b.WriteByte('{')
	for _, f := range []struct{ name, value string }{
		{"id", e.ID}, {"event", e.Event}, {"index_id", e.IndexID}, {"ordering_key", e.OrderingKey}, {"created_at", createdAt},
	} {
		if f.value == "" {
			continue
		}
		value, err := json.Marshal(f.value)
		if err != nil {
			return err
		}
		b.WriteString(`"` + f.name + `":`)
		b.Write(value)
		b.WriteByte(',')
	}
	b.WriteString(`"data":`)
	b.Write(data)
	b.WriteByte('}')
	return nil
}

// PublishEvents is POST /api/v2/events: up to 1,000 events, all of which are accepted, or none. It returns when they are
// durable, one entry for each, in their order. A call that is repeated after a lost answer publishes each event once.
func (c *Client) PublishEvents(ctx context.Context, params *PublishEventsParams, events ...NewEvent) ([]EventAccepted, *Response, error) {
	if len(events) == 0 {
		return nil, nil, errors.New("there is no event to publish")
	}
	var body bytes.Buffer
	body.WriteByte('[')
	for i := range events {
		if i > 0 {
			body.WriteByte(',')
		}
		if err := events[i].append(&body); err != nil {
			return nil, nil, fmt.Errorf("event %d: %w", i, err)
		}
	}
	body.WriteByte(']')
	//nolint:bodyclose // finish closes it
	accepted, resp, err := finish[EventsAccepted](c.http.PublishEventsWithBody(ctx, params, "application/json", bytes.NewReader(body.Bytes())))
	return accepted.Events, resp, err
}

// AllEventDeliveries goes over all deliveries of an event, page by page. The limit of params is the size of a page.
func (c *Client) AllEventDeliveries(ctx context.Context, eventID EventID, params *GetEventParams) Pages[Delivery] {
	var p GetEventParams
	if params != nil {
		p = *params
	}
	return pages(p.Cursor, func(cursor *Cursor) ([]Delivery, *Response, error) {
		p := p
		p.Cursor, p.IfNoneMatch = cursor, nil
		event, resp, err := c.GetEvent(ctx, eventID, &p)
		return event.Deliveries, resp, err
	})
}

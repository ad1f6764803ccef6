package history

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// Bounds of a list.
const (
	DefaultLimit = 50
	MaxLimit     = 1000
)

const deliveryFields = "account, webhook_id, delivery_id, event_id, event_type, status, round, end, end_reason, attempt, upto, " +
	"created_at, changed_at, next_retry_at, completed_at, source_part, source_off, metadata_offset, body_hash, body_size"

// Delivery returns one delivery of an account, with its last try. The id bounds
// the search: it carries the delivery's time and the beginning of its webhook's id.
func (h *History) Delivery(ctx context.Context, account string, delivery ids.ID) (*Delivery, error) {
	var first, last ids.ID
	prefix := delivery.WebhookPrefix()
	copy(first[:], prefix[:])
	copy(last[:], prefix[:])
	for i := len(prefix); i < len(last); i++ {
		last[i] = 0xff
	}
	found, err := h.deliveries(ctx, "account = "+text(account)+
		" AND webhook_id >= "+id(first)+" AND webhook_id <= "+id(last)+
		" AND delivery_id = "+id(delivery)+" AND created_at = "+at(delivery.Time())+" LIMIT 1")
	if err == nil && len(found) == 0 {
		err = ErrNotFound
	}
	if err == nil {
		err = h.addTries(ctx, found)
	}
	if err != nil {
		return nil, fmt.Errorf("delivery %s: %w", delivery.Text(ids.Delivery), err)
	}
	return &found[0], nil
}

// Deliveries returns a webhook's deliveries, newest first, and the cursor of
// the next page; it is zero at the end. What is inserted between two pages
// neither hides nor repeats a delivery: ids never change their order.
//
// Most pages end within the newest day, so that is searched first, then the
// rest of the week, then the rest.
func (h *History) Deliveries(ctx context.Context, account string, webhook ids.ID, p Page) ([]Delivery, ids.ID, error) {
	limit := p.limit()
	where := "account = " + text(account) + " AND webhook_id = " + id(webhook)
	newest := h.now()
	if !p.Cursor.IsZero() {
		where += " AND delivery_id < " + id(p.Cursor)
		newest = p.Cursor.Time()
	}
	if p.Status != 0 {
		where += fmt.Sprintf(" AND status = %d", p.Status)
	}
	var found []Delivery
	for _, w := range windows(newest) {
		page, err := h.deliveries(ctx, where+w.condition()+fmt.Sprintf(" ORDER BY delivery_id DESC LIMIT %d", limit+1-len(found)))
		if err != nil {
			return nil, ids.ID{}, fmt.Errorf("deliveries of %s: %w", webhook.Text(ids.Webhook), err)
		}
		if found = append(found, page...); len(found) > limit {
			break
		}
	}
	return h.page(ctx, found, limit)
}

// page cuts what was found to the limit, and adds tries and the next cursor.
func (h *History) page(ctx context.Context, found []Delivery, limit int) ([]Delivery, ids.ID, error) {
	var next ids.ID
	if len(found) > limit {
		found = found[:limit]
		next = found[limit-1].ID
	}
	if err := h.addTries(ctx, found); err != nil {
		return nil, ids.ID{}, err
	}
	return found, next, nil
}

func (p Page) limit() int {
	if p.Limit <= 0 {
		return DefaultLimit
	}
	return min(p.Limit, MaxLimit)
}

// window is a range of created_at, from inclusive, to exclusive; zero is open.
type window struct{ from, to time.Time }

func windows(newest time.Time) []window {
	day, week := newest.Add(-24*time.Hour), newest.Add(-7*24*time.Hour)
	return []window{{from: day}, {week, day}, {to: week}}
}

// condition bounds both the partition column and the key: a delivery's id
// begins with its created_at.
func (w window) condition() string {
	var b strings.Builder
	if !w.from.IsZero() {
		b.WriteString(" AND created_at >= " + at(w.from) + " AND delivery_id >= " + id(firstID(w.from)))
	}
	if !w.to.IsZero() {
		b.WriteString(" AND created_at < " + at(w.to) + " AND delivery_id < " + id(firstID(w.to)))
	}
	return b.String()
}

// firstID is the smallest delivery id of a time.
func firstID(t time.Time) ids.ID {
	i := ids.ForDelivery(clampMillis(t.UnixMilli()), 0, 0, ids.ID{})
	clear(i[6:])
	return i
}

// deliveries reads states; it adds no tries.
func (h *History) deliveries(ctx context.Context, where string) ([]Delivery, error) {
	rows, err := h.conn.Query(h.asking(ctx), h.sql("SELECT "+deliveryFields+" FROM {{db}}.deliveries FINAL WHERE "+where))
	if err != nil {
		return nil, fmt.Errorf("ask ClickHouse: %w", err)
	}
	defer rows.Close()
	var all []Delivery
	for rows.Next() {
		d, err := scanDelivery(rows)
		if err != nil {
			return nil, fmt.Errorf("read the answer of ClickHouse: %w", err)
		}
		all = append(all, d)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("ask ClickHouse: %w", err)
	}
	return all, nil
}

func scanDelivery(rows driver.Rows) (Delivery, error) {
	var d Delivery
	var status, end, reason int8
	var attempt uint32
	var part uint16
	var off uint64
	var hash [32]byte
	c := new(facts.Content)
	err := rows.Scan(&d.Account, (*[16]byte)(&d.Webhook), (*[16]byte)(&d.ID), &d.EventID, &d.EventType, &status, &d.Round,
		&end, &reason, &attempt, &d.Upto, &d.CreatedAt, &d.ChangedAt, &d.NextRetryAt, &d.CompletedAt,
		&part, &off, &c.MetadataOffset, &hash, &c.BodySize)
	if err != nil {
		return d, err
	}
	d.Status, d.End, d.EndReason = Status(status), facts.End(end), facts.EndReason(reason)
	d.Attempts = int(attempt)
	c.Source = &facts.Source{Partition: int32(part), Offset: int64(off)}
	c.BodyHash = hash[:]
	d.Content = c
	d.CreatedAt, d.ChangedAt = d.CreatedAt.UTC(), timeOf(d.ChangedAt)
	d.NextRetryAt, d.CompletedAt = timeOf(d.NextRetryAt), timeOf(d.CompletedAt)
	return d, nil
}

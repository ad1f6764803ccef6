package history

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	schema "hookledger/schemas/clickhouse"
)

// Change is a change of a webhook or API key that was asked for.
type Change struct {
	// ID names the record.
	ID                      string
	RecordedAt, RequestedAt time.Time
	// Kind and Verdict are the values of config_changes, in text.
	Kind, Verdict      string
	Subject            string
	ActorKind, ActorID string
	RequestID          string
	Changed            []string
	// Before and After are JSON objects, nil where there is none.
	Before, After []byte
	// Offset is its place among the account's changes.
	Offset uint64
}

// ChangePage says which changes of an account are wanted. Zero values leave nothing out.
type ChangePage struct {
	// Limit is how many at most; 0 is 50.
	Limit int
	// Below is the offset of the last change of the page before.
	Below uint64
	// Subjects are ids as in the API: changes of all of them, that is of the only one.
	Subjects                        []string
	Actor, RequestID, Kind, Verdict string
	// From inclusive, To exclusive: times of the log.
	From, To time.Time
}

// firstCall is the least number of a change that changes nothing.
const firstCall = 30

// Changes returns an account's changes, newest first, and the offset that the
// next page goes on below; it is zero at the end. An account's changes lie in one
// partition, so offsets are their order, and nothing is skipped or repeated.
//
// The page is found first, by light columns; then its subjects are folded from
// their beginnings, as the view config_changes does for auditors.
func (h *History) Changes(ctx context.Context, account string, p ChangePage) (changes []Change, next uint64, err error) {
	limit := Page{Limit: p.Limit}.limit()
	offsets, subjects, err := h.changePage(ctx, account, p, limit+1)
	if err != nil || len(offsets) == 0 {
		return nil, 0, err
	}
	if len(offsets) > limit {
		offsets, subjects = offsets[:limit], subjects[:limit]
		next = offsets[limit-1]
	}
	view, err := schema.ViewNamed("config_changes")
	if err != nil {
		return nil, 0, err
	}
	offs := make([]string, len(offsets))
	for i, off := range offsets {
		offs[i] = strconv.FormatUint(off, 10)
	}
	rows, err := h.conn.Query(h.asking(ctx), "SELECT change_id, recorded_at, requested_at, change, verdict, subject_id, actor_kind, actor_id, request_id, changed, before, after, log_offset FROM ("+
		view.Select(h.Database())+") WHERE account = "+text(account)+" AND subject_id IN ("+strings.Join(subjects, ", ")+")"+
		" AND log_offset IN ("+strings.Join(offs, ", ")+") ORDER BY log_offset DESC")
	if err != nil {
		return nil, 0, fmt.Errorf("changes of an account: ask ClickHouse: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var c Change
		var before, after string
		if err := rows.Scan(&c.ID, &c.RecordedAt, &c.RequestedAt, &c.Kind, &c.Verdict, &c.Subject, &c.ActorKind, &c.ActorID, &c.RequestID,
			&c.Changed, &before, &after, &c.Offset); err != nil {
			return nil, 0, fmt.Errorf("changes of an account: read the answer of ClickHouse: %w", err)
		}
		if before != "" {
			c.Before = []byte(before)
		}
		if after != "" {
			c.After = []byte(after)
		}
		changes = append(changes, c)
	}
	if err := rows.Err(); err != nil {
		return nil, 0, fmt.Errorf("changes of an account: ask ClickHouse: %w", err)
	}
	return changes, next, nil
}

// changePage finds offsets, and subjects as constants.
func (h *History) changePage(ctx context.Context, account string, p ChangePage, limit int) (offsets []uint64, subjects []string, err error) {
	conditions := []string{"account = " + text(account), fmt.Sprintf("toUInt8(change) < %d", firstCall)}
	for _, s := range p.Subjects {
		conditions = append(conditions, "subject_id = "+text(s))
	}
	for column, value := range map[string]string{"actor_id": p.Actor, "request_id": p.RequestID, "toString(change)": p.Kind, "toString(verdict)": p.Verdict} {
		if value != "" {
			conditions = append(conditions, column+" = "+text(value))
		}
	}
	if p.Below > 0 {
		conditions = append(conditions, fmt.Sprintf("off < %d", p.Below))
	}
	if !p.From.IsZero() {
		conditions = append(conditions, "record_time >= "+at(p.From))
	}
	if !p.To.IsZero() {
		conditions = append(conditions, "record_time < "+at(p.To))
	}
	rows, err := h.conn.Query(h.asking(ctx), h.sql("SELECT off, subject_id FROM {{db}}.config_changes FINAL WHERE "+strings.Join(conditions, " AND ")+
		fmt.Sprintf(" ORDER BY off DESC LIMIT %d", limit)))
	if err != nil {
		return nil, nil, fmt.Errorf("changes of an account: ask ClickHouse: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var off uint64
		var subject string
		if err := rows.Scan(&off, &subject); err != nil {
			return nil, nil, fmt.Errorf("changes of an account: read the answer of ClickHouse: %w", err)
		}
		offsets, subjects = append(offsets, off), append(subjects, text(subject))
	}
	if err := rows.Err(); err != nil {
		return nil, nil, fmt.Errorf("changes of an account: ask ClickHouse: %w", err)
	}
	return offsets, subjects, nil
}

package history

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// skew is how far the clocks of who stamps events, of nodes and of the broker
// may lie apart before a search by time misses rows.
const skew = 24 * time.Hour

// maxFacts bounds how many facts of one delivery are read: many retries by hand
// are needed to get there.
const maxFacts = 10_000

// attemptFields reads one attempt_id once, as the original record has it where
// there is one: a completed copy may have lost the end of the body.
const attemptFields = "attempt_id, delivery_id, kind, attempt, round, outcome, request_sent, maybe_repeat, url, webhook_version, " +
	"started_at, duration_us, status_code, response_headers, response_body, body_truncated, body_cut, error, " +
	"end, end_reason, next_retry_at, completed, actor, request_id"

// Attempts returns the facts of a delivery, each once, in the order of the log:
// its tries, and the others (a retry by hand, a cancellation) between them.
func (h *History) Attempts(ctx context.Context, d *Delivery) ([]Attempt, error) {
	found, err := h.attempts(ctx, "SELECT "+attemptFields+", toUInt64(0) FROM ("+
		"SELECT "+attemptFields+", off FROM {{db}}.attempts FINAL WHERE "+triesOf([]Delivery{*d})+
		" ORDER BY completed, off LIMIT 1 BY attempt_id) ORDER BY round, attempt, off LIMIT "+strconv.Itoa(maxFacts))
	if err != nil {
		return nil, fmt.Errorf("attempts of %s: %w", d.ID.Text(ids.Delivery), err)
	}
	all := make([]Attempt, len(found))
	for i, a := range found {
		all[i] = a.Attempt
	}
	return all, nil
}

// triesOf finds the rows of deliveries of one account: by the primary key, and
// by bounds on the partition column.
func triesOf(all []Delivery) string {
	keys := make([]ids.ID, len(all))
	hooks := make(map[ids.ID]bool)
	var webhooks []ids.ID
	from, to := all[0].CreatedAt, all[0].ChangedAt
	for i, d := range all {
		keys[i] = d.ID
		if !hooks[d.Webhook] {
			hooks[d.Webhook] = true
			webhooks = append(webhooks, d.Webhook)
		}
		for _, t := range []time.Time{d.CreatedAt, d.ChangedAt} {
			if t.Before(from) {
				from = t
			}
			if t.After(to) {
				to = t
			}
		}
	}
	return "account = " + text(all[0].Account) + " AND webhook_id IN " + idList(webhooks) + " AND delivery_id IN " + idList(keys) +
		" AND started_at >= " + at(from.Add(-skew)) + " AND started_at <= " + at(to.Add(skew))
}

// addTries counts the tries of deliveries of one account and reads the last of
// each. A pending delivery has none.
//
// The last try is the one with the greatest version, as in deliveries: the
// success of a delivered one, though a superseded process may have failed later.
func (h *History) addTries(ctx context.Context, all []Delivery) error {
	var tried []Delivery
	byID := make(map[ids.ID]*Delivery)
	for i := range all {
		if all[i].Attempts > 0 {
			tried = append(tried, all[i])
			byID[all[i].ID] = &all[i]
		}
		all[i].Attempts = 0
	}
	if len(tried) == 0 {
		return nil
	}
	last, err := h.attempts(ctx, "SELECT "+attemptFields+", uniqExact(attempt_id) OVER (PARTITION BY delivery_id) FROM {{db}}.attempts FINAL WHERE "+
		triesOf(tried)+" AND kind = 'attempt'"+
		" ORDER BY delivery_id, round DESC, end DESC, attempt DESC, upto DESC, epoch DESC, completed, off DESC LIMIT 1 BY delivery_id")
	if err != nil {
		return fmt.Errorf("tries of %d deliveries: %w", len(tried), err)
	}
	for i := range last {
		if d := byID[last[i].Delivery]; d != nil {
			d.Last, d.Attempts = &last[i].Attempt, last[i].tries
		}
	}
	return nil
}

// counted is an attempt and how many its delivery has.
type counted struct {
	Attempt
	tries int
}

func (h *History) attempts(ctx context.Context, query string) ([]counted, error) {
	rows, err := h.conn.Query(h.asking(ctx), h.sql(query))
	if err != nil {
		return nil, fmt.Errorf("ask ClickHouse: %w", err)
	}
	defer rows.Close()
	var all []counted
	for rows.Next() {
		a, err := scanAttempt(rows)
		if err != nil {
			return nil, fmt.Errorf("read the answer of ClickHouse: %w", err)
		}
		all = append(all, a)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("ask ClickHouse: %w", err)
	}
	return all, nil
}

func scanAttempt(rows driver.Rows) (counted, error) {
	var a counted
	var tries uint64
	var kind, outcome, end, reason int8
	var status uint16
	var us uint32
	var headers, body string
	err := rows.Scan((*[16]byte)(&a.ID), (*[16]byte)(&a.Delivery), &kind, &a.Number, &a.Round, &outcome, &a.RequestSent,
		&a.MaybeRepeat, &a.URL, &a.WebhookVersion, &a.StartedAt, &us, &status, &headers, &body, &a.BodyTruncated, &a.BodyCut,
		&a.Error, &end, &reason, &a.NextRetryAt, &a.Completed, &a.Actor, &a.RequestID, &tries)
	if err != nil {
		return a, err
	}
	a.tries = int(tries)
	a.Kind, a.Outcome = facts.FactKind(kind), facts.Outcome(outcome)
	a.End, a.EndReason = facts.End(end), facts.EndReason(reason)
	a.StartedAt, a.NextRetryAt = a.StartedAt.UTC(), timeOf(a.NextRetryAt)
	a.Duration, a.StatusCode, a.Body = time.Duration(us)*time.Microsecond, int(status), []byte(body)
	if headers != "" {
		var pairs [][2]string
		if err := json.Unmarshal([]byte(headers), &pairs); err != nil {
			return a, fmt.Errorf("response headers: %w", err)
		}
		for _, p := range pairs {
			a.Headers = append(a.Headers, Header{p[0], p[1]})
		}
	}
	return a, nil
}

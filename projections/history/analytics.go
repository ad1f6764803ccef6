package history

import (
	"context"
	"fmt"
	"time"

	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// GroupBy says by what an analytics answer is divided.
type GroupBy string

// The groups.
const (
	NoGroups  GroupBy = ""
	ByWebhook GroupBy = "webhook"
	ByEvent   GroupBy = "event"
)

// Question is what is asked of the figures of one account.
type Question struct {
	Account string
	// Edges are the buckets' edges, ascending, at least two: see Edges. Deliveries
	// count where they were created, attempts where they began.
	Edges []time.Time
	// GroupBy and Groups: the groups with most, at most so many.
	GroupBy GroupBy
	Groups  int
	// Webhook, Event, and Status (of deliveries) or Outcome (of attempts) leave
	// out all others; zero is every one.
	Webhook ids.ID
	Event   string
	Status  Status
	Outcome facts.Outcome
}

// Quantiles of a set of numbers, exact: each is one of them, the one at place
// floor(level * count) of their ascending order, counted from 0. So they don't
// depend on the order in which rows lie, nor on how often a record was written.
type Quantiles struct{ P50, P95, P99 time.Duration }

// AttemptFigures are figures over distinct tries.
type AttemptFigures struct {
	Attempts, RequestsSent int
	// Outcomes counts by facts.Outcome, Classes by the first digit of the answer's
	// status, 0 for none.
	Outcomes [len(Outcomes) + 1]int
	Classes  [6]int
	// Latency is from the start of a try to its outcome; zero without tries.
	Latency Quantiles
}

// DeliveryFigures are figures over deliveries in their latest state.
type DeliveryFigures struct {
	Deliveries int
	// Statuses counts by Status.
	Statuses [Failed + 1]int
	// Attempts is how many distinct tries these deliveries have, whenever they began.
	Attempts int
	// TimeToSuccess is from the event's record to the end of the successful try;
	// zero without a delivered one.
	TimeToSuccess Quantiles
}

// Answer is figures over all, by bucket, and by group.
type Answer[F any] struct {
	Total F
	// Buckets has one for each between two edges, also empty ones.
	Buckets []F
	// Groups with most first, those of equal size by name; GroupsTotal is how many there are.
	Groups      []Group[F]
	GroupsTotal int
}

// Group is the figures of one webhook or event name.
type Group[F any] struct {
	name    string
	size    uint64
	Webhook ids.ID
	Event   string
	Total   F
	Buckets []F
}

// Outcomes are all of the closed set, in order.
var Outcomes = [...]facts.Outcome{
	facts.Outcome_OUTCOME_DELIVERED, facts.Outcome_OUTCOME_HTTP_STATUS, facts.Outcome_OUTCOME_TIMEOUT, facts.Outcome_OUTCOME_REFUSED,
	facts.Outcome_OUTCOME_RESET, facts.Outcome_OUTCOME_UNREACHABLE, facts.Outcome_OUTCOME_DNS, facts.Outcome_OUTCOME_TLS,
	facts.Outcome_OUTCOME_BLOCKED, facts.Outcome_OUTCOME_PROTOCOL, facts.Outcome_OUTCOME_INTERRUPTED,
}

// AttemptAnalytics answers for the tries that began between the edges; tests don't count.
func (h *History) AttemptAnalytics(ctx context.Context, q Question) (*Answer[AttemptFigures], error) {
	where := q.where() + " AND kind = 'attempt' AND started_at >= " + at(q.from()) + " AND started_at < " + at(q.to())
	only := ""
	if q.Outcome != 0 {
		only = fmt.Sprintf(" AND outcome = %d", q.Outcome)
	}
	a, err := collect(ctx, h, &q, counting[AttemptFigures]{
		figuresSQL{
			rows: "SELECT " + q.group() + " AS g, " + q.bucket("toUnixTimestamp64Milli(started_at)") + " AS b, outcome, status_code, request_sent, duration_us" +
				" FROM {{db}}.attempts FINAL WHERE " + where + only + " AND " + once(where),
			counts:    "[count(), countIf(request_sent)]",
			first:     countEach("toUInt8(outcome)", len(Outcomes)),
			second:    countEach("least(intDiv(status_code, 100), 5)", 5),
			quantiles: "quantilesExact(0.5, 0.95, 0.99)(duration_us)",
		},
		func(f *AttemptFigures, row *figuresRow) {
			f.Attempts, f.RequestsSent = int(row.counts[0]), int(row.counts[1])
			counts(f.Outcomes[:], row.first)
			counts(f.Classes[:], row.second)
			if f.Attempts > 0 {
				f.Latency = row.times(time.Microsecond)
			}
		},
	})
	if err != nil {
		return nil, fmt.Errorf("analytics of attempts: %w", err)
	}
	return a, nil
}

// DeliveryAnalytics answers for the deliveries that were created between the edges.
func (h *History) DeliveryAnalytics(ctx context.Context, q Question) (*Answer[DeliveryFigures], error) {
	where := q.where() + " AND created_at >= " + at(q.from()) + " AND created_at < " + at(q.to())
	if q.Status != 0 {
		where += fmt.Sprintf(" AND status = %d", q.Status)
	}
	states := counting[DeliveryFigures]{
		figuresSQL{
			rows: "SELECT " + q.group() + " AS g, " + q.bucket("toUnixTimestamp64Milli(created_at)") + " AS b, status," +
				" greatest(dateDiff('millisecond', created_at, completed_at), 0) AS took FROM {{db}}.deliveries FINAL WHERE " + where,
			counts:    "[count()]",
			first:     countEach("toUInt8(status)", int(Failed)),
			second:    "[toUInt64(0)]",
			quantiles: "quantilesExactIf(0.5, 0.95, 0.99)(took, status = 'delivered')",
		},
		func(f *DeliveryFigures, row *figuresRow) {
			f.Deliveries = int(row.counts[0])
			counts(f.Statuses[:], row.first)
			if f.Statuses[Delivered] > 0 {
				f.TimeToSuccess = row.times(time.Millisecond)
			}
		},
	}
	// The tries of these deliveries, which their ids put into their buckets.
	tries := q.where() + " AND kind = 'attempt' AND delivery_id >= " + id(firstID(q.from())) + " AND delivery_id < " + id(firstID(q.to())) +
		" AND started_at >= " + at(q.from().Add(-skew))
	only := ""
	if q.Status != 0 {
		only = " AND delivery_id IN (SELECT delivery_id FROM {{db}}.deliveries FINAL WHERE " + where + ")"
	}
	made := counting[DeliveryFigures]{
		figuresSQL{
			rows: "SELECT " + q.group() + " AS g, " + q.bucket("toInt64(reinterpretAsUInt64(reverse(substring(delivery_id, 1, 6))))") + " AS b" +
				" FROM {{db}}.attempts FINAL WHERE " + tries + only + " AND " + once(tries),
			counts: "[count()]", first: "[toUInt64(0)]", second: "[toUInt64(0)]", quantiles: "[0]",
		},
		func(f *DeliveryFigures, row *figuresRow) { f.Attempts = int(row.counts[0]) },
	}
	a, err := collect(ctx, h, &q, states, made)
	if err != nil {
		return nil, fmt.Errorf("analytics of deliveries: %w", err)
	}
	return a, nil
}

func counts(into []int, from []uint64) {
	for i, n := range from {
		into[i] = int(n)
	}
}

// once is the condition that takes each attempt id once among the attempts under
// another condition: the original of a try, or the first completed copy that
// has none. Copies have their try's own started_at, and are rare: so they are
// looked for alone.
func once(where string) string {
	return replaceAll(`(NOT completed OR (part, off) IN
(
    SELECT part, off FROM {{db}}.attempts WHERE {{where}} AND completed AND attempt_id NOT IN
    (
        SELECT attempt_id FROM {{db}}.attempts WHERE {{where}} AND NOT completed AND (account, webhook_id, delivery_id, attempt_id) IN
            (SELECT account, webhook_id, delivery_id, attempt_id FROM {{db}}.attempts WHERE {{where}} AND completed)
    )
    ORDER BY part, off LIMIT 1 BY attempt_id
))`, "{{where}}", where)
}

package history

import (
	"context"
	"fmt"
	"time"
)

// hourlySQL computes one hour of attempts_hourly anew. An attempt that lies in
// two records (a completed copy) counts once; grouping in the order of the
// table keeps the memory small. trailing needs each webhook's last success of
// the hour, and ver the rows that it was made of, hence the join with a row per
// webhook. argMin by completed takes the original of an attempt, where both are.
const hourlySQL = `INSERT INTO {{db}}.attempts_hourly (account, webhook_id, hour, outcome, n, dur_us, lb, ln, last_at, trailing, ver)
` + hourlySelect

const hourlySelect = `WITH {{from}} AS hour_start, {{to}} AS hour_end
SELECT account, webhook_id, toStartOfHour(hour_start, 'UTC') AS hour, result AS outcome,
    toUInt32(sum(c)) AS n, sum(d) AS dur_us, arraySort(groupArray(b)) AS lb,
    arrayMap(p -> p.2, arraySort(groupArray(tuple(b, toUInt32(c))))) AS ln, max(latest) AS last_at, toUInt32(sum(t)) AS trailing, any(rows) AS ver
FROM
(
    SELECT account, webhook_id, result,
        toUInt8(least(floor(log2(toFloat64(us) + 1) * 8), 255)) AS b,
        count() AS c, sum(us) AS d, max(began) AS latest, countIf(began > last_success) AS t, any(whole.rows) AS rows
    FROM
    (
        SELECT account, webhook_id,
            argMin(tuple(outcome, duration_us, started_at), tuple(completed, off)) AS kept,
            kept.1 AS result, kept.2 AS us, kept.3 AS began
        FROM {{db}}.attempts FINAL
        WHERE kind = 'attempt' AND started_at >= hour_start AND started_at < hour_end
        GROUP BY account, webhook_id, delivery_id, attempt_id
    ) AS each
    INNER JOIN
    (
        SELECT account, webhook_id, maxIf(started_at, outcome = 'delivered') AS last_success, count() AS rows
        FROM {{db}}.attempts FINAL
        WHERE kind = 'attempt' AND started_at >= hour_start AND started_at < hour_end
        GROUP BY account, webhook_id
    ) AS whole USING (account, webhook_id)
    GROUP BY account, webhook_id, result, b
)
GROUP BY account, webhook_id, result`

// Recompute makes the hour's rows of attempts_hourly from attempts. It may be
// repeated, by anyone, at any time.
func (h *History) Recompute(ctx context.Context, hour time.Time) error {
	hour = hour.Truncate(time.Hour)
	sql := replaceAll(h.sql(hourlySQL), "{{from}}", at(hour), "{{to}}", at(hour.Add(time.Hour)))
	if err := h.conn.Exec(h.computing(ctx), sql); err != nil {
		return fmt.Errorf("recompute attempts_hourly of %s: %w", hour.UTC().Format(time.RFC3339), err)
	}
	return nil
}

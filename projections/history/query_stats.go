package history

import (
	"context"
	"fmt"

	"hookledger/ledger/ids"
)

// statsSQL sums hours. Failures after the last success are all those of later
// hours, and of its own hour those that began after it.
const statsSQL = `WITH hours AS
(
    SELECT webhook_id, hour, outcome, n, last_at, trailing
    FROM {{db}}.attempts_hourly FINAL
    WHERE {{where}}
),
lasts AS
(
    SELECT webhook_id, maxIf(last_at, outcome = 'delivered') AS success, maxIf(last_at, outcome != 'delivered') AS failure
    FROM hours GROUP BY webhook_id
)
SELECT webhook_id, success, failure,
    sumIf(if(hour > toStartOfHour(success), n, trailing), outcome != 'delivered' AND hour >= toStartOfHour(success))
FROM hours INNER JOIN lasts USING (webhook_id)
GROUP BY webhook_id, success, failure`

// Stats answers for the webhooks of an account that have any attempt; tests
// don't count. It reads attempts_hourly, which follows the attempts within a
// second while idle, and within seconds under load.
func (h *History) Stats(ctx context.Context, account string, webhooks ...ids.ID) (map[ids.ID]WebhookStats, error) {
	stats := make(map[ids.ID]WebhookStats, len(webhooks))
	if len(webhooks) == 0 {
		return stats, nil
	}
	rows, err := h.conn.Query(h.asking(ctx), replaceAll(h.sql(statsSQL),
		"{{where}}", "account = "+text(account)+" AND webhook_id IN "+idList(webhooks)))
	if err != nil {
		return nil, fmt.Errorf("statistics of %d webhooks: %w", len(webhooks), err)
	}
	defer rows.Close()
	for rows.Next() {
		var webhook [16]byte
		var s WebhookStats
		var failures uint64
		if err := rows.Scan(&webhook, &s.LastSuccessAt, &s.LastFailureAt, &failures); err != nil {
			return nil, fmt.Errorf("statistics of %d webhooks: %w", len(webhooks), err)
		}
		s.FailureCount = int(failures)
		s.LastSuccessAt, s.LastFailureAt = timeOf(s.LastSuccessAt), timeOf(s.LastFailureAt)
		stats[webhook] = s
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("statistics of %d webhooks: %w", len(webhooks), err)
	}
	return stats, nil
}

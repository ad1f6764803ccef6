package api

import (
	"context"
	"fmt"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"hookledger/ledger/ids"
	"hookledger/projections/history"
	"hookledger/projections/subscriptions"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// webhookStats are a webhook's figures and when they were true; zero for never asked.
type webhookStats struct {
	history.WebhookStats
	asOf time.Time
}

// fact is the figures as the fact of a change keeps them for its replays.
func (s webhookStats) fact() *facts.Figures {
	return &facts.Figures{
		FailureCount: uint64(s.FailureCount), LastFailureMs: millisOf(s.LastFailureAt),
		LastSuccessMs: millisOf(s.LastSuccessAt), AsOfMs: millisOf(s.asOf),
	}
}

func statsOf(f *facts.Figures) webhookStats {
	return webhookStats{
		WebhookStats: history.WebhookStats{
			FailureCount: int(f.GetFailureCount()), LastFailureAt: timeOf(f.GetLastFailureMs()), LastSuccessAt: timeOf(f.GetLastSuccessMs()),
		},
		asOf: timeOf(f.GetAsOfMs()),
	}
}

// millisOf and timeOf keep the zero time, which stands for none.
func millisOf(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func timeOf(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// statsCache keeps the last figures of each webhook, so that an unreachable
// history makes them old and not gone.
type statsCache struct {
	history *history.History
	now     func() time.Time
	known   *lru.Cache[ids.ID, webhookStats]
}

// statsFresh is how long figures are not asked for again, statsWait how long an
// answer waits for them.
const (
	statsFresh = time.Second
	statsWait  = time.Second
)

func newStatsCache(h *history.History, now func() time.Time) (*statsCache, error) {
	known, err := lru.New[ids.ID, webhookStats](100_000)
	if err != nil {
		return nil, fmt.Errorf("make the cache of webhook figures: %w", err)
	}
	return &statsCache{history: h, now: now, known: known}, nil
}

// of are the figures of webhooks of one account, asked for in one question.
func (c *statsCache) of(ctx context.Context, account string, hooks ...*subscriptions.Webhook) map[ids.ID]webhookStats {
	out := make(map[ids.ID]webhookStats, len(hooks))
	var ask []ids.ID
	now := c.now()
	for _, h := range hooks {
		known, ok := c.known.Get(h.ID)
		out[h.ID] = known
		if !ok || now.Sub(known.asOf) > statsFresh {
			ask = append(ask, h.ID)
		}
	}
	if len(ask) == 0 {
		return out
	}
	ctx, cancel := context.WithTimeout(ctx, statsWait)
	defer cancel()
	found, err := c.history.Stats(ctx, account, ask...)
	if err != nil { // the last known ones stand; stats_as_of says how old they are
		return out
	}
	for _, id := range ask {
		s := webhookStats{WebhookStats: found[id], asOf: now}
		c.known.Add(id, s)
		out[id] = s
	}
	return out
}

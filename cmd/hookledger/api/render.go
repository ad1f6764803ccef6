package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"hookledger/ledger/ids"
	"hookledger/projections/subscriptions"
	"hookledger/schemas/api"
	"hookledger/schemas/api/apierr"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// render is a webhook as the API shows it.
func render(w *subscriptions.Webhook, stats webhookStats) api.Webhook {
	return renderFact(w.Fact(), stats)
}

// renderFact is a webhook as a fact carries it.
func renderFact(w *facts.Webhook, stats webhookStats) api.Webhook {
	out := api.Webhook{
		WebhookID: ids.ID(w.GetWebhookId()).Text(ids.Webhook), Name: w.GetName(), URL: w.GetUrl(), Events: w.GetEvents(),
		Status:    api.WebhookStatusActive,
		CreatedAt: millis(w.GetCreatedMs()), UpdatedAt: millis(w.GetUpdatedMs()),
		Version:      int64(w.GetVersion()),
		FailureCount: int64(stats.FailureCount), LastSuccessAt: api.NewTime(stats.LastSuccessAt),
		LastFailureAt: api.NewTime(stats.LastFailureAt), StatsAsOf: api.NewTime(stats.asOf),
	}
	if w.GetIndexIdsSet() {
		out.IndexIDs = append([]string{}, w.GetIndexIds()...)
	}
	if len(w.GetMetadata()) > 0 {
		out.Metadata = json.RawMessage(w.GetMetadata())
	}
	switch w.GetStatus() {
	case facts.WebhookStatus_WEBHOOK_STATUS_PAUSED:
		out.Status = api.WebhookStatusPaused
	case facts.WebhookStatus_WEBHOOK_STATUS_DISABLED:
		out.Status = api.WebhookStatusDisabled
		out.DisabledReason = nonEmpty(w.GetDisabledReason())
	case facts.WebhookStatus_WEBHOOK_STATUS_ACTIVE, facts.WebhookStatus_WEBHOOK_STATUS_UNSPECIFIED:
	}
	return out
}

// object is a metadata field's JSON, nil for null.
func object(o api.Opt[json.RawMessage]) []byte {
	if !o.Set || o.Null {
		return nil
	}
	return o.Value
}

func millis(ms int64) api.Time { return api.Time(time.UnixMilli(ms)) }

func nonEmpty(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// first is the fact whose answer a repeat gets again.
func (s *server) first(ctx context.Context, w http.ResponseWriter, fact *facts.ConfigFact, v subscriptions.Verdict) (*facts.ConfigFact, error) {
	first, err := s.Config.Fact(ctx, fact.GetAccount(), v.First)
	if err != nil {
		return nil, apierr.NoLog(time.Second, err)
	}
	w.Header().Set("Idempotency-Replayed", "true")
	return first, nil
}

package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"hookledger/consumers/sender"
	"hookledger/ledger"
	"hookledger/ledger/event"
	"hookledger/ledger/ids"
	"hookledger/projections/subscriptions"
	"hookledger/schemas/api"
	"hookledger/schemas/api/apierr"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// TestWebhook sends a test event at once and reports the receiver's answer.
func (s *server) TestWebhook(w http.ResponseWriter, r *http.Request, webhookID api.WebhookID, params api.TestWebhookParams) {
	hook, err := s.webhook(r, webhookID)
	if err != nil {
		api.WriteError(w, r, err)
		return
	}
	s.perform(w, r, params.IdempotencyKey, call{
		operation: "test", target: webhookID, webhook: hook.ID[:], gone: apierr.NoWebhook,
		run: func(ctx context.Context) (int, any, error) {
			result, err := s.sendTest(ctx, r, hook)
			return http.StatusOK, result, err
		},
	})
}

// sendTest sends and records a test event. Its fact says what happened and
// counts for nothing else.
func (s *server) sendTest(ctx context.Context, r *http.Request, hook *subscriptions.Webhook) (*api.TestResult, error) {
	now := s.Now()
	id, err := ids.Timed(now, s.Random)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(map[string]string{
		"message": "A test event, sent on request.", "webhook_id": hook.ID.Text(ids.Webhook),
	})
	if err != nil {
		return nil, err
	}
	body := event.Compose(&event.Event{
		ID: id.Text(ids.TestEvent), Type: "test", CreatedAt: now, Data: data,
	}, hook.Metadata)
	signing, err := s.signing(hook, now)
	if err != nil {
		return nil, apierr.Internal(err)
	}
	got := s.Sender.Send(ctx, sender.Request{
		URL: hook.URL, Body: body, WebhookID: hook.ID.Text(ids.Webhook), MessageID: id.Text(ids.TestEvent),
		EventType: "test", Secrets: signing, Test: true,
	})
	fact := &facts.AttemptFact{
		FactId: id[:], Kind: facts.FactKind_FACT_KIND_TEST,
		Subject: &facts.Subject{
			WebhookId: hook.ID[:], Account: hook.Account, EventId: id.Text(ids.TestEvent), EventType: "test", CreatedMs: now.UnixMilli(),
		},
		Attempt: 1, Outcome: got.Outcome, RequestSent: got.RequestSent,
		StartedMs: got.Started.UnixMilli(), DurationUs: uint32(min(got.Duration.Microseconds(), 1<<32-1)),
		StatusCode: uint32(got.StatusCode), ResponseHeaders: got.Headers, ResponseBody: got.Body,
		BodyTruncated: got.BodyTruncated, Error: got.Error, Url: hook.URL, WebhookVersion: hook.Version,
		Actor: who(r.Context()).actor.GetId(), RequestId: api.RequestID(r.Context()),
	}
	if _, err := s.durable(ctx, ledger.AttemptRecord(s.Log.WebhookPartition(hook.ID[:]), fact)); err != nil {
		return nil, err
	}
	out := &api.TestResult{
		Success: got.Outcome == facts.Outcome_OUTCOME_DELIVERED, Outcome: api.Outcome(outcomeName(got.Outcome)),
		DurationMs: milliseconds(got.Duration), Error: nonEmpty(got.Error),
	}
	if got.StatusCode != 0 {
		out.StatusCode = &got.StatusCode
		text := strings.ToValidUTF8(string(got.Body), "\ufffd")
		out.ResponseBody = &text
	}
	return out, nil
}

// signing are the secrets that sign for a webhook at a time.
func (s *server) signing(hook *subscriptions.Webhook, at time.Time) (sender.Secrets, error) {
	var out sender.Secrets
	for i, sealed := range hook.SecretsAt(at.UnixMilli()) {
		secret, err := s.openSecret(sealed.Fact(), hook.ID)
		if err != nil {
			return out, err
		}
		if i == 0 {
			out.Current = sender.Secret(secret.Reveal())
		} else {
			out.Former = append(out.Former, sender.Secret(secret.Reveal()))
		}
	}
	return out, nil
}

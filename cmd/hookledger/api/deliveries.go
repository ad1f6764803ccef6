package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"hookledger/ledger/ids"
	"hookledger/projections/history"
	"hookledger/schemas/api"
	"hookledger/schemas/api/apierr"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// ListDeliveries lists a webhook's deliveries, newest first.
func (s *server) ListDeliveries(w http.ResponseWriter, r *http.Request, webhookID api.WebhookID, params api.ListDeliveriesParams) {
	hook, err := s.webhook(r, webhookID)
	if err != nil {
		api.WriteError(w, r, err)
		return
	}
	page, err := deliveryPage(params.Limit, params.Cursor)
	if err != nil {
		api.WriteError(w, r, err)
		return
	}
	if params.Status != nil {
		page.Status = statusOf(*params.Status)
	}
	list, next, err := s.History.Deliveries(r.Context(), hook.Account, hook.ID, page)
	if err != nil {
		api.WriteError(w, r, apierr.NoHistory(time.Second, err))
		return
	}
	out := make([]api.Delivery, len(list))
	for i := range list {
		out[i] = renderDelivery(&list[i], nil)
	}
	api.NextPage(w, r, deliveryCursor(next))
	api.WriteJSON(w, r, http.StatusOK, out)
}

// GetDelivery answers one delivery with the payload that was sent.
func (s *server) GetDelivery(w http.ResponseWriter, r *http.Request, deliveryID api.DeliveryID) {
	d, err := s.delivery(r, deliveryID)
	if err != nil {
		api.WriteError(w, r, err)
		return
	}
	out, err := s.whole(r, d)
	if err != nil {
		api.WriteError(w, r, err)
		return
	}
	answer(w, r, out)
}

// whole is a delivery with payload and figures.
func (s *server) whole(r *http.Request, d *history.Delivery) (api.Delivery, error) {
	payload, err := s.History.Payload(r.Context(), d)
	if err != nil && !errors.Is(err, history.ErrPayloadExpired) {
		return api.Delivery{}, missing(err, apierr.NoHistory(time.Second, err))
	}
	attempts, err := s.History.Attempts(r.Context(), d)
	if err != nil {
		return api.Delivery{}, apierr.NoHistory(time.Second, err)
	}
	out := renderDelivery(d, payload)
	stats := new(api.DeliveryStats)
	var total time.Duration
	for _, a := range attempts {
		if a.Kind != facts.FactKind_FACT_KIND_ATTEMPT {
			continue
		}
		if stats.FirstAttemptAt == nil {
			stats.FirstAttemptAt = api.NewTime(a.StartedAt)
		}
		if a.MaybeRepeat {
			stats.MaybeRepeats++
		}
		if a.RequestSent {
			stats.RequestsSent++
		}
		total += a.Duration
	}
	stats.TotalDurationMs = milliseconds(total)
	out.Stats = stats
	return out, nil
}

// ListAttempts answers every try of a delivery, oldest first.
func (s *server) ListAttempts(w http.ResponseWriter, r *http.Request, deliveryID api.DeliveryID, params api.ListAttemptsParams) {
	d, err := s.delivery(r, deliveryID)
	if err != nil {
		api.WriteError(w, r, err)
		return
	}
	attempts, err := s.History.Attempts(r.Context(), d)
	if err != nil {
		api.WriteError(w, r, apierr.NoHistory(time.Second, err))
		return
	}
	limit := defaultPage
	if params.Limit != nil {
		limit = *params.Limit
	}
	after := ids.ID{}
	if params.Cursor != nil {
		if after, err = ids.Parse(ids.Attempt, *params.Cursor); err != nil {
			api.WriteError(w, r, badCursor())
			return
		}
	}
	out := []api.Attempt{}
	seen := after.IsZero()
	for i := range attempts {
		a := attempts[i]
		switch {
		case a.Kind != facts.FactKind_FACT_KIND_ATTEMPT:
		case !seen:
			seen = a.ID == after
		case len(out) == limit:
			api.NextPage(w, r, out[limit-1].AttemptID)
			api.WriteJSON(w, r, http.StatusOK, out)
			return
		default:
			out = append(out, renderAttempt(a))
		}
	}
	api.WriteJSON(w, r, http.StatusOK, out)
}

// delivery is the account's delivery by its text id, deleted webhooks' too.
func (s *server) delivery(r *http.Request, text string) (*history.Delivery, error) {
	id, err := ids.Parse(ids.Delivery, text)
	if err != nil {
		return nil, apierr.NoDelivery(text)
	}
	d, err := s.History.Delivery(r.Context(), who(r.Context()).account, id)
	if err != nil {
		return nil, missing(err, apierr.NoDelivery(text))
	}
	return d, nil
}

const defaultPage = 50

func deliveryPage(limit *int, cursor *api.Cursor) (history.Page, error) {
	page := history.Page{Limit: defaultPage}
	if limit != nil {
		page.Limit = *limit
	}
	if cursor != nil {
		var err error
		if page.Cursor, err = ids.Parse(ids.Delivery, *cursor); err != nil {
			return page, badCursor()
		}
	}
	return page, nil
}

func deliveryCursor(next ids.ID) string {
	if next.IsZero() {
		return ""
	}
	return next.Text(ids.Delivery)
}

func statusOf(s api.DeliveryStatus) history.Status {
	switch s {
	case api.DeliveryStatusPending:
		return history.Pending
	case api.DeliveryStatusRetrying:
		return history.Retrying
	case api.DeliveryStatusDelivered:
		return history.Delivered
	case api.DeliveryStatusFailed:
		return history.Failed
	}
	return 0
}

func renderStatus(s history.Status) api.DeliveryStatus {
	switch s {
	case history.Retrying:
		return api.DeliveryStatusRetrying
	case history.Delivered:
		return api.DeliveryStatusDelivered
	case history.Failed:
		return api.DeliveryStatusFailed
	default:
		return api.DeliveryStatusPending
	}
}

func renderDelivery(d *history.Delivery, payload []byte) api.Delivery {
	out := api.Delivery{
		DeliveryID: d.ID.Text(ids.Delivery), WebhookID: d.Webhook.Text(ids.Webhook),
		EventID: d.EventID, EventType: d.EventType, Status: renderStatus(d.Status), Attempts: d.Attempts,
		CreatedAt: api.Time(d.CreatedAt), NextRetryAt: api.NewTime(d.NextRetryAt), CompletedAt: api.NewTime(d.CompletedAt),
		Round: int64(d.Round), Payload: json.RawMessage(payload),
	}
	if d.Ended() {
		end := strings.ToLower(strings.TrimPrefix(d.End.String(), "END_"))
		out.End = &end
	}
	if a := d.Last; a != nil {
		out.LastAttemptAt = api.NewTime(a.StartedAt)
		out.ErrorMessage = nonEmpty(a.Error)
		if a.StatusCode != 0 {
			out.ResponseStatusCode = &a.StatusCode
			body := strings.ToValidUTF8(string(a.Body), "\ufffd")
			out.ResponseBody = &body
		}
	}
	return out
}

func renderAttempt(a history.Attempt) api.Attempt {
	out := api.Attempt{
		AttemptID: a.ID.Text(ids.Attempt), Number: int(a.Number), Round: int64(a.Round),
		Outcome: api.Outcome(outcomeName(a.Outcome)), RequestSent: a.RequestSent, MaybeRepeat: a.MaybeRepeat,
		StartedAt: api.Time(a.StartedAt), DurationMs: milliseconds(a.Duration),
		ErrorMessage: nonEmpty(a.Error), ResponseBodyCut: a.BodyTruncated || a.BodyCut,
	}
	if a.StatusCode != 0 {
		out.ResponseStatusCode = &a.StatusCode
		body := strings.ToValidUTF8(string(a.Body), "\ufffd")
		out.ResponseBody = &body
		out.ResponseHeaders = make(map[string][]string)
		for _, h := range a.Headers {
			name := strings.ToLower(h.Name)
			out.ResponseHeaders[name] = append(out.ResponseHeaders[name], h.Value)
		}
	}
	return out
}

func outcomeName(o facts.Outcome) string {
	return strings.ToLower(strings.TrimPrefix(o.String(), "OUTCOME_"))
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

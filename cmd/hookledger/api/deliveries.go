package api

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
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
	of := listing{name: "deliveries", account: hook.Account, of: webhookID}
	if params.Status != nil {
		of.filter = string(*params.Status)
	}
	page, err := s.deliveryPage(of, params.Limit, params.Cursor)
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
	api.NextPage(w, r, s.cursor(of, idPlace(next)))
	api.WriteJSON(w, r, http.StatusOK, out)
}

// GetDelivery answers one delivery with the payload that was sent.
func (s *server) GetDelivery(w http.ResponseWriter, r *http.Request, deliveryID api.DeliveryID, params api.GetDeliveryParams) {
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
	answer(w, r, params.IfNoneMatch, out)
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
	out.Stats = statsOfTries(attempts)
	return out, nil
}

// statsOfTries are the figures over the tries among a delivery's facts.
func statsOfTries(attempts []history.Attempt) *api.DeliveryStats {
	stats := new(api.DeliveryStats)
	var total time.Duration
	for i := range attempts {
		a := &attempts[i]
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
	return stats
}

// ListAttempts answers every try of a delivery, oldest first: by round, number,
// and id, which counts up as tries start.
func (s *server) ListAttempts(w http.ResponseWriter, r *http.Request, deliveryID api.DeliveryID, params api.ListAttemptsParams) {
	d, err := s.delivery(r, deliveryID)
	if err != nil {
		api.WriteError(w, r, err)
		return
	}
	of := listing{name: "attempts", account: d.Account, of: deliveryID}
	after, err := s.place(of, params.Cursor, attemptPlaceSize)
	if err != nil {
		api.WriteError(w, r, err)
		return
	}
	attempts, err := s.History.Attempts(r.Context(), d)
	if err != nil {
		api.WriteError(w, r, apierr.NoHistory(time.Second, err))
		return
	}
	attempts = slices.DeleteFunc(attempts, func(a history.Attempt) bool {
		return a.Kind != facts.FactKind_FACT_KIND_ATTEMPT || bytes.Compare(attemptPlace(&a), after) <= 0
	})
	slices.SortFunc(attempts, func(a, b history.Attempt) int { return bytes.Compare(attemptPlace(&a), attemptPlace(&b)) })
	limit := defaultPage
	if params.Limit != nil {
		limit = *params.Limit
	}
	if len(attempts) > limit {
		attempts = attempts[:limit]
		api.NextPage(w, r, s.cursor(of, attemptPlace(&attempts[limit-1])))
	}
	out := make([]api.Attempt, len(attempts))
	for i := range attempts {
		out[i] = renderAttempt(attempts[i])
	}
	api.WriteJSON(w, r, http.StatusOK, out)
}

const attemptPlaceSize = 8 + 4 + ids.Size

// attemptPlace is the key by which a delivery's tries are ordered.
func attemptPlace(a *history.Attempt) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, attemptPlaceSize), a.Round)
	return append(binary.BigEndian.AppendUint32(b, a.Number), a.ID[:]...)
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

func (s *server) deliveryPage(of listing, limit *int, cursor *api.Cursor) (history.Page, error) {
	page := history.Page{Limit: defaultPage}
	if limit != nil {
		page.Limit = *limit
	}
	place, err := s.place(of, cursor, ids.Size)
	page.Cursor = idAt(place)
	return page, err
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

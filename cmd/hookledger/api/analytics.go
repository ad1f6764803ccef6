package api

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	_ "time/tzdata" // time zones where the machine has none

	"hookledger/ledger/ids"
	"hookledger/projections/history"
	"hookledger/schemas/api"
	"hookledger/schemas/api/apierr"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// Limits of an analytics question.
const (
	analyticsRange   = 400 * 24 * time.Hour
	analyticsBuckets = 1_500
	// analyticsCells is how many buckets all groups have together.
	analyticsCells  = 15_000
	analyticsGroups = 20
)

// analyticsParams are what both questions share.
type analyticsParams struct {
	from, to                     *api.Moment
	bucket, zone, groupBy, event *string
	groups                       *int
	webhook                      *api.OfWebhook
}

// question judges the parameters, and names every fault at once.
func (s *server) question(r *http.Request, p analyticsParams) (history.Question, error) {
	q := history.Question{Account: who(r.Context()).account, Groups: analyticsGroups}
	var faults []apierr.Field
	fault := func(field, format string, args ...any) {
		faults = append(faults, apierr.Field{In: "query", Field: field, Message: fmt.Sprintf(format, args...)})
	}
	to, err := moment(p.to, s.Now().UTC().Truncate(time.Millisecond))
	if err != nil {
		fault("to", "%v", err)
	}
	from, err := moment(p.from, to.Add(-24*time.Hour))
	if err != nil {
		fault("from", "%v", err)
	}
	switch {
	case len(faults) > 0:
	case !from.Before(to):
		fault("from", "must be before `to`, which is %s", api.Time(to))
	case to.Sub(from) > analyticsRange:
		fault("from", "is more than 400 days before `to`: ask for a shorter range")
	}
	zone, err := time.LoadLocation(deref(p.zone, "UTC"))
	if err != nil || strings.EqualFold(zone.String(), "local") {
		fault("time_zone", "is not an IANA time zone that this service knows: give one such as Europe/Berlin")
	}
	q.GroupBy, q.Event = history.GroupBy(deref(p.groupBy, "")), deref(p.event, "")
	if p.groups != nil {
		q.Groups = *p.groups
	}
	if len(faults) == 0 {
		if q.Edges, err = history.Edges(from, to, history.Bucket(deref(p.bucket, "")), zone, analyticsBuckets); err != nil {
			fault("bucket", "would cut the range into more than %d: take a longer one or a shorter range", analyticsBuckets)
		} else if cells := (len(q.Edges) - 1) * q.Groups; q.GroupBy != history.NoGroups && cells > analyticsCells {
			fault("groups", "%d groups of %d buckets are more than %d: take fewer groups, a longer bucket or a shorter range",
				q.Groups, len(q.Edges)-1, analyticsCells)
		}
	}
	if p.webhook != nil {
		if q.Webhook, err = ids.Parse(ids.Webhook, *p.webhook); err != nil {
			fault("webhook_id", "is not a webhook's id")
		}
	}
	if len(faults) > 0 {
		return q, apierr.Invalid(faults...)
	}
	return q, nil
}

// moment reads a time of a query, which the specification has judged by form only.
func moment(text *api.Moment, otherwise time.Time) (time.Time, error) {
	if text == nil {
		return otherwise, nil
	}
	at, err := time.Parse(time.RFC3339Nano, *text)
	if err != nil {
		return at, errors.New("is not a date and time that exists, such as 2026-11-24T00:00:00Z")
	}
	return at.UTC().Truncate(time.Millisecond), nil
}

func deref[S ~string](p *S, otherwise string) string {
	if p == nil {
		return otherwise
	}
	return string(*p)
}

// DeliveryAnalytics answers figures over deliveries.
func (s *server) DeliveryAnalytics(w http.ResponseWriter, r *http.Request, params api.DeliveryAnalyticsParams) {
	p := analyticsParams{
		from: params.From, to: params.To, bucket: (*string)(params.Bucket), zone: params.TimeZone, groupBy: (*string)(params.GroupBy),
		groups: params.Groups, webhook: params.WebhookID, event: params.Event,
	}
	q, err := s.question(r, p)
	if err != nil {
		api.WriteError(w, r, err)
		return
	}
	if params.Status != nil {
		q.Status = statusOf(*params.Status)
	}
	a, err := s.History.DeliveryAnalytics(r.Context(), q)
	if err != nil {
		api.WriteError(w, r, apierr.NoHistory(time.Second, err))
		return
	}
	out := api.DeliveryAnalytics{
		From: api.Time(q.Edges[0]), To: api.Time(q.Edges[len(q.Edges)-1]), TimeZone: deref(params.TimeZone, "UTC"),
		Total: renderDeliveries(a.Total), Buckets: deliveryBuckets(q.Edges, a.Buckets),
		Groups: make([]api.DeliveryGroup, len(a.Groups)), GroupsTotal: a.GroupsTotal,
	}
	for i, g := range a.Groups {
		out.Groups[i] = api.DeliveryGroup{Total: renderDeliveries(g.Total), Buckets: deliveryBuckets(q.Edges, g.Buckets), Event: nonEmpty(g.Event)}
		if !g.Webhook.IsZero() {
			out.Groups[i].WebhookID = nonEmpty(g.Webhook.Text(ids.Webhook))
		}
	}
	api.WriteJSON(w, r, http.StatusOK, out)
}

// AttemptAnalytics answers figures over tries.
func (s *server) AttemptAnalytics(w http.ResponseWriter, r *http.Request, params api.AttemptAnalyticsParams) {
	p := analyticsParams{
		from: params.From, to: params.To, bucket: (*string)(params.Bucket), zone: params.TimeZone, groupBy: (*string)(params.GroupBy),
		groups: params.Groups, webhook: params.WebhookID, event: params.Event,
	}
	q, err := s.question(r, p)
	if err != nil {
		api.WriteError(w, r, err)
		return
	}
	if params.Outcome != nil {
		for _, o := range history.Outcomes {
			if outcomeName(o) == string(*params.Outcome) {
				q.Outcome = o
			}
		}
	}
	a, err := s.History.AttemptAnalytics(r.Context(), q)
	if err != nil {
		api.WriteError(w, r, apierr.NoHistory(time.Second, err))
		return
	}
	out := api.AttemptAnalytics{
		From: api.Time(q.Edges[0]), To: api.Time(q.Edges[len(q.Edges)-1]), TimeZone: deref(params.TimeZone, "UTC"),
		Total: renderAttempts(a.Total), Buckets: attemptBuckets(q.Edges, a.Buckets),
		Groups: make([]api.AttemptGroup, len(a.Groups)), GroupsTotal: a.GroupsTotal,
	}
	for i, g := range a.Groups {
		out.Groups[i] = api.AttemptGroup{Total: renderAttempts(g.Total), Buckets: attemptBuckets(q.Edges, g.Buckets), Event: nonEmpty(g.Event)}
		if !g.Webhook.IsZero() {
			out.Groups[i].WebhookID = nonEmpty(g.Webhook.Text(ids.Webhook))
		}
	}
	api.WriteJSON(w, r, http.StatusOK, out)
}

func deliveryBuckets(edges []time.Time, all []history.DeliveryFigures) []api.DeliveryBucket {
	out := make([]api.DeliveryBucket, len(all))
	for i, f := range all {
		out[i] = api.DeliveryBucket{Start: api.Time(edges[i]), End: api.Time(edges[i+1]), Figures: renderDeliveries(f)}
	}
	return out
}

func attemptBuckets(edges []time.Time, all []history.AttemptFigures) []api.AttemptBucket {
	out := make([]api.AttemptBucket, len(all))
	for i, f := range all {
		out[i] = api.AttemptBucket{Start: api.Time(edges[i]), End: api.Time(edges[i+1]), Figures: renderAttempts(f)}
	}
	return out
}

func renderDeliveries(f history.DeliveryFigures) api.DeliveryFigures {
	out := api.DeliveryFigures{
		Deliveries: f.Deliveries, Attempts: f.Attempts,
		SuccessRate:         ratio(f.Statuses[history.Delivered], f.Statuses[history.Delivered]+f.Statuses[history.Failed]),
		AttemptsPerDelivery: ratio(f.Attempts, f.Deliveries),
	}
	out.ByStatus.Pending, out.ByStatus.Retrying = f.Statuses[history.Pending], f.Statuses[history.Retrying]
	out.ByStatus.Delivered, out.ByStatus.Failed = f.Statuses[history.Delivered], f.Statuses[history.Failed]
	if f.Statuses[history.Delivered] > 0 {
		out.TimeToSuccessMs = renderQuantiles(f.TimeToSuccess)
	}
	return out
}

func renderAttempts(f history.AttemptFigures) api.AttemptFigures {
	out := api.AttemptFigures{
		Attempts: f.Attempts, RequestsSent: f.RequestsSent, ByOutcome: make(map[api.Outcome]int, len(history.Outcomes)),
		SuccessRate: ratio(f.Outcomes[facts.Outcome_OUTCOME_DELIVERED], f.Attempts),
	}
	for _, o := range history.Outcomes {
		out.ByOutcome[api.Outcome(outcomeName(o))] = f.Outcomes[o]
	}
	by := &out.ByResponse
	by.None, by.Informational, by.Success, by.Redirection, by.ClientError, by.ServerError =
		f.Classes[0], f.Classes[1], f.Classes[2], f.Classes[3], f.Classes[4], f.Classes[5]
	if f.Attempts > 0 {
		out.LatencyMs = renderQuantiles(f.Latency)
	}
	return out
}

func renderQuantiles(q history.Quantiles) *api.AnalyticsQuantiles {
	return &api.AnalyticsQuantiles{P50: milliseconds(q.P50), P95: milliseconds(q.P95), P99: milliseconds(q.P99)}
}

// ratio is nil where there is nothing to divide by.
func ratio(part, whole int) *float64 {
	if whole == 0 {
		return nil
	}
	r := float64(part) / float64(whole)
	return &r
}

package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"hookledger/schemas/api"
)

// server answers every operation with a plain success of the specification's form.
type server struct {
	fail error // if set, answered by GetWebhook
	boom bool  // GetWebhook panics
}

var at = api.Time(time.Date(2026, 11, 23, 22, 0, 0, 0, time.UTC))

func webhook() api.Webhook {
	return api.Webhook{
		WebhookID: "wh_1", Name: "n", URL: "https://x", Events: []string{"export.ready"}, Status: api.WebhookStatusActive, CreatedAt: at, UpdatedAt: at,
		Metadata: json.RawMessage(`{"big":12345678901234567890,"huge":1e400,"html":"<&>"}`), Version: 1,
	}
}

func key() api.APIKey {
	return api.APIKey{KeyID: "key_1", KeyPrefix: "sk_ab", Name: "n", Scopes: []api.Scope{api.ScopeRead}, CreatedAt: at, IsActive: true}
}

func delivery() api.Delivery {
	return api.Delivery{DeliveryID: "del_1", WebhookID: "wh_1", EventID: "evt_1", EventType: "export.ready", Status: api.DeliveryStatusPending, Round: 1, CreatedAt: at}
}

const secret = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

func (s *server) ListAPIKeys(w http.ResponseWriter, r *http.Request, _ api.ListAPIKeysParams) {
	api.WriteJSON(w, r, 200, []api.APIKey{key()})
}

func (s *server) CreateAPIKey(w http.ResponseWriter, r *http.Request, _ api.CreateAPIKeyParams) {
	api.WriteJSON(w, r, 201, api.APIKeyWithValue{APIKey: key(), Key: "sk_1"})
}

func (s *server) DeleteAPIKey(w http.ResponseWriter, r *http.Request, _ string) {
	api.WriteJSON(w, r, 200, api.Message{Message: "gone"})
}

func (s *server) GetAPIKey(w http.ResponseWriter, r *http.Request, _ string, _ api.GetAPIKeyParams) {
	api.WriteJSON(w, r, 200, key())
}

func (s *server) RevokeAPIKey(w http.ResponseWriter, r *http.Request, _ string, _ api.RevokeAPIKeyParams) {
	api.WriteJSON(w, r, 200, key())
}

func (s *server) RotateAPIKey(w http.ResponseWriter, r *http.Request, _ string, _ api.RotateAPIKeyParams) {
	api.WriteJSON(w, r, 200, api.APIKeyRotated{OldKeyID: "key_1", NewKey: api.APIKeyWithValue{APIKey: key(), Key: "sk_1"}})
}

func (s *server) PublishEvents(w http.ResponseWriter, r *http.Request, _ api.PublishEventsParams) {
	var out api.EventsAccepted
	for i, e := range api.Events(r.Context()) {
		id := e.ID
		if id == "" {
			id = fmt.Sprintf("evt_%d", i)
		}
		out.Events = append(out.Events, api.EventAccepted{ID: id, Status: api.EventAcceptanceAccepted})
	}
	api.WriteJSON(w, r, 202, out)
}

func (s *server) GetEvent(w http.ResponseWriter, r *http.Request, id string, _ api.GetEventParams) {
	api.NextPage(w, r, "abc")
	api.WriteJSON(w, r, 200, api.Event{ID: id, Event: "export.ready", Status: api.EventStatusAccepted, CreatedAt: at, AcceptedAt: at, Data: json.RawMessage(`{}`), Deliveries: []api.Delivery{delivery()}})
}

func (s *server) ListWebhooks(w http.ResponseWriter, r *http.Request, _ api.ListWebhooksParams) {
	api.WriteJSON(w, r, 200, []api.Webhook{webhook()})
}

func (s *server) CreateWebhook(w http.ResponseWriter, r *http.Request, _ api.CreateWebhookParams) {
	var in api.WebhookCreate
	if err := api.Decode(r.Context(), &in); err != nil {
		api.WriteError(w, r, err)
		return
	}
	wh := webhook()
	wh.Name, wh.Metadata = in.Name, in.Metadata.Value
	api.WriteJSON(w, r, 201, api.WebhookWithSecret{Webhook: wh, Secret: secret})
}

func (s *server) GetDelivery(w http.ResponseWriter, r *http.Request, _ string, _ api.GetDeliveryParams) {
	d := delivery()
	end := "delivered"
	d.End, d.Payload = &end, json.RawMessage(`{"data":{"n":1e400}}`)
	d.Stats = &api.DeliveryStats{FirstAttemptAt: &at}
	api.WriteJSON(w, r, 200, d)
}

func (s *server) ListAttempts(w http.ResponseWriter, r *http.Request, _ string, _ api.ListAttemptsParams) {
	api.WriteJSON(w, r, 200, []api.Attempt{{AttemptID: "att_1", Number: 1, Round: 1, Outcome: api.OutcomeHTTPStatus, StartedAt: at, DurationMs: 1.5, ResponseHeaders: map[string][]string{"x": {"y"}}}})
}

func (s *server) RetryDelivery(w http.ResponseWriter, r *http.Request, _ string, _ api.RetryDeliveryParams) {
	api.WriteJSON(w, r, 200, delivery())
}

func (s *server) DeliveryAnalytics(w http.ResponseWriter, r *http.Request, _ api.DeliveryAnalyticsParams) {
	none := api.DeliveryFigures{}
	api.WriteJSON(w, r, 200, api.DeliveryAnalytics{
		From: at, To: at, TimeZone: "UTC", Total: none, Groups: []api.DeliveryGroup{}, Buckets: []api.DeliveryBucket{{Start: at, End: at, Figures: none}},
	})
}

func (s *server) AttemptAnalytics(w http.ResponseWriter, r *http.Request, _ api.AttemptAnalyticsParams) {
	rate := 0.5
	some := api.AttemptFigures{ByOutcome: map[api.Outcome]int{api.OutcomeDelivered: 1}, SuccessRate: &rate, LatencyMs: &api.AnalyticsQuantiles{P50: 1.5}}
	api.WriteJSON(w, r, 200, api.AttemptAnalytics{
		From: at, To: at, TimeZone: "UTC", Total: some, Buckets: []api.AttemptBucket{{Start: at, End: at, Figures: some}},
		Groups: []api.AttemptGroup{{Total: some, Buckets: []api.AttemptBucket{}}}, GroupsTotal: 1,
	})
}

func (s *server) ListChanges(w http.ResponseWriter, r *http.Request, _ api.ListChangesParams) {
	c := api.Change{ChangeID: "chg_1", RecordedAt: at, RequestedAt: at, Kind: "webhook_created", Verdict: "applied", SubjectID: "wh_1", Changed: []string{"url"}, After: json.RawMessage(`{"url":"x"}`)}
	c.Actor.Kind = "token"
	api.WriteJSON(w, r, 200, []api.Change{c})
}

func (s *server) ListEventNames(w http.ResponseWriter, r *http.Request) {
	api.WriteJSON(w, r, 200, []string{"export.ready"})
}

func (s *server) DeleteWebhook(w http.ResponseWriter, r *http.Request, _ string, _ api.DeleteWebhookParams) {
	api.WriteJSON(w, r, 200, api.Message{Message: "gone"})
}

func (s *server) GetWebhook(w http.ResponseWriter, r *http.Request, _ string, _ api.GetWebhookParams) {
	switch {
	case s.boom:
		panic("the reason is for the log")
	case s.fail != nil:
		api.WriteError(w, r, s.fail)
	default:
		w.Header().Set("ETag", api.VersionTag(1, ""))
		api.WriteJSON(w, r, 200, webhook())
	}
}

func (s *server) UpdateWebhook(w http.ResponseWriter, r *http.Request, _ string, _ api.UpdateWebhookParams) {
	api.WriteJSON(w, r, 200, webhook())
}

func (s *server) ListDeliveries(w http.ResponseWriter, r *http.Request, _ string, _ api.ListDeliveriesParams) {
	api.WriteJSON(w, r, 200, []api.Delivery{delivery()})
}

func (s *server) RotateWebhookSecret(w http.ResponseWriter, r *http.Request, id string, _ api.RotateWebhookSecretParams) {
	api.WriteJSON(w, r, 200, api.RotatedSecret{WebhookID: id, NewSecret: secret})
}

func (s *server) TestWebhook(w http.ResponseWriter, r *http.Request, _ string, _ api.TestWebhookParams) {
	api.WriteJSON(w, r, 200, api.TestResult{Success: true, Outcome: api.OutcomeDelivered})
}

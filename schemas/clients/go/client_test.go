package hookledger_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"hookledger/schemas"
	client "hookledger/schemas/clients/go"
)

func TestEveryOperationHasAMethod(t *testing.T) {
	doc, err := openapi3.NewLoader().LoadFromData(schemas.OpenAPI)
	if err != nil {
		t.Fatal(err)
	}
	c := reflect.TypeFor[*client.Client]()
	for _, item := range doc.Paths.Map() {
		for _, op := range item.Operations() {
			if _, ok := c.MethodByName(op.OperationID); !ok {
				t.Errorf("the client lacks %s: make generate", op.OperationID)
			}
		}
	}
}

func TestItDependsOnNothingOfTheServer(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"github.com/apapsch/go-jsonmerge/v2", "github.com/google/uuid", "github.com/oapi-codegen/runtime",
		"github.com/oapi-codegen/runtime/types", "hookledger/schemas/clients/go",
	}
	got := strings.Fields(string(out))
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("it needs %q, want %q", got, want)
	}
}

// TestATour goes through every resource against the server.
func TestATour(t *testing.T) {
	t.Parallel()
	ctx, c, r := t.Context(), connect(t), receive(t)

	if names := must[[]string](t)(c.ListEventNames(ctx)); !slices.Contains(names, "export.ready") {
		t.Errorf("event names are %q", names)
	}
	hook, resp, err := c.CreateWebhook(ctx, nil, client.WebhookCreate{
		Name: "tour", URL: r.url, Events: []string{"export.ready"}, Metadata: client.Some(json.RawMessage(`{"team":"ü"}`)),
	})
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusCreated || resp.IdempotencyKey == "" || resp.RequestID == "" || !strings.HasPrefix(hook.Secret, "whsec_") {
		t.Errorf("create answered %+v, %+v", hook, resp)
	}

	// Versions.
	got, resp, err := c.GetWebhook(ctx, hook.WebhookID, nil)
	if err != nil || got.Name != "tour" || string(got.Metadata) != `{"team":"ü"}` || resp.ETag == "" {
		t.Fatalf("got %+v, %+v, %v", got, resp, err)
	}
	if _, again, err := c.GetWebhook(ctx, hook.WebhookID, &client.GetWebhookParams{IfNoneMatch: &resp.ETag}); err != nil || !again.NotModified {
		t.Errorf("an unchanged webhook is %+v, %v", again, err)
	}
	name := "after"
	updated := must[client.Webhook](t)(c.UpdateWebhook(ctx, hook.WebhookID, &client.UpdateWebhookParams{IfMatch: &resp.ETag},
		client.WebhookPatch{Name: &name, IndexIDs: client.Some([]string{"i"})}))
	if string(updated.Metadata) != `{"team":"ü"}` || !slices.Equal(updated.IndexIDs, []string{"i"}) || updated.Name != "after" {
		t.Errorf("a change of name made %+v", updated)
	}
	cleared := must[client.Webhook](t)(c.UpdateWebhook(ctx, hook.WebhookID, nil,
		client.WebhookPatch{Metadata: client.Null[json.RawMessage](), IndexIDs: client.Null[[]string]()}))
	if string(cleared.Metadata) != "null" && cleared.Metadata != nil || cleared.IndexIDs != nil {
		t.Errorf("what was cleared is %+v", cleared)
	}
	_, _, err = c.UpdateWebhook(ctx, hook.WebhookID, &client.UpdateWebhookParams{IfMatch: &resp.ETag}, client.WebhookPatch{Name: &name})
	if e := refused(t, err, client.ErrorCodePreconditionFailed); e.StatusCode != http.StatusPreconditionFailed {
		t.Errorf("the error is %+v", e)
	}

	// Signatures, also in a rotation's overlap.
	if tried := must[client.TestResult](t)(c.TestWebhook(ctx, hook.WebhookID, nil)); !tried.Success || tried.Outcome != client.OutcomeDelivered {
		t.Errorf("the test is %+v", tried)
	}
	overlap := 60
	rotated := must[client.RotatedSecret](t)(c.RotateWebhookSecret(ctx, hook.WebhookID, nil, client.RotateSecret{OverlapSeconds: &overlap}))
	data := json.RawMessage(`{ "n": 1.0000000000000000001, "html": "<&>" }`)
	accepted := must[[]client.EventAccepted](t)(c.PublishEvents(ctx, nil,
		client.NewEvent{Event: "export.ready", Data: data, OrderingKey: "k", CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)}))
	sent := r.nth(t, 2)
	for _, secret := range []string{hook.Secret, rotated.NewSecret} {
		if err := (client.Verifier{Secrets: []string{secret}}).Verify(sent.body, sent.header); err != nil {
			t.Error(err)
		}
	}
	if err := client.VerifySignature(sent.body, sent.header.Get("X-Webhook-Signature"), rotated.NewSecret); err != nil {
		t.Error(err)
	}
	if !bytes.Contains(sent.body, data) {
		t.Errorf("data was not sent byte by byte: %s", sent.body)
	}

	// What became of it.
	delivered := client.DeliveryStatusDelivered
	delivery := eventually(t, "delivery in the history", func() (client.Delivery, bool) {
		list := must[[]client.Delivery](t)(c.ListDeliveries(ctx, hook.WebhookID, &client.ListDeliveriesParams{Status: &delivered}))
		if len(list) == 0 {
			return client.Delivery{}, false
		}
		return list[0], true
	})
	single := must[client.Delivery](t)(c.GetDelivery(ctx, delivery.DeliveryID, nil))
	if !bytes.Equal(single.Payload, sent.body) || single.EventID != accepted[0].ID {
		t.Errorf("the payload is %s, sent was %s", single.Payload, sent.body)
	}
	if attempts := must[[]client.Attempt](t)(c.ListAttempts(ctx, delivery.DeliveryID, nil)); len(attempts) != 1 || attempts[0].Number != 1 {
		t.Errorf("the attempts are %+v", attempts)
	}
	_, _, err = c.RetryDelivery(ctx, delivery.DeliveryID, nil)
	refused(t, err, client.ErrorCodeDeliveryAlreadyDelivered)
	if event := must[client.Event](t)(c.GetEvent(ctx, accepted[0].ID, nil)); !bytes.Equal(event.Data, data) || !event.CreatedAt.Equal(time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)) {
		t.Errorf("the event is %+v", event)
	}

	// Keys are managed with the token, though there is an API key.
	key := must[client.APIKeyWithValue](t)(c.CreateAPIKey(ctx, nil, client.APIKeyCreate{Name: "tour", Scopes: []client.Scope{client.ScopeRead}}))
	weak := dial(t, shared.base, client.Config{APIKey: key.Key})
	_, _, err = weak.DeleteWebhook(ctx, hook.WebhookID, nil)
	if e := refused(t, err, client.ErrorCodePermissionScopeInsufficient); e.Details["required_scope"] != "admin" {
		t.Errorf("the details are %v", e.Details)
	}
	rotatedKey := must[client.APIKeyRotated](t)(c.RotateAPIKey(ctx, key.KeyID, nil)).NewKey
	if got := must[client.APIKey](t)(c.RevokeAPIKey(ctx, rotatedKey.KeyID, nil)); got.IsActive {
		t.Errorf("the revoked key is %+v", got)
	}
	must[client.APIKey](t)(c.GetAPIKey(ctx, rotatedKey.KeyID, nil))
	must[client.Message](t)(c.DeleteAPIKey(ctx, rotatedKey.KeyID))

	if ready := must[client.Readiness](t)(c.Readyz(ctx)); !ready.Ready {
		t.Errorf("not ready: %+v", ready)
	}
	if text := must[string](t)(c.Metrics(ctx)); !strings.Contains(text, "hookledger_") {
		t.Errorf("the metrics are %.100q", text)
	}
	must[string](t)(c.Livez(ctx))
	must[map[string]any](t)(c.OpenAPI(ctx))

	must[client.Message](t)(c.DeleteWebhook(ctx, hook.WebhookID, nil))
	_, _, err = c.GetWebhook(ctx, hook.WebhookID, nil)
	refused(t, err, client.ErrorCodeResourceWebhookNotFound)
}

func TestEveryOffendingFieldIsNamed(t *testing.T) {
	t.Parallel()
	_, _, err := connect(t).CreateWebhook(t.Context(), nil, client.WebhookCreate{URL: "ftp://x", Events: []string{"export.redy"}})
	e := refused(t, err, client.ErrorCodeValidationFailed)
	var fields []string
	for _, f := range e.Fields {
		fields = append(fields, f.Field)
	}
	slices.Sort(fields)
	if !slices.Equal(fields, []string{"/events/0", "/name", "/url"}) || e.RequestID == "" {
		t.Errorf("the fields are %q of %v", fields, e)
	}
}

func TestPagesGoOverEverythingOnce(t *testing.T) {
	t.Parallel()
	ctx, c, r := t.Context(), connect(t), receive(t)
	var want []string
	for range 5 {
		hook := must[client.WebhookWithSecret](t)(c.CreateWebhook(ctx, nil, client.WebhookCreate{Name: "n", URL: r.url, Events: []string{"export.ready"}}))
		want = append(want, hook.WebhookID)
	}
	two := 2
	var got []string
	for hook, err := range c.AllWebhooks(ctx, &client.ListWebhooksParams{Limit: &two}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, hook.WebhookID)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the pages have %q, want %q", got, want)
	}
	first, resp, err := c.ListWebhooks(ctx, &client.ListWebhooksParams{Limit: &two})
	if err != nil || len(first) != 2 || resp.NextCursor == nil {
		t.Errorf("the first page is %+v, %+v, %v", first, resp, err)
	}
	for range c.AllWebhooks(ctx, &client.ListWebhooksParams{Limit: &two}) {
		break // which asks for no second page
	}

	accepted := must[[]client.EventAccepted](t)(c.PublishEvents(ctx, nil, client.NewEvent{Event: "export.ready", Data: struct{}{}}))
	eventually(t, "fan-out in the history", func() (struct{}, bool) {
		var hooks []string
		for d, err := range c.AllEventDeliveries(ctx, accepted[0].ID, &client.GetEventParams{Limit: &two}) {
			if err != nil {
				return struct{}{}, false // not yet in the history
			}
			hooks = append(hooks, d.WebhookID)
		}
		slices.Sort(hooks)
		return struct{}{}, slices.Equal(hooks, want)
	})
	n := 0
	for _, err := range c.AllDeliveries(ctx, "wh_unknown", nil) {
		refused(t, err, client.ErrorCodeResourceWebhookNotFound)
		n++
	}
	if n != 1 {
		t.Errorf("an error came %d times", n)
	}
}

func TestAFailedDeliveryIsRetriedByHand(t *testing.T) {
	t.Parallel()
	ctx, c, r := t.Context(), connect(t), receive(t)
	r.answer(http.StatusInternalServerError)
	hook := must[client.WebhookWithSecret](t)(c.CreateWebhook(ctx, nil, client.WebhookCreate{Name: "n", URL: r.url, Events: []string{"export.ready"}}))
	must[[]client.EventAccepted](t)(c.PublishEvents(ctx, nil, client.NewEvent{Event: "export.ready", Data: map[string]int{"n": 1}}))
	retrying := client.DeliveryStatusRetrying
	waiting := eventually(t, "delivery that waits", func() (client.Delivery, bool) {
		for d, err := range c.AllDeliveries(ctx, hook.WebhookID, &client.ListDeliveriesParams{Status: &retrying}) {
			return d, err == nil
		}
		return client.Delivery{}, false
	})
	r.answer(http.StatusOK)
	must[client.Delivery](t)(c.RetryDelivery(ctx, waiting.DeliveryID, nil))
	eventually(t, "end of the delivery", func() (struct{}, bool) {
		d := must[client.Delivery](t)(c.GetDelivery(ctx, waiting.DeliveryID, nil))
		return struct{}{}, d.Status == client.DeliveryStatusDelivered && d.Attempts == 2
	})
}

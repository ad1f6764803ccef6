package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"hookledger/consumers/sender/receivertest"
)

// Each status has the one shape, with its codes. The statuses that need a server
// in trouble or of its own are with their tests: 429 in TestRateLimits, 503 in
// TestGuardAndStandstill, panics in schemas/api.
func TestContractErrors(t *testing.T) {
	t.Parallel()
	s := common.get(t)
	c := s.account(t)
	nobody, reader := s.as(t, ""), s.account(t, "read")
	h := c.webhook("https://receiver.example/")
	r := receiver(t, func(*receivertest.Request) receivertest.Answer { return receivertest.Answer{} })
	delivered := c.webhook(r.URL(), object{"events": []string{"media.created"}})
	delivery := c.delivery(c.publish(object{"event": "media.created"}), "delivered")
	inactive := c.post("/api-keys", object{"name": "k"}).is(201).str("key_id")
	c.post("/api-keys/"+inactive+"/revoke", nil).is(200)
	used := c.with("Idempotency-Key: used")
	used.post(delivered.path()+"/test", nil).is(200)
	key := s.as(t, c.post("/api-keys", object{"name": "k", "scopes": []string{"admin"}}).is(201).str("key"))

	for _, tc := range []struct {
		a      *answer
		status int
		code   string
	}{
		{c.post("/webhooks", `{"name": `), 400, "request_malformed"},
		{c.post("/webhooks", `{"name":"n"} {}`), 400, "request_malformed"},
		{c.post("/webhooks", "{\"name\":\"\xff\"}"), 400, "request_malformed"},
		{c.patch(h.path(), `[`), 400, "request_malformed"},
		{c.post("/events", `{`), 400, "request_malformed"},
		{c.get("/webhooks?a=%zz"), 400, "request_malformed"},
		{nobody.get("/webhooks"), 401, "authentication_required"},
		{s.as(t, "sk_wrong").get("/webhooks"), 401, "authentication_invalid"},
		{reader.post("/webhooks", object{}), 403, "permission_scope_insufficient"},
		{key.get("/api-keys"), 403, "permission_jwt_required"},
		{c.get("/nothing"), 404, "resource_path_not_found"},
		{c.get("root:/nothing"), 404, "resource_path_not_found"},
		{c.get("/webhooks/wh_x"), 404, "resource_webhook_not_found"},
		{c.get("/webhooks/x"), 404, "resource_webhook_not_found"},
		{c.get("/webhooks/deliveries/del_x"), 404, "resource_delivery_not_found"},
		{c.get("/events/evt_x"), 404, "resource_event_not_found"},
		{c.get("/api-keys/key_x"), 404, "resource_api_key_not_found"},
		{c.do("PUT", "/webhooks", object{}), 405, "method_not_allowed"},
		{c.delete("/webhooks/events"), 405, "method_not_allowed"},
		{used.post(delivered.path()+"/test", object{}), 409, "idempotency_request_mismatch"},
		{c.post("/webhooks/deliveries/"+delivery+"/retry", nil), 409, "delivery_already_delivered"},
		{c.post("/api-keys/"+inactive+"/rotate", nil), 409, "api_key_inactive"},
		{c.with(`If-Match: "9"`).patch(h.path(), object{}), 412, "precondition_failed"},
		{c.post("/webhooks", object{"name": strings.Repeat("x", 65536)}), 413, "request_too_large"},
		{c.post("/events", object{"event": "export.ready", "data": object{"x": strings.Repeat("x", 256<<10)}}), 413, "request_too_large"},
		{c.with("Content-Type: text/plain").post("/webhooks", "name=x"), 415, "content_type_unsupported"},
		{c.with("Content-Type: application/x-ndjson").post("/webhooks", "{}"), 415, "content_type_unsupported"},
		{c.post("/webhooks", object{}), 422, "validation_failed"},
		{c.patch(h.path(), object{"url": "https://user:secret@receiver.example/"}), 422, "validation_failed"},
		{c.post("/events", []object{{"event": "export.ready", "data": object{}}, {"event": "export.nope", "data": object{}}}), 422, "validation_failed"},
		{c.post("/events", object{"event": "export.redy", "data": object{}}), 422, "validation_failed"},
	} {
		tc.a.fails(tc.status, tc.code).members("", "error").members("error", "code message details request_id").wellFormed()
		if _, ok := tc.a.value("error.details").(map[string]any); !ok || tc.a.str("error.message") == "" {
			t.Errorf("%s: %s", tc.a.about, tc.a.body)
		}
		if tc.status == 405 && tc.a.header.Get("Allow") == "" {
			t.Errorf("%s has no Allow", tc.a.about)
		}
	}
	for _, path := range []string{"root:/livez", "root:/readyz", "root:/openapi.json", "/webhooks/events"} {
		if a := nobody.get(path).is(http.StatusOK); a.header.Get("X-Request-ID") == "" {
			t.Errorf("%s has no X-Request-ID", path)
		}
	}
	if a := c.with("X-Request-ID: mine-1").get("/nothing").fails(404, "resource_path_not_found"); a.header.Get("X-Request-ID") != "mine-1" {
		t.Errorf("the caller's X-Request-ID became %q", a.header.Get("X-Request-ID"))
	}

	// 422 lists every offending field.
	a := c.post("/webhooks?a=1", `{"name":"","url":"ftp://x","events":["export.ready","export.redy",1],"index_ids":[""],"colour":"red","metadata":[]}`).fails(422, "validation_failed")
	var got []string
	for i := range a.value("error.details.fields").([]any) {
		got = append(got, a.str(fmt.Sprintf("error.details.fields.%d.field", i)))
	}
	for _, want := range []string{"a", "/name", "/url", "/events/1", "/events/2", "/index_ids/0", "/colour", "/metadata"} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is not named: %v", want, got)
		}
	}
}

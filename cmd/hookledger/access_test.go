package main

import (
	"fmt"
	"strings"
	"testing"
)

// Scopes form a ladder, whichever way the credential comes.
func TestScopes(t *testing.T) {
	s := common.get(t)
	jwt := s.account(t)
	h := jwt.webhook("https://receiver.example/")
	ladder := []string{"search", "read", "write", "admin"}
	callers := map[string][]*caller{}
	for _, scope := range ladder {
		key := jwt.post("/api-keys", object{"name": scope, "scopes": []string{scope}, "expires_in_days": 1}).is(201).str("key")
		callers[scope] = []*caller{s.account(t, scope), s.as(t, key), s.as(t, "").with("X-API-Key: " + key)}
	}
	for _, tc := range []struct {
		method, path string
		body         any
		needs        string
		missing      int // the answer of one who may ask
	}{
		{"GET", "/webhooks", nil, "read", 200},
		{"GET", h.path(), nil, "read", 200},
		{"GET", h.path() + "/deliveries", nil, "read", 200},
		{"GET", "/webhooks/deliveries/del_x", nil, "read", 404},
		{"GET", "/webhooks/deliveries/del_x/attempts", nil, "read", 404},
		{"GET", "/events/none", nil, "read", 404},
		{"POST", "/webhooks", object{}, "write", 422},
		{"PATCH", h.path(), object{}, "write", 200},
		{"POST", "/webhooks/wh_x/rotate-secret", nil, "write", 404},
		{"POST", "/webhooks/wh_x/test", nil, "write", 404},
		{"POST", "/webhooks/deliveries/del_x/retry", nil, "write", 404},
		{"POST", "/events", object{}, "write", 422},
		{"DELETE", "/webhooks/wh_x", nil, "admin", 404},
	} {
		allowed := false
		for _, scope := range ladder {
			allowed = allowed || scope == tc.needs
			for _, c := range callers[scope] {
				a := c.do(tc.method, tc.path, tc.body)
				if allowed {
					a.is(tc.missing)
				} else {
					a.fails(403, "permission_scope_insufficient")
				}
			}
		}
		s.as(t, "").do(tc.method, tc.path, tc.body).fails(401, "authentication_required")
		s.as(t, "sk_nonsense").do(tc.method, tc.path, tc.body).fails(401, "authentication_invalid")
		s.as(t, "ey.no.jwt").do(tc.method, tc.path, tc.body).fails(401, "authentication_invalid")
	}
	if names := s.as(t, "").get("/webhooks/events").is(200); len(names.list()) < 17 {
		t.Errorf("the event names are %s", names.body)
	}
}

// API keys: made, listed, rotated, revoked and deleted with a JWT only; one that
// is gone is refused at once.
func TestAPIKeys(t *testing.T) {
	s := common.get(t)
	jwt := s.account(t)
	made := jwt.post("/api-keys", object{"name": "ci", "scopes": []string{"admin"}}).is(201)
	id, key := made.str("key_id"), made.str("key")
	if !strings.HasPrefix(key, made.str("key_prefix")) || made.value("expires_at") != nil || made.str("is_active") != "true" {
		t.Errorf("created: %s", made.body)
	}
	if got := jwt.post("/api-keys", object{"name": "default"}).is(201); got.str("scopes.0") != "read" || len(got.value("scopes").([]any)) != 1 {
		t.Errorf("the scopes left out are %s", got.body)
	}
	withKey := s.as(t, key)
	for _, tc := range []struct{ method, path string }{
		{"POST", "/api-keys"},
		{"GET", "/api-keys"},
		{"GET", "/api-keys/" + id},
		{"DELETE", "/api-keys/" + id},
		{"POST", "/api-keys/" + id + "/revoke"},
		{"POST", "/api-keys/" + id + "/rotate"},
	} {
		withKey.do(tc.method, tc.path, nil).fails(403, "permission_jwt_required")
	}
	withKey.get("/webhooks").is(200)
	if got := jwt.get("/api-keys/" + id).is(200); got.str("last_used_at") == "" || strings.Contains(string(got.body), key) {
		t.Errorf("the key is %s", got.body)
	}
	rotated := jwt.post("/api-keys/"+id+"/rotate", nil).is(200)
	withKey.get("/webhooks").fails(401, "authentication_invalid")
	next := s.as(t, rotated.str("new_key.key"))
	next.delete("/webhooks/wh_x").fails(404, "resource_webhook_not_found") // its scope is the old one's
	if rotated.str("old_key_id") != id || rotated.str("new_key.name") != "ci" {
		t.Errorf("rotated: %s", rotated.body)
	}
	jwt.post("/api-keys/"+id+"/rotate", nil).fails(409, "api_key_inactive")
	newID := rotated.str("new_key.key_id")
	if got := jwt.post("/api-keys/"+newID+"/revoke", nil).is(200); got.str("is_active") != "false" || got.str("revoked_at") == "" {
		t.Errorf("revoked: %s", got.body)
	}
	next.get("/webhooks").fails(401, "authentication_invalid")
	jwt.delete("/api-keys/" + newID).is(200)
	jwt.get("/api-keys/"+newID).fails(404, "resource_api_key_not_found")
	jwt.post("/api-keys", object{"name": "", "scopes": []string{"root"}, "expires_in_days": 366}).fails(422, "validation_failed")
}

// What another account has does not exist.
func TestAccountsAreApart(t *testing.T) {
	s := common.get(t)
	c := s.account(t)
	r := receiver(t, nil)
	h := c.webhook(r.URL())
	event := c.publish()
	delivery := c.delivery(event, "delivered")
	key := c.post("/api-keys", object{"name": "k"}).is(201).str("key_id")
	other := s.as(t, s.ok(t, "", "token", "--account", "somebody else"))
	other.webhook(r.URL(), object{"events": []string{"media.created"}})
	for path, code := range map[string]string{
		"GET " + h.path():                                    "resource_webhook_not_found",
		"GET " + h.path() + "/deliveries":                    "resource_webhook_not_found",
		"PATCH " + h.path():                                  "resource_webhook_not_found",
		"DELETE " + h.path():                                 "resource_webhook_not_found",
		"POST " + h.path() + "/test":                         "resource_webhook_not_found",
		"POST " + h.path() + "/rotate-secret":                "resource_webhook_not_found",
		"GET /webhooks/deliveries/" + delivery:               "resource_delivery_not_found",
		"GET /webhooks/deliveries/" + delivery + "/attempts": "resource_delivery_not_found",
		"POST /webhooks/deliveries/" + delivery + "/retry":   "resource_delivery_not_found",
		"GET /events/" + event:                               "resource_event_not_found",
		"GET /api-keys/" + key:                               "resource_api_key_not_found",
		"POST /api-keys/" + key + "/revoke":                  "resource_api_key_not_found",
		"POST /api-keys/" + key + "/rotate":                  "resource_api_key_not_found",
		"DELETE /api-keys/" + key:                            "resource_api_key_not_found",
	} {
		method, path, _ := strings.Cut(path, " ")
		var body any
		if method != "GET" && method != "DELETE" {
			body = object{}
		}
		other.do(method, path, body).fails(404, code)
	}
	if got := other.get("/webhooks").is(200); len(got.list()) != 1 {
		t.Errorf("another account's webhooks: %s", got.body)
	}
	if got := other.get("/api-keys").is(200); len(got.list()) != 0 {
		t.Errorf("another account's keys: %s", got.body)
	}
	if r.Count() != 1 {
		t.Errorf("%d requests, want 1", r.Count())
	}
}

// Every error has the one shape, also where no handler of ours is.
func TestErrors(t *testing.T) {
	s := common.get(t)
	c := s.account(t)
	h := c.webhook("https://receiver.example/")
	c.post("/webhooks", `{"name": `).fails(400, "request_malformed")
	c.post("/events", "{\"event\":\"export.ready\",\"data\":{\"a\":\"\xff\"}}").fails(400, "request_malformed")
	s.as(t, "").get("/webhooks").fails(401, "authentication_required")
	c.get("/nothing").fails(404, "resource_path_not_found")
	c.get("root:/").fails(404, "resource_path_not_found")
	c.do("PUT", "/webhooks", object{}).fails(405, "method_not_allowed")
	c.post("/webhooks", object{"name": strings.Repeat("x", 65536)}).fails(413, "request_too_large")
	c.post("/events", object{"event": "export.ready", "data": object{"x": strings.Repeat("x", 256<<10)}}).fails(413, "request_too_large")
	c.with("Content-Type: text/plain").post("/webhooks", "name=x").fails(415, "content_type_unsupported")
	c.with("Content-Type: application/x-ndjson").post("/webhooks", "{}").fails(415, "content_type_unsupported")
	c.get("/webhooks?limit=0&sort=name").fails(422, "validation_failed")

	// Every offending field at once.
	a := c.post("/webhooks", `{"name":"","url":"ftp://x","events":["export.redy"],"colour":"red","metadata":[]}`).fails(422, "validation_failed")
	fields := map[string]bool{}
	for i := range a.value("error.details.fields").([]any) {
		fields[a.str(fmt.Sprintf("error.details.fields.%d.field", i))] = true
	}
	for _, want := range []string{"/name", "/url", "/events/0", "/colour", "/metadata"} {
		if !fields[want] {
			t.Errorf("%s is not named: %s", want, a.body)
		}
	}
	c.patch(h.path(), object{"url": "https://user:secret@receiver.example/"}).fails(422, "validation_failed")
	c.post("/events", []object{{"event": "export.ready", "data": object{}}, {"event": "export.nope", "data": object{}}}).fails(422, "validation_failed")
	if got := c.with("X-Request-ID: mine-1").get("/webhooks/wh_x").fails(404, "resource_webhook_not_found"); got.header.Get("X-Request-ID") != "mine-1" {
		t.Errorf("the caller's request id became %q", got.header.Get("X-Request-ID"))
	}
}

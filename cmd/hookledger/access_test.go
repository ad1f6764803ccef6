package main

import (
	"fmt"
	"strings"
	"testing"
)

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

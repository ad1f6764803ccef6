package main

import (
	"strings"
	"testing"
	"time"
)

const keyMembers = "key_id key_prefix name scopes created_at last_used_at revoked_at expires_at is_active"

// POST /api-keys: its fields, their defaults and bounds, and the key, shown once.
func TestContractKeyCreate(t *testing.T) {
	t.Parallel()
	s := common.get(t)
	c := s.account(t)
	made := c.post("/api-keys", object{"name": "ci"}).is(201).members("", keyMembers+" key")
	made.wellFormed()
	id, key := made.str("key_id"), made.str("key")
	if !strings.HasPrefix(key, "sk_") || !strings.HasPrefix(key, made.str("key_prefix")) || len(made.str("key_prefix")) >= len(key)/2 ||
		made.str("scopes.0") != "read" || len(made.value("scopes").([]any)) != 1 || made.value("expires_at") != nil ||
		made.value("last_used_at") != nil || made.value("revoked_at") != nil || made.str("is_active") != "true" || made.str("name") != "ci" {
		t.Errorf("created: %s", made.body)
	}
	for days, want := range map[any]int{1: 201, 365: 201, nil: 201, 0: 422, 366: 422, -1: 422, 1.5: 422, "1": 422} {
		a := c.post("/api-keys", object{"name": "k", "expires_in_days": days}).is(want)
		if n, ok := days.(int); ok && want == 201 {
			within(t, "expires_at", a.time("expires_at"), time.Now().Add(time.Duration(n)*24*time.Hour), time.Minute)
		}
	}
	for _, tc := range []struct {
		field string
		value any
		want  int
	}{
		{"name", strings.Repeat("ü", 100), 201},
		{"name", strings.Repeat("x", 101), 422},
		{"name", "", 422},
		{"scopes", []string{"search"}, 201},
		{"scopes", []string{"read", "write", "admin"}, 201},
		{"scopes", []string{}, 422},
		{"scopes", []string{"root"}, 422},
		{"scopes", "read", 422},
		{"owner", "me", 422},
	} {
		body := object{"name": "k"}
		body[tc.field] = tc.value
		c.post("/api-keys", body).is(tc.want)
	}
	// Nobody gives more than he has.
	writer := s.account(t, "write")
	writer.post("/api-keys", object{"name": "k", "scopes": []string{"write"}}).is(201)
	writer.post("/api-keys", object{"name": "k", "scopes": []string{"admin"}}).fails(403, "permission_scope_insufficient")

	one := c.get("/api-keys/"+id).is(200).members("", keyMembers)
	list := c.get("/api-keys").is(200).members("0", keyMembers)
	for _, a := range []*answer{one, list} {
		a.wellFormed()
		if strings.Contains(string(a.body), key) || strings.Contains(string(a.body), `"key":`) {
			t.Errorf("%s shows a key", a.about)
		}
	}
	s.as(t, key).get("/webhooks").is(200)
	if a := c.get("/api-keys/" + id).is(200); a.value("last_used_at") == nil {
		t.Errorf("after its use: %s", a.body)
	}
}

// Revoke, rotate and delete: what each answers, and that the key stops working
// before the answer.
func TestContractKeyEnds(t *testing.T) {
	t.Parallel()
	s := common.get(t)
	c := s.account(t)
	create := func(name string) (id string, k *caller) {
		a := c.post("/api-keys", object{"name": name, "scopes": []string{"read", "write"}, "expires_in_days": 30}).is(201)
		return a.str("key_id"), s.as(t, a.str("key"))
	}

	id, k := create("revoked")
	k.get("/webhooks").is(200)
	revoked := c.post("/api-keys/"+id+"/revoke", nil).is(200).members("", keyMembers)
	k.get("/webhooks").fails(401, "authentication_invalid")
	if revoked.str("is_active") != "false" || revoked.value("revoked_at") == nil || revoked.str("key_id") != id {
		t.Errorf("revoked: %s", revoked.body)
	}
	if again := c.post("/api-keys/"+id+"/revoke", nil).is(200); again.str("revoked_at") != revoked.str("revoked_at") {
		t.Errorf("revoked again: %s", again.body)
	}
	c.get("/api-keys/" + id).is(200)
	c.post("/api-keys/"+id+"/rotate", nil).fails(409, "api_key_inactive")

	id, k = create("rotated")
	old := c.get("/api-keys/" + id).is(200)
	rotated := c.post("/api-keys/"+id+"/rotate", nil).is(200).members("", "old_key_id new_key").members("new_key", keyMembers+" key")
	k.get("/webhooks").fails(401, "authentication_invalid")
	next := s.as(t, rotated.str("new_key.key"))
	next.post("/webhooks/wh_x/test", nil).fails(404, "resource_webhook_not_found") // its scopes are the old one's
	next.delete("/webhooks/wh_x").fails(403, "permission_scope_insufficient")
	if rotated.str("old_key_id") != id || rotated.str("new_key.name") != "rotated" || rotated.str("new_key.key_id") == id || rotated.str("new_key.is_active") != "true" {
		t.Errorf("rotated: %s", rotated.body)
	}
	within(t, "the new key's expiry", rotated.time("new_key.expires_at"), old.time("expires_at"), time.Minute)
	if a := c.get("/api-keys/" + id).is(200); a.str("is_active") != "false" || a.value("revoked_at") == nil {
		t.Errorf("the rotated key: %s", a.body)
	}

	id, k = create("deleted")
	if a := c.delete("/api-keys/"+id).is(200).members("", "message"); a.str("message") == "" {
		t.Errorf("deleted: %s", a.body)
	}
	k.get("/webhooks").fails(401, "authentication_invalid")
	c.get("/api-keys/"+id).fails(404, "resource_api_key_not_found")
	c.delete("/api-keys/"+id).fails(404, "resource_api_key_not_found")
	c.post("/api-keys/"+id+"/revoke", nil).fails(404, "resource_api_key_not_found")
	c.post("/api-keys/"+id+"/rotate", nil).fails(404, "resource_api_key_not_found")
}

package apitest_test

import (
	"net/http"
	"strings"
	"testing"

	"hookledger/schemas/api"
	"hookledger/schemas/api/apitest"
	"hookledger/schemas/catalogue"
)

// TestWhatMustFail: a checker that lets everything pass would be of no use.
func TestWhatMustFail(t *testing.T) {
	c, err := catalogue.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	spec, err := api.Load(c)
	if err != nil {
		t.Fatal(err)
	}
	check := apitest.New(t, spec)
	const webhook = `{"webhook_id":"wh_1","name":"n","url":"https://x","events":["export.ready"],"index_ids":null,"status":"active","disabled_reason":null,
		"failure_count":0,"last_failure_at":null,"last_success_at":null,"stats_as_of":null,"created_at":"2026-11-23T22:00:00.000Z","updated_at":"2026-11-23T22:00:00.000Z","metadata":{"n":1e400},"version":1}`
	const notFound = `{"error":{"code":"resource_webhook_not_found","message":"m","details":{},"request_id":"r"}}`
	with := func(old, new string) string { return strings.Replace(webhook, old, new, 1) }
	for _, one := range []struct {
		name, method, path string
		status             int
		headers            string
		body               string
		fails              bool
	}{
		{"as specified", "GET", "/api/v2/webhooks/wh_1", 200, "", webhook, false},
		{"an error", "GET", "/api/v2/webhooks/wh_1", 404, "", notFound, false},
		{"a secret", "GET", "/api/v2/webhooks/wh_1", 200, "", with(`"version"`, `"secret":"s","version"`), true},
		{"a field too few", "GET", "/api/v2/webhooks/wh_1", 200, "", with(`"status":"active",`, ``), true},
		{"no milliseconds", "GET", "/api/v2/webhooks/wh_1", 200, "", with(`:00.000Z`, `:00Z`), true},
		{"another status", "GET", "/api/v2/webhooks/wh_1", 418, "", notFound, true},
		{"an unknown code", "GET", "/api/v2/webhooks/wh_1", 404, "", strings.Replace(notFound, "resource_webhook", "webhook", 1), true},
		{"an object for a list", "GET", "/api/v2/webhooks", 200, "", webhook, true},
		{"an unspecified header", "GET", "/api/v2/webhooks/wh_1", 200, "X-Debug: 1", webhook, true},
		{"no request id", "GET", "/api/v2/webhooks/wh_1", 200, "X-Request-ID: ", webhook, true},
		{"503 without Retry-After", "GET", "/api/v2/webhooks/wh_1", 503, "", notFound, true},
		{"503 with it", "GET", "/api/v2/webhooks/wh_1", 503, "Retry-After: 1", notFound, false},
		{"another type", "GET", "/api/v2/webhooks/wh_1", 200, "Content-Type: text/plain", webhook, true},
		{"not JSON", "GET", "/api/v2/webhooks/wh_1", 200, "", webhook + "x", true},
		{"a body for 304", "GET", "/api/v2/webhooks/wh_1", 304, "", webhook, true},
		{"a body for HEAD", "HEAD", "/api/v2/webhooks/wh_1", 200, "", webhook, true},
		{"HEAD", "HEAD", "/api/v2/webhooks/wh_1", 200, "", "", false},
		{"success of an unknown path", "GET", "/api/v2/x", 200, "", webhook, true},
		{"success of an unknown method", "PUT", "/api/v2/webhooks", 200, "", webhook, true},
	} {
		h := http.Header{"Content-Type": {"application/json"}, "X-Request-Id": {"req_1"}}
		if name, value, ok := strings.Cut(one.headers, ": "); ok {
			h.Set(name, value)
			if value == "" {
				h.Del(name)
			}
		}
		if err := check.Check(one.method, one.path, one.status, h, []byte(one.body)); (err != nil) != one.fails {
			t.Errorf("%s: %v", one.name, err)
		}
	}
	if check.Seen()["GET /api/v2/webhooks/{webhook_id} 404"] == 0 {
		t.Errorf("seen: %v", check.Seen())
	}
}

// A request to a receiver that is not as specified is said.
func TestDeliveryThatMustFail(t *testing.T) {
	cat, err := catalogue.Load("", []string{"order.paid"})
	if err != nil {
		t.Fatal(err)
	}
	spec, err := api.Load(cat)
	if err != nil {
		t.Fatal(err)
	}
	c := apitest.New(t, spec)
	const body = `{"id":"evt_1","event":"order.paid","created_at":"2026-01-02T03:04:05.678Z","api_version":"2024-01","data":{"a":1,"a":2}}`
	for _, x := range []struct{ about, header, value, body, want string }{
		{about: "as it must be", body: body},
		{"no signature", "X-Webhook-Signature", "", body, "X-Webhook-Signature"},
		{"upper-case hex", "X-Webhook-Signature", "sha256=" + strings.Repeat("A", 64), body, "X-Webhook-Signature"},
		{"a form", "Content-Type", "text/plain", body, "text/plain"},
		{"no data", "", "", `{"id":"evt_1","event":"e","created_at":"2026-01-02T03:04:05.678Z","api_version":"2024-01"}`, "data"},
		{"another time", "", "", strings.Replace(body, ".678Z", "Z", 1), "created_at"},
	} {
		h := http.Header{}
		for name, value := range map[string]string{
			"Content-Type": "application/json", "X-Webhook-Signature": "sha256=" + strings.Repeat("a", 64), "X-Webhook-ID": "wh_1", "X-Event-Type": "order.paid",
			"webhook-id": "del_1", "webhook-timestamp": "1", "webhook-signature": "v1," + strings.Repeat("A", 43) + "=",
		} {
			h.Set(name, value)
		}
		if x.header != "" {
			h.Del(x.header)
			if x.value != "" {
				h.Set(x.header, x.value)
			}
		}
		err := c.CheckDelivery(h, []byte(x.body))
		if (err == nil) != (x.want == "") || err != nil && !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v, want %q", x.about, err, x.want)
		}
	}
}

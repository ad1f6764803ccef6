package api_test

import (
	"encoding/json"
	"strings"
	"testing"

	"hookledger/schemas/api/apierr"
)

func TestUnknownEventIsSuggested(t *testing.T) {
	f := newFace(t)
	for target, body := range map[string]string{
		"/api/v2/webhooks": `{"name":"n","url":"https://x","events":["export.redy"]}`,
		"/api/v2/events":   `{"event":"export.redy","data":{}}`,
	} {
		w := f.do("POST", target, body)
		if _, _, message := failure(t, w); w.Code != 422 || !strings.Contains(message, "did you mean export.ready?") || !strings.Contains(w.Body.String(), `"suggestion":"export.ready"`) {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
	}
}

// What was probably meant is said wherever there is something to choose from, with what there is.
func TestUnknownNamesAreSuggested(t *testing.T) {
	f := newFace(t)
	for _, c := range []struct{ method, target, body, field, suggestion string }{
		{"POST", "/api/v2/webhooks", `{"name":"n","urls":"https://x","events":["export.ready"]}`, "/urls", "url"},
		{"POST", "/api/v2/webhooks", `{"name":"n","url":"https://x","events":["export.ready"],"indexIds":null}`, "/indexIds", "index_ids"},
		{"PATCH", "/api/v2/webhooks/wh_1", `{"Status":"paused"}`, "/Status", "status"},
		{"PATCH", "/api/v2/webhooks/wh_1", `{"status":"pause"}`, "/status", "paused"},
		{"POST", "/api/v2/api-keys", `{"name":"n","scopes":["reed"]}`, "/scopes/0", "read"},
		{"POST", "/api/v2/events", `{"event":"export.ready","data":{},"orderingKey":"k"}`, "/orderingKey", "ordering_key"},
		{"POST", "/api/v2/events", `[{"event":"export.ready","data":{},"create_at":null}]`, "/0/create_at", "created_at"},
		{"GET", "/api/v2/webhooks/wh_1/deliveries?stauts=failed", "", "stauts", "status"},
		{"GET", "/api/v2/webhooks/wh_1/deliveries?status=deliverd", "", "status", "delivered"},
		{"GET", "/api/v2/webhooks?Cursor=a", "", "Cursor", "cursor"},
		{"GET", "/api/v2/webhooks?q=a", "", "q", ""},
		{"POST", "/api/v2/webhooks", `{"name":"n","url":"https://x","events":["export.ready"],"x":1}`, "/x", ""},
	} {
		w := f.do(c.method, c.target, c.body)
		var e struct {
			Error struct {
				Details struct{ Fields []apierr.Field }
			}
		}
		if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || w.Code != 422 {
			t.Errorf("%s %s: %d %s", c.target, c.body, w.Code, w.Body)
			continue
		}
		found := false
		for _, got := range e.Error.Details.Fields {
			if got.Field != c.field {
				continue
			}
			found = true
			if got.Suggestion != c.suggestion || len(got.Allowed) == 0 || strings.Contains(got.Message, "did you mean "+c.suggestion+"?") != (c.suggestion != "") {
				t.Errorf("%s %s: %+v, want %q suggested", c.target, c.body, got, c.suggestion)
			}
		}
		if !found {
			t.Errorf("%s %s: %s is not named: %s", c.target, c.body, c.field, w.Body)
		}
	}
}

// Every message says what is allowed, in words.
func TestMessagesSayWhatIsAllowed(t *testing.T) {
	f := newFace(t)
	for _, c := range []struct{ method, target, body, want string }{
		{"GET", "/api/v2/webhooks?limit=0", "", "limit: must be 1 to 1000"},
		{"GET", "/api/v2/webhooks?limit=x", "", "limit: must be an integer"},
		{"GET", "/api/v2/webhooks?cursor=%20", "", "cursor: must be a cursor, from X-Next-Cursor"},
		{"POST", "/api/v2/webhooks", `{"name":"","url":"https://x","events":["export.ready"]}`, "/name: must have 1 to 100 characters"},
		{"POST", "/api/v2/webhooks", `{"name":"a\nb","url":"https://x","events":["export.ready"]}`, "/name: must be without control characters"},
		{"POST", "/api/v2/webhooks", `{"name":"n","url":"x","events":["export.ready"]}`, "/url: must be an https URL"},
		{"POST", "/api/v2/webhooks", `{"name":"n","url":"https://x","events":[]}`, "/events: must have 1 to 1000 items"},
		{"POST", "/api/v2/webhooks", `{"name":"n","url":"https://x","events":["export.ready"],"index_ids":7}`, "/index_ids: must be an array"},
		{"POST", "/api/v2/webhooks/wh_1/rotate-secret", `{"overlap_seconds":-1}`, "/overlap_seconds: must be 0 to 604800"},
		{"PATCH", "/api/v2/webhooks/wh_1", `{"status":"disabled"}`, "/status: must be one of active, paused"},
		{"PATCH", "/api/v2/webhooks/wh_1", `{"name":null}`, "/name: must not be null"},
		{"POST", "/api/v2/webhooks", `{}`, "/url: is missing"},
	} {
		w := f.do(c.method, c.target, c.body)
		if _, _, message := failure(t, w); w.Code != 422 || !strings.Contains(message, c.want) {
			t.Errorf("%s %s: %d %q, want %q", c.target, c.body, w.Code, message, c.want)
		}
	}
}

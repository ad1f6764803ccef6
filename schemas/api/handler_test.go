package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hookledger/schemas/api"
	"hookledger/schemas/api/apierr"
	"hookledger/schemas/api/apitest"
	"hookledger/schemas/catalogue"
)

type face struct {
	*server
	http    http.Handler
	checker *apitest.Checker
	spec    *api.Spec
	answers []api.Answer
	op      api.Operation // the last that was authorised
}

func newFace(t testing.TB) *face {
	t.Helper()
	c, err := catalogue.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	spec, err := api.Load(c)
	if err != nil {
		t.Fatal(err)
	}
	f := &face{server: &server{}, spec: spec}
	var n atomic.Int64
	h, err := spec.Handler(api.Options{
		Server: f.server,
		Authorize: func(_ http.Header, r *http.Request, op api.Operation) (context.Context, error) {
			f.op = op
			if op.Scope != api.ScopeNone && r.Header.Get("X-API-Key") == "none" {
				return nil, apierr.Unauthenticated()
			}
			return r.Context(), nil
		},
		NewRequestID: func() string { return fmt.Sprintf("req_%d", n.Add(1)) },
		Observe:      func(_ *http.Request, a api.Answer) { f.answers = append(f.answers, a) },
		Mount: map[string]http.Handler{
			"/livez":  http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }),
			"/readyz": http.NotFoundHandler(), "/metrics": http.NotFoundHandler(),
			"/pages/": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "docs") }),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	f.checker = apitest.New(t, spec)
	f.http = h
	return f
}

// do sends a request; headers are "Name: value".
func (f *face) do(method, target, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	if strings.HasPrefix(target, "/pages") || strings.HasPrefix(target, "/livez") {
		f.http.ServeHTTP(w, r)
	} else {
		f.checker.Handler(f.http).ServeHTTP(w, r)
	}
	return w
}

// failure is the code, the fields and the message of an answer.
func failure(t testing.TB, w *httptest.ResponseRecorder) (code string, fields []string, message string) {
	t.Helper()
	var e struct {
		Error struct {
			Code, Message string
			RequestID     string `json:"request_id"`
			Details       struct{ Fields []apierr.Field }
		}
	}
	if w.Code < 400 {
		return "", nil, ""
	}
	if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	if e.Error.RequestID == "" || e.Error.RequestID != w.Header().Get("X-Request-ID") {
		t.Errorf("request id %q in the body, %q in the header", e.Error.RequestID, w.Header().Get("X-Request-ID"))
	}
	for _, f := range e.Error.Details.Fields {
		fields = append(fields, f.In+":"+f.Field)
	}
	return e.Error.Code, fields, e.Error.Message
}

func TestEveryOperationPasses(t *testing.T) {
	f := newFace(t)
	hook := `{"name":"n","url":"https://x.example/h","events":["export.ready"]}`
	for _, c := range []struct {
		id, method, path, body string
		status                 int
	}{
		{"ListAPIKeys", "GET", "/api/v2/api-keys", "", 200},
		{"CreateAPIKey", "POST", "/api/v2/api-keys", `{"name":"ci","scopes":["read","write"],"expires_in_days":null}`, 201},
		{"DeleteAPIKey", "DELETE", "/api/v2/api-keys/key_1", "", 200},
		{"GetAPIKey", "GET", "/api/v2/api-keys/key_1", "", 200},
		{"RevokeAPIKey", "POST", "/api/v2/api-keys/key_1/revoke", "", 200},
		{"RotateAPIKey", "POST", "/api/v2/api-keys/key_1/rotate", "{}", 200},
		{"PublishEvents", "POST", "/api/v2/events", `{"event":"export.ready","data":{}}`, 202},
		{"GetEvent", "GET", "/api/v2/events/any%2Fid%25?limit=100&cursor=a_b&ordering_key=k", "", 200},
		{"ListWebhooks", "GET", "/api/v2/webhooks?limit=1000", "", 200},
		{"CreateWebhook", "POST", "/api/v2/webhooks", hook, 201},
		{"GetDelivery", "GET", "/api/v2/webhooks/deliveries/del_1", "", 200},
		{"ListAttempts", "GET", "/api/v2/webhooks/deliveries/del_1/attempts", "", 200},
		{"RetryDelivery", "POST", "/api/v2/webhooks/deliveries/del_1/retry", "", 200},
		{"ListEventNames", "GET", "/api/v2/webhooks/events", "", 200},
		{"DeleteWebhook", "DELETE", "/api/v2/webhooks/wh_1", "", 200},
		{"GetWebhook", "GET", "/api/v2/webhooks/wh_1", "", 200},
		{"GetWebhook", "HEAD", "/api/v2/webhooks/wh_1", "", 200},
		{"UpdateWebhook", "PATCH", "/api/v2/webhooks/wh_1", `{"metadata":null,"status":"paused"}`, 200},
		{"ListDeliveries", "GET", "/api/v2/webhooks/wh_1/deliveries?status=failed&limit=1", "", 200},
		{"RotateWebhookSecret", "POST", "/api/v2/webhooks/wh_1/rotate-secret", `{"overlap_seconds":604800}`, 200},
		{"TestWebhook", "POST", "/api/v2/webhooks/wh_1/test", "", 200},
	} {
		f.answers = nil
		w := f.do(c.method, c.path, c.body, "Idempotency-Key: k 1")
		if w.Code != c.status || f.op.ID != c.id {
			t.Errorf("%s %s is %s %d, want %s %d: %s", c.method, c.path, f.op.ID, w.Code, c.id, c.status, w.Body)
		}
		if len(f.answers) != 1 || f.answers[0].Status != c.status || f.answers[0].Operation.ID != c.id || f.answers[0].Err != nil {
			t.Errorf("%s: observed %+v", c.id, f.answers)
		}
	}
}

func TestVerbatimSurvives(t *testing.T) {
	f := newFace(t)
	const raw = `{"n":1e400,"big":12345678901234567890,"s":"<b>&é\u00e9","d":0.10}`
	w := f.do("POST", "/api/v2/webhooks", `{"name":"n","url":"https://x","events":["export.ready"],"metadata":`+raw+`}`)
	if w.Code != 201 || !strings.Contains(w.Body.String(), `"metadata":`+raw) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestVerdicts(t *testing.T) {
	f := newFace(t)
	const hooks, hook, keys, events = "/api/v2/webhooks", "/api/v2/webhooks/wh_1", "/api/v2/api-keys", "/api/v2/events"
	long := func(n int) string { return strings.Repeat("a", n) }
	ok := func(extra string) string {
		return `{"name":"n","url":"https://x","events":["export.ready"]` + extra + `}`
	}
	type list = []string
	for _, c := range []struct {
		name, method, target, body string
		headers                    []string
		status                     int
		code                       string
		fields                     []string
	}{
		{"empty body", "POST", hooks, "", nil, 400, "request_malformed", nil},
		{"malformed", "POST", hooks, `{"name":`, nil, 400, "request_malformed", nil},
		{"trailing", "POST", hooks, ok("") + "x", nil, 400, "request_malformed", nil},
		{"bad UTF-8", "POST", hooks, ok(",\"metadata\":{\"a\":\"\xff\"}"), nil, 400, "request_malformed", nil},
		{"too deep", "POST", hooks, ok(`,"metadata":{"a":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}`), nil, 400, "request_malformed", nil},
		{"deep where unknown", "POST", hooks, ok(`,"x":` + strings.Repeat("[", 200) + strings.Repeat("]", 200)), nil, 400, "request_malformed", nil},
		{"bad query", "GET", hooks + "?a=%zz", "", nil, 400, "request_malformed", nil},
		{"half a character", "POST", hooks, `{"name":"\ud800","url":"https://x","events":["export.ready"]}`, nil, 422, "validation_failed", list{"body:/name"}},
		{"no object", "POST", hooks, `[]`, nil, 422, "validation_failed", list{"body:"}},
		{"null", "POST", hooks, `null`, nil, 422, "validation_failed", list{"body:"}},
		{
			"all at once", "POST", hooks + "?x=1&y=2", `{"name":"","Url":"","events":["a.b",1],"index_ids":[""],"metadata":[],"a/b~":1}`, nil, 422, "validation_failed",
			list{"query:x", "query:y", "body:/Url", "body:/a~1b~0", "body:/events/0", "body:/events/1", "body:/index_ids/0", "body:/metadata", "body:/name", "body:/url"},
		},
		{"twice", "POST", hooks, ok(`,"name":"m"`), nil, 422, "validation_failed", list{"body:/name"}},
		{"twice in metadata", "POST", hooks, ok(`,"metadata":{"a":1,"a":2}`), nil, 201, "", nil},
		{"longest name", "POST", hooks, `{"name":"` + strings.Repeat("é", 100) + `","url":"https://x","events":["export.ready"]}`, nil, 201, "", nil},
		{"longer name", "POST", hooks, `{"name":"` + strings.Repeat("é", 101) + `","url":"https://x","events":["export.ready"]}`, nil, 422, "validation_failed", list{"body:/name"}},
		{"url of no kind", "POST", hooks, `{"name":"n","url":"ftp://x","events":["export.ready"]}`, nil, 422, "validation_failed", list{"body:/url"}},
		{"no events", "POST", hooks, `{"name":"n","url":"https://x","events":[]}`, nil, 422, "validation_failed", list{"body:/events"}},
		{"null lists", "POST", hooks, ok(`,"index_ids":null,"metadata":null`), nil, 201, "", nil},
		{"largest metadata", "POST", hooks, ok(`,"metadata":{"a":"` + long(16384-8) + `"}`), nil, 201, "", nil},
		{"larger metadata", "POST", hooks, ok(`,"metadata":{"a":"` + long(16384-7) + `"}`), nil, 422, "validation_failed", list{"body:/metadata"}},
		{"largest body", "POST", hooks, ok("") + strings.Repeat(" ", 65536-len(ok(""))), nil, 201, "", nil},
		{"larger body", "POST", hooks, ok("") + strings.Repeat(" ", 65537-len(ok(""))), nil, 413, "request_too_large", nil},
		{"status on create", "POST", hooks, ok(`,"status":"paused"`), nil, 422, "validation_failed", list{"body:/status"}},
		{"patch nulls", "PATCH", hook, `{"name":null,"url":null,"events":null,"status":null,"index_ids":null,"metadata":null}`, nil, 422, "validation_failed", list{"body:/events", "body:/name", "body:/status", "body:/url"}},
		{"patch to disabled", "PATCH", hook, `{"status":"disabled"}`, nil, 422, "validation_failed", list{"body:/status"}},
		{"empty patch", "PATCH", hook, `{}`, nil, 200, "", nil},
		{"overlap", "POST", hook + "/rotate-secret", `{"overlap_seconds":604801}`, nil, 422, "validation_failed", list{"body:/overlap_seconds"}},
		{"overlap of 1e400", "POST", hook + "/rotate-secret", `{"overlap_seconds":1e400}`, nil, 422, "validation_failed", list{"body:/overlap_seconds"}},
		{"half an overlap", "POST", hook + "/rotate-secret", `{"overlap_seconds":0.5}`, nil, 422, "validation_failed", list{"body:/overlap_seconds"}},
		{"body for nothing", "POST", hook + "/test", `{"a":1}`, nil, 422, "validation_failed", list{"body:/a"}},
		{"form without body", "POST", hook + "/test", "", list{"Content-Type: application/x-www-form-urlencoded"}, 200, "", nil},
		{"form", "POST", hooks, "name=n", list{"Content-Type: application/x-www-form-urlencoded"}, 415, "content_type_unsupported", nil},
		{"latin1", "POST", hooks, ok(""), list{"Content-Type: application/json; charset=latin1"}, 415, "content_type_unsupported", nil},
		{"utf-8", "POST", hooks, ok(""), list{"Content-Type: application/json; charset=UTF-8"}, 201, "", nil},
		{"gzip", "POST", hooks, ok(""), list{"Content-Encoding: gzip"}, 415, "content_type_unsupported", nil},
		{"NDJSON elsewhere", "POST", hooks, ok(""), list{"Content-Type: application/x-ndjson"}, 415, "content_type_unsupported", nil},
		{"limits", "GET", hook + "/deliveries?limit=0", "", nil, 422, "validation_failed", list{"query:limit"}},
		{"limits", "GET", hook + "/deliveries?limit=101", "", nil, 422, "validation_failed", list{"query:limit"}},
		{"limits", "GET", hook + "/deliveries?limit=1e1", "", nil, 422, "validation_failed", list{"query:limit"}},
		{"limits", "GET", hook + "/deliveries?limit=", "", nil, 422, "validation_failed", list{"query:limit"}},
		{"limits", "GET", hook + "/deliveries?limit=1&limit=2", "", nil, 422, "validation_failed", list{"query:limit"}},
		{"limits", "GET", hook + "/deliveries?limit=99999999999999999999", "", nil, 422, "validation_failed", list{"query:limit"}},
		{"state and cursor", "GET", hook + "/deliveries?status=done&cursor=%20", "", nil, 422, "validation_failed", list{"query:status", "query:cursor"}},
		{"key too long", "POST", hook + "/test", "", list{"Idempotency-Key: " + long(256)}, 422, "validation_failed", list{"header:Idempotency-Key"}},
		{"two keys", "POST", hook + "/test", "", list{"Idempotency-Key: a", "Idempotency-Key: b"}, 422, "validation_failed", list{"header:Idempotency-Key"}},
		{"key of other letters", "POST", hook + "/test", "", list{"Idempotency-Key: é"}, 422, "validation_failed", list{"header:Idempotency-Key"}},
		{"scopes", "POST", keys, `{"name":"n","scopes":["root"],"expires_in_days":366}`, nil, 422, "validation_failed", list{"body:/expires_in_days", "body:/scopes/0"}},
		{"no scopes", "POST", keys, `{"name":"n","scopes":[]}`, nil, 422, "validation_failed", list{"body:/scopes"}},
		{"id of no webhook", "GET", "/api/v2/webhooks/x", "", nil, 404, "resource_webhook_not_found", nil},
		{"id of no delivery", "GET", "/api/v2/webhooks/deliveries/x", "", nil, 404, "resource_delivery_not_found", nil},
		{"id of no event", "GET", "/api/v2/events/%C3%A9", "", nil, 404, "resource_event_not_found", nil},
		{"id of no key", "GET", keys + "/a.b", "", nil, 404, "resource_api_key_not_found", nil},
		{"unknown path", "GET", "/api/v2/nothing", "", nil, 404, "resource_path_not_found", nil},
		{"unknown path", "GET", "/api/v2/webhooks/", "", nil, 404, "resource_path_not_found", nil},
		{"unclean path", "GET", "//api/v2//webhooks", "", nil, 404, "resource_path_not_found", nil},
		{"root", "GET", "/", "", nil, 404, "resource_path_not_found", nil},
		{"method", "PUT", hooks, "", nil, 405, "method_not_allowed", nil},
		{"method of the catalogue", "DELETE", "/api/v2/webhooks/events", "", nil, 405, "method_not_allowed", nil},
		{"no credential", "POST", hooks + "?x=1", `{`, list{"X-API-Key: none"}, 401, "authentication_required", nil},
		{"public", "GET", "/api/v2/webhooks/events", "", list{"X-API-Key: none"}, 200, "", nil},
		{"public, asked wrongly", "GET", "/api/v2/webhooks/events?limit=1", "", nil, 422, "validation_failed", list{"query:limit"}},
		{"events: unknown", "POST", events + "?x=1", `[{"event":"a","data":{},"y":1}]`, nil, 422, "validation_failed", list{"query:x", "body:/0/event", "body:/0/y"}},
	} {
		w := f.do(c.method, c.target, c.body, c.headers...)
		code, fields, message := failure(t, w)
		if w.Code != c.status || code != c.code {
			t.Errorf("%s: %s %s %.60s is %d %s, want %d %s: %.500s", c.name, c.method, c.target, c.body, w.Code, code, c.status, c.code, w.Body)
		}
		if d := cmp.Diff(c.fields, fields); d != "" {
			t.Errorf("%s: %s %s: fields: %s\n%s", c.name, c.method, c.target, d, message)
		}
	}
}

func TestAllowNamesTheMethods(t *testing.T) {
	f := newFace(t)
	for target, want := range map[string]string{
		"/api/v2/webhooks":          "GET, HEAD, POST",
		"/api/v2/webhooks/events":   "GET, HEAD",
		"/api/v2/webhooks/wh_1":     "DELETE, GET, HEAD, PATCH",
		"/api/v2/events":            "POST",
		"/livez":                    "GET, HEAD",
		"/api/v2/api-keys/k/rotate": "POST",
	} {
		if got := f.do("PUT", target, "").Header().Get("Allow"); got != want {
			t.Errorf("%s allows %q, want %q", target, got, want)
		}
	}
}

func TestFaultsOfOursTellNothing(t *testing.T) {
	f := newFace(t)
	f.fail = fmt.Errorf("ask the history: %w", errors.New("password=hunter2"))
	w := f.do("GET", "/api/v2/webhooks/wh_1", "")
	if w.Code != 500 || strings.Contains(w.Body.String(), "hunter2") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	f.boom = true
	w = f.do("GET", "/api/v2/webhooks/wh_1", "", "X-Request-ID: mine-1")
	if w.Code != 500 || strings.Contains(w.Body.String(), "reason") || w.Header().Get("X-Request-ID") != "mine-1" {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	if f.answers[0].Panicked || !f.answers[1].Panicked || !strings.Contains(f.answers[1].Err.Error(), "server_test.go") {
		t.Errorf("the second panicked, and the log needs its stack: %+v", f.answers)
	}
	if len(f.answers) != 2 || !strings.Contains(f.answers[0].Err.Error(), "hunter2") || !strings.Contains(f.answers[1].Err.Error(), "the reason is for the log") {
		t.Errorf("the log does not get the causes: %v", f.answers)
	}
	if w = f.do("GET", "/api/v2/nothing", "", "X-Request-ID: two words"); w.Header().Get("X-Request-ID") == "two words" {
		t.Error("a malformed request id is taken over")
	}
}

func TestMountedPassesBy(t *testing.T) {
	f := newFace(t)
	for target, want := range map[string]string{"/livez?probe=1": "ok", "/pages/a/b": "docs"} {
		if w := f.do("GET", target, ""); w.Code != 200 || w.Body.String() != want || w.Header().Get("X-Request-ID") == "" {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
	}
	if w := f.do("GET", "/openapi.json", ""); w.Code != 200 {
		t.Errorf("/openapi.json: %d", w.Code)
	}
}

func TestOverTheWire(t *testing.T) {
	f := newFace(t)
	srv := httptest.NewServer(f.http)
	defer srv.Close()
	client := &http.Client{Transport: f.checker.RoundTripper(srv.Client().Transport)}
	for _, c := range []struct {
		method, path string
		body         io.Reader
		status       int
	}{
		{"GET", "/api/v2/webhooks/wh_1", nil, 200},
		{"HEAD", "/api/v2/webhooks/wh_1", nil, 200},
		{"POST", "/api/v2/events", io.MultiReader(strings.NewReader(`{"event":"export.ready",`), strings.NewReader(`"data":{}}`)), 202},
		{"POST", "/api/v2/webhooks", io.LimitReader(spaces{}, 70000), 413}, // chunked: no length is announced
	} {
		r, err := http.NewRequestWithContext(t.Context(), c.method, srv.URL+c.path, c.body)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != c.status {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, resp.StatusCode, c.status)
		}
	}
}

type spaces struct{}

func (spaces) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	return len(b), nil
}

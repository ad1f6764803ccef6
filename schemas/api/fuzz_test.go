package api_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"hookledger/schemas/api"
)

// FuzzRequest: whatever is sent, to whatever path, is answered as the specification says, and never with a fault
// of ours. A body that is taken can be read into the generated types: else it would be a 500.
func FuzzRequest(f *testing.F) {
	for _, s := range []struct{ method, target, headers, body string }{
		{"POST", "/api/v2/webhooks", "Content-Type: application/json", `{"name":"n","url":"https://x","events":["export.ready"],"index_ids":["a"],"metadata":{"a":1e400}}`},
		{"PATCH", "/api/v2/webhooks/wh_1", `If-Match: W/"1-a", "2"`, `{"index_ids":null,"metadata":null,"status":"paused","name":"m"}`},
		{"POST", "/api/v2/webhooks/wh_1/rotate-secret", "Idempotency-Key: a b", `{"overlap_seconds":604800}`},
		{"POST", "/api/v2/webhooks/wh_1/test", "", `{}`},
		{"POST", "/api/v2/webhooks/deliveries/del_1/retry", "", ``},
		{"POST", "/api/v2/events", "Content-Type: application/x-ndjson", "{\"event\":\"export.ready\",\"data\":{}}\n\n{\"event\":\"media.created\",\"data\":{}}"},
		{"POST", "/api/v2/events", "", `[{"id":"a","event":"export.ready","data":{},"created_at":"2026-11-23T22:00:00.5+01:00"}]`},
		{"POST", "/api/v2/api-keys", "", `{"name":"k","scopes":["read","write"],"expires_in_days":365}`},
		{"POST", "/api/v2/api-keys/key_1/revoke", "", ` `},
		{"GET", "/api/v2/webhooks/wh_1/deliveries?status=failed&limit=9&cursor=a", "If-None-Match: *", ``},
		{"GET", "/api/v2/events/a%2Fb?ordering_key=k", "", ``},
		{"DELETE", "/api/v2/api-keys/key_1", "", ``},
		{"HEAD", "/api/v2/webhooks?limit=1000", "Content-Encoding: gzip", ``},
		{"GET", "/docs", "", ``},
		{"PUT", "/api/v2/webhooks/", "Content-Type: text/plain; charset=latin1", `x`},
	} {
		f.Add(s.method, s.target, s.headers, []byte(s.body))
	}
	face := newFace(f)
	f.Fuzz(func(t *testing.T, method, target, headers string, body []byte) {
		at, err := url.ParseRequestURI(target)
		if err != nil || at.Path == "" || len(body) > 1<<16 || strings.HasPrefix(at.Path, "/pages") || mountedHere(at.Path) {
			return // net/http refuses it, or a stand-in of the test answers
		}
		r, err := http.NewRequestWithContext(t.Context(), method, "http://x/", strings.NewReader(string(body)))
		if err != nil {
			return // a method that is no token
		}
		r.URL, r.RequestURI = at, target
		for line := range strings.Lines(headers) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			r.Header.Add(name, value)
		}
		w := httptest.NewRecorder()
		face.http.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Errorf("%s %s is answered %d %s", method, target, w.Code, w.Body)
		}
		if err := face.checker.Check(method, at.EscapedPath(), w.Code, w.Header(), w.Body.Bytes()); err != nil {
			t.Errorf("%s %s is answered %d %v %s: %v", method, target, w.Code, w.Header(), w.Body, err)
		}
		if method == http.MethodHead {
			return
		}
		if _, fields, message := failure(t, w); w.Code == http.StatusUnprocessableEntity && (len(fields) == 0 || message == "") {
			t.Errorf("%s %s: 422 names no field: %s", method, target, w.Body)
		}
	})
}

// mountedHere are paths that newFace has a stand-in for.
func mountedHere(path string) bool {
	return path == "/livez" || path == "/readyz" || path == "/metrics"
}

// FuzzMatchETag: a header that names a tag has it in it; and what we give is understood however it is listed.
func FuzzMatchETag(f *testing.F) {
	for _, h := range []string{`"3"`, `W/"3-0123456789abcdef"`, `*`, `"a", W/"b" ,, "3"`, `3`, `W/`, `"3`, `""`} {
		f.Add(h, int64(3), "figures")
	}
	f.Fuzz(func(t *testing.T, header string, version int64, figures string) {
		tag := api.VersionTag(version, figures)
		opaque := strings.TrimPrefix(tag, "W/")
		if api.MatchETag(header, tag) && !strings.Contains(header, "*") && !strings.Contains(header, strings.Trim(opaque, `"`)) {
			t.Errorf("%q names %s", header, tag)
		}
		bare, _, _ := strings.Cut(strings.Trim(opaque, `"`), "-")
		if version >= 0 && api.MatchVersion(header, version) && !strings.Contains(header, "*") && !strings.Contains(header, bare) {
			t.Errorf("%q names version %d", header, version)
		}
		for _, list := range []string{tag, opaque, `"x", ` + tag, tag + `,"x"`, " " + opaque + " "} {
			if !api.MatchETag(list, tag) || version >= 0 && !api.MatchVersion(list, version) {
				t.Errorf("%q does not name %s", list, tag)
			}
		}
	})
}

// FuzzLines: events on lines are the same events as in an array.
func FuzzLines(f *testing.F) {
	spec := newFace(f).spec
	for _, s := range []string{
		"{\"event\":\"export.ready\",\"data\":{}}", "{\"event\":\"export.ready\",\"data\":{\"a\":[1]}}\r\n\n {\"event\":\"media.created\",\"data\":{},\"id\":\"x\"}\n", "[]", "\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) > 1<<14 {
			return
		}
		events, bad := api.ReadEvents("application/x-ndjson", body, spec.Catalogue(), api.EventLimits{})
		if bad != nil {
			return
		}
		var lines []string
		for line := range strings.SplitSeq(string(body), "\n") {
			if line = strings.Trim(line, " \t\r"); line != "" {
				lines = append(lines, line)
			}
		}
		same, bad := api.ReadEvents("application/json", []byte("["+strings.Join(lines, ",")+"]"), spec.Catalogue(), api.EventLimits{})
		if bad != nil || len(same) != len(events) {
			t.Fatalf("%d events on lines, in an array %d: %v", len(events), len(same), bad)
		}
		for i := range events {
			if string(events[i].Data) != string(same[i].Data) || events[i].ID != same[i].ID || events[i].Event != same[i].Event || !events[i].CreatedAt.Equal(same[i].CreatedAt) {
				t.Errorf("event %d is %+v on a line, %+v in an array", i, events[i], same[i])
			}
		}
	})
}

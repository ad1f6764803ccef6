// Package apitest holds every answer of a test against the API's specification.
//
// It promises that a test fails on an answer whose status, headers, content type or body the specification does not
// have for that operation, and on one without X-Request-ID; every schema of an answer is closed, so a field too many (a
// secret in a list) fails as well. It never changes an answer, and never judges requests: the service does.
package apitest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"hookledger/schemas/api"
	"hookledger/schemas/api/rawjson"
)

// Checker checks answers. It is safe for use by any number of goroutines.
type Checker struct {
	t    testing.TB
	spec *api.Spec

	mu   sync.Mutex
	seen map[string]int
}

// New returns a checker that reports to t.
func New(t testing.TB, spec *api.Spec) *Checker {
	return &Checker{t: t, spec: spec, seen: map[string]int{}}
}

// Handler wraps h: its answers are checked and passed on.
func (c *Checker) Handler(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		method, path := r.Method, r.URL.EscapedPath()
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		c.report(method, path, rec.Code, rec.Header(), rec.Body.Bytes())
		maps.Copy(w.Header(), rec.Header())
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes()) // the test's own client
	})
}

// RoundTripper wraps the transport of a client (http.DefaultTransport if nil), for tests of a process of its own.
func (c *Checker) RoundTripper(rt http.RoundTripper) http.RoundTripper {
	if rt == nil {
		rt = http.DefaultTransport
	}
	return roundTripper{c, rt}
}

type roundTripper struct {
	c  *Checker
	rt http.RoundTripper
}

func (t roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.rt.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close() // read to its end
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	t.c.report(r.Method, r.URL.EscapedPath(), resp.StatusCode, resp.Header, body)
	return resp, nil
}

func (c *Checker) report(method, path string, status int, h http.Header, body []byte) {
	c.t.Helper()
	if err := c.Check(method, path, status, h, body); err != nil {
		c.t.Errorf("answer %d to %s %s is not what the specification says: %v\nheaders: %v\nbody: %.2000s", status, method, path, err, h, body)
	}
}

// Seen lists operation and status of all checked answers, with their counts: for a test that wants each to be met.
func (c *Checker) Seen() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.seen)
}

// unspoken are headers that HTTP itself or a server in between may add to any answer.
var unspoken = []string{"Content-Type", "Content-Length", "Date", "Connection", "Cache-Control", "Vary", "X-Content-Type-Options"}

// Check says what is wrong with an answer.
func (c *Checker) Check(method, path string, status int, h http.Header, body []byte) error {
	lookup := method
	if method == http.MethodHead {
		lookup = http.MethodGet
	}
	template, item := c.match(path)
	responses := c.spec.Document().Components.Responses
	var resp *openapi3.Response
	name := lookup + " " + template
	switch {
	case item == nil:
		name = "unknown path"
		if status != http.StatusNotFound {
			return fmt.Errorf("an unknown path must be 404")
		}
		resp = responses["NotFound"].Value
	case item.GetOperation(lookup) == nil:
		if status != http.StatusMethodNotAllowed && status != http.StatusNotFound {
			return fmt.Errorf("an unknown method must be 405")
		}
		resp = responses["MethodNotAllowed"].Value
	default:
		ref := item.GetOperation(lookup).Responses.Status(status)
		if ref == nil {
			return fmt.Errorf("the operation has no such status")
		}
		resp = ref.Value
	}
	c.mu.Lock()
	c.seen[fmt.Sprintf("%s %d", name, status)]++
	c.mu.Unlock()
	if err := checkHeaders(resp, h); err != nil {
		return err
	}
	if method == http.MethodHead {
		if len(body) > 0 {
			return fmt.Errorf("an answer to HEAD must have no body")
		}
		return nil
	}
	return checkBody(resp, h.Get("Content-Type"), body)
}

// CheckDelivery says what is wrong with a request to a receiver. An Accept-Encoding and the like, which HTTP allows
// anyone, are for the caller to judge.
func (c *Checker) CheckDelivery(h http.Header, body []byte) error {
	op := c.spec.Document().Components.Callbacks["Delivery"].Value.Value("{$request.body#/url}").Post
	for _, ref := range op.Parameters {
		p := ref.Value
		values := h.Values(p.Name)
		switch {
		case len(values) > 1, p.Required && len(values) == 0:
			return fmt.Errorf("header %s is there %d times", p.Name, len(values))
		case len(values) == 1:
			if err := p.Schema.Value.VisitJSON(values[0]); err != nil {
				return fmt.Errorf("header %s: %w", p.Name, err)
			}
		}
	}
	return checkContent(op.RequestBody.Value.Content, h.Get("Content-Type"), body)
}

func checkHeaders(resp *openapi3.Response, h http.Header) error {
	for name := range h {
		if slices.Contains(unspoken, name) {
			continue
		}
		if !slices.ContainsFunc(slices.Collect(maps.Keys(resp.Headers)), func(k string) bool { return http.CanonicalHeaderKey(k) == name }) {
			return fmt.Errorf("header %s is not specified", name)
		}
	}
	for name, ref := range resp.Headers {
		values := h.Values(name)
		if len(values) == 0 {
			if ref.Value.Required {
				return fmt.Errorf("header %s is missing", name)
			}
			continue
		}
		if len(values) > 1 {
			return fmt.Errorf("header %s is there %d times", name, len(values))
		}
		var v any = values[0]
		if ref.Value.Schema.Value.Type.Is(openapi3.TypeInteger) {
			v = json.Number(values[0])
		}
		if err := ref.Value.Schema.Value.VisitJSON(v); err != nil {
			return fmt.Errorf("header %s: %w", name, err)
		}
	}
	return nil
}

func checkBody(resp *openapi3.Response, contentType string, body []byte) error {
	if len(resp.Content) == 0 {
		if len(body) > 0 {
			return fmt.Errorf("it must have no body")
		}
		return nil
	}
	return checkContent(resp.Content, contentType, body)
}

func checkContent(of openapi3.Content, contentType string, body []byte) error {
	media, _, _ := strings.Cut(contentType, ";")
	content := of[strings.TrimSpace(media)]
	if content == nil {
		return fmt.Errorf("content type %q is not specified", contentType)
	}
	if media != "application/json" {
		return nil
	}
	if err := rawjson.Check(body, 1000); err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return err
	}
	return content.Schema.Value.VisitJSON(v, openapi3.VisitAsResponse(), openapi3.MultiErrors())
}

// match finds the path's template; one without parameters comes first.
func (c *Checker) match(path string) (string, *openapi3.PathItem) {
	paths := c.spec.Document().Paths
	if item := paths.Value(path); item != nil && !strings.Contains(path, "{") {
		return path, item
	}
	steps := strings.Split(path, "/")
	for _, template := range paths.InMatchingOrder() {
		parts := strings.Split(template, "/")
		if len(parts) == len(steps) && slices.EqualFunc(parts, steps, func(p, s string) bool {
			return p == s || strings.HasPrefix(p, "{") && s != ""
		}) {
			return template, paths.Value(template)
		}
	}
	return "", nil
}

package api

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/mux"
)

// whole is a handler's options with all that the specification has for operators.
func whole(s *Spec) Options {
	o := Options{
		Server:       struct{ ServerInterface }{},
		Authorize:    func(_ http.Header, r *http.Request, _ Operation) (context.Context, error) { return r.Context(), nil },
		NewRequestID: func() string { return "req_1" },
		Mount:        map[string]http.Handler{},
	}
	for _, op := range s.operations {
		if op.Operator && op.Path != "/openapi.json" && op.Path != "/docs" {
			o.Mount[op.Path] = http.NotFoundHandler()
		}
	}
	return o
}

// TestRoutesAreThePathsOfTheSpecification: the same set, whatever is added to either.
func TestRoutesAreThePathsOfTheSpecification(t *testing.T) {
	s := load(t)
	o := whole(s)
	o.Mount["/tree/"] = http.NotFoundHandler() // pages, not the API: the specification says nothing of them
	root, err := s.router(o)
	if err != nil {
		t.Fatal(err)
	}
	var routes, paths []string
	err = root.Walk(func(r *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		template, err := r.GetPathTemplate()
		if err != nil || r.GetHandler() == nil { // the subrouter's own
			return nil
		}
		methods, err := r.GetMethods()
		if err != nil {
			t.Errorf("%s takes every method", template)
		}
		for _, m := range methods {
			if !strings.HasPrefix(template, "/tree/") {
				routes = append(routes, m+" "+template)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for path, item := range s.doc.Paths.Map() {
		for method := range item.Operations() {
			paths = append(paths, method+" "+path)
		}
	}
	slices.Sort(routes)
	slices.Sort(paths)
	if d := cmp.Diff(paths, routes); d != "" {
		t.Errorf("paths of the specification (-) and routes (+) differ:\n%s", d)
	}
}

// A node without the API has the operators' pages, and says in the one shape that the rest is not there.
func TestANodeWithoutTheAPI(t *testing.T) {
	s := load(t)
	o := whole(s)
	o.Server, o.Authorize = nil, nil
	h, err := s.Handler(o)
	if err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]string{"/openapi.json": `{"`, "/api/v2/webhooks": `{"error":{"code":"resource_path_not_found"`} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
		if !strings.HasPrefix(w.Body.String(), want) || w.Header().Get("X-Request-ID") == "" {
			t.Errorf("%s: %d %.100s", target, w.Code, w.Body)
		}
	}
}

func TestWhatIsMountedIsSpecified(t *testing.T) {
	s := load(t)
	for path, change := range map[string]func(Options){
		"/unknown": func(o Options) { o.Mount["/unknown"] = http.NotFoundHandler() },
		"/livez":   func(o Options) { delete(o.Mount, "/livez") },
		// What the API answers is not what operators mount.
		"/api/v2/webhooks/events": func(o Options) { o.Mount["/api/v2/webhooks/events"] = http.NotFoundHandler() },
	} {
		o := whole(s)
		change(o)
		if _, err := s.Handler(o); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// TestPatternsAreExplained: an error that shows a regular expression helps nobody.
func TestPatternsAreExplained(t *testing.T) {
	s := load(t)
	for _, o := range s.operations {
		for _, p := range o.params {
			if sc := p.Value.Schema.Value; sc.Pattern != "" && text(sc.Extensions, "x-form") == "" {
				t.Errorf("%s: parameter %s has a pattern without x-form", o.ID, p.Value.Name)
			}
		}
	}
	for name, ref := range s.doc.Components.Schemas {
		for prop, p := range ref.Value.Properties {
			if asked := s.requested(name); asked && p.Value.Pattern != "" && text(p.Value.Extensions, "x-form") == "" {
				t.Errorf("%s.%s has a pattern without x-form", name, prop)
			}
		}
	}
}

// requested says whether a schema is the body of a request.
func (s *Spec) requested(name string) bool {
	return slices.ContainsFunc(s.operations, func(o *Operation) bool {
		return o.body == s.doc.Components.Schemas[name].Value
	}) || name == "EventInput"
}

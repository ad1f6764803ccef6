package api

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"hookledger/schemas/api/apierr"
)

// Options is what [Spec.Handler] is assembled from.
type Options struct {
	// Server answers the operations. Nil is for a node that serves only what is mounted; the API's paths are unknown there.
	Server ServerInterface
	// Authorize says who asks, and whether they may: it gets every operation with its scope, the public ones too, and
	// returns the context that the handlers see. It may put headers into the answer. Its error is answered. Required with
	// Server.
	Authorize func(answer http.Header, r *http.Request, op Operation) (context.Context, error)
	// NewRequestID names requests that bring no well-formed X-Request-ID. Required.
	NewRequestID func() string
	// Observe, if set, is told of every answer once it is written: for log and metrics.
	Observe func(r *http.Request, a Answer)
	// Now is the clock for Answer.Took; time.Now if nil.
	Now func() time.Time
	// Events bounds POST /events.
	Events EventLimits
	// Mount holds what is served beside the API without credentials or validation: /livez, /readyz, /metrics, /docs ...
	// GET and HEAD only. A path that ends in a slash is a tree of pages; any other is in the specification, and what that has
	// for operators is mounted here, except /openapi.json and /docs, which are there without being named.
	Mount map[string]http.Handler
}

// Answer is what became of a request.
type Answer struct {
	// Operation is its zero value for an unknown path, and for what is mounted.
	Operation Operation
	RequestID string
	Status    int
	Bytes     int64
	Took      time.Duration
	// Err is what [WriteError] was given, cause included, or nil.
	Err error
	// Panicked says that a handler panicked; Err has the stack.
	Panicked bool
}

// Handler assembles the API: request id, panics, routing, authorisation, validation, and then the server's method.
func (s *Spec) Handler(o Options) (http.Handler, error) {
	if o.Server != nil && o.Authorize == nil || o.NewRequestID == nil {
		return nil, errors.New("assemble the API: Authorize and NewRequestID must be given")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Events = o.Events.withDefaults()

	root, err := s.router(o)
	if err != nil {
		return nil, err
	}
	return s.outermost(o, root), nil
}

// router has a route for each operation of the specification, and none for anything else but trees of pages.
func (s *Spec) router(o Options) (*mux.Router, error) {
	root := mux.NewRouter().UseEncodedPath().SkipClean(true)
	mounted := map[string]http.Handler{"/openapi.json": http.HandlerFunc(s.ServeJSON), "/docs": http.HandlerFunc(s.ServeDocs)}
	maps.Copy(mounted, o.Mount)
	for _, op := range s.operations {
		if op.Operator && mounted[op.Path] == nil {
			return nil, fmt.Errorf("assemble the API: %s is in the specification, and nothing is mounted there", op.Path)
		}
	}
	for path, h := range mounted {
		if op := s.byRoute[route{http.MethodGet, path}]; !strings.HasSuffix(path, "/") && (op == nil || !op.Operator) {
			return nil, fmt.Errorf("assemble the API: %s is mounted, and is not in the specification as one for operators", path)
		}
		mount(root, path, h)
	}
	// The checks hang on a router of their own, so that what is mounted passes by them.
	if o.Server != nil {
		checked := root.NewRoute().Subrouter()
		checked.Use(func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.check(o, w, r, next) })
		})
		HandlerWithOptions(o.Server, GorillaServerOptions{BaseRouter: checked, ErrorHandlerFunc: func(w http.ResponseWriter, r *http.Request, err error) {
			// The request passed our checks, so the generated code disagrees with the specification.
			WriteError(w, r, apierr.Internal(fmt.Errorf("bind the parameters of the request: %w", err)))
		}})
	}
	root.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		WriteError(w, r, noPath(root, r))
	})
	root.MethodNotAllowedHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		WriteError(w, r, apierr.BadMethod(cut(r.Method), allowed(root, r)))
	})
	return root, nil
}

// noPath is the 404 of a path; one that only has a slash too many is told so. It is not redirected: a client that
// follows would pay for its mistake with every request, and a POST would lose its body.
func noPath(root *mux.Router, r *http.Request) error {
	if path := strings.TrimRight(r.URL.Path, "/"); path != r.URL.Path {
		other := r.Clone(r.Context())
		other.URL.Path, other.URL.RawPath = path, ""
		var m mux.RouteMatch
		if root.Match(other, &m) && m.MatchErr == nil || errors.Is(m.MatchErr, mux.ErrMethodMismatch) {
			return apierr.NoPathBut(cut(r.URL.Path), cut(path))
		}
	}
	return apierr.NoPath(cut(r.URL.Path))
}

func mount(root *mux.Router, path string, h http.Handler) {
	if strings.HasSuffix(path, "/") {
		root.PathPrefix(path).Handler(h).Methods(http.MethodGet)
	} else {
		root.Handle(path, h).Methods(http.MethodGet)
	}
}

// outermost gives the request its id and its exchange, turns HEAD into GET, answers panics and tells Observe.
func (s *Spec) outermost(o Options, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := o.Now()
		ex := &exchange{requestID: r.Header.Get("X-Request-ID")}
		if !wellFormedID(ex.requestID) {
			ex.requestID = o.NewRequestID()
		}
		aw := &answerWriter{ResponseWriter: w}
		r = r.WithContext(context.WithValue(r.Context(), exchangeKey{}, ex))
		if r.Method == http.MethodHead {
			r.Method, aw.head = http.MethodGet, true
		}
		w.Header().Set("X-Request-ID", ex.requestID)
		defer func() {
			panicked := false
			if p := recover(); p != nil {
				panicked = true
				if p == http.ErrAbortHandler { //nolint:errorlint // a sentinel that is compared like this by net/http
					panic(p)
				}
				err := apierr.Internal(fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
				if aw.status != 0 { // half an answer is out: cut the connection, so that it is not taken for whole
					ex.err = err
					defer panic(http.ErrAbortHandler)
				} else {
					WriteError(aw, r, err)
				}
			}
			if o.Observe != nil {
				a := Answer{RequestID: ex.requestID, Status: aw.status, Bytes: aw.bytes, Took: o.Now().Sub(start), Err: ex.err, Panicked: panicked}
				if ex.op != nil {
					a.Operation = *ex.op
				}
				o.Observe(r, a)
			}
		}()
		next.ServeHTTP(aw, r)
		if aw.status == 0 { // what net/http would do
			aw.WriteHeader(http.StatusOK)
		}
	})
}

// check is what every request to the API passes before its handler.
func (s *Spec) check(o Options, w http.ResponseWriter, r *http.Request, next http.Handler) {
	template, err := mux.CurrentRoute(r).GetPathTemplate()
	op := s.byRoute[route{r.Method, template}]
	if err != nil || op == nil {
		WriteError(w, r, apierr.Internal(fmt.Errorf("route %s %s is not in the specification", r.Method, template)))
		return
	}
	if methods, ok := s.methods[r.URL.EscapedPath()]; ok && r.URL.EscapedPath() != template {
		// DELETE /webhooks/events is not the deletion of a webhook named "events".
		WriteError(w, r, apierr.BadMethod(r.Method, methods))
		return
	}
	ex := of(r.Context())
	ex.op = op
	ctx, err := o.Authorize(w.Header(), r, *op)
	if err != nil {
		WriteError(w, r, err)
		return
	}
	r = r.WithContext(ctx)
	vars := mux.Vars(r)
	for name, escaped := range vars {
		plain, err := url.PathUnescape(escaped)
		if err != nil {
			WriteError(w, r, apierr.NoPath(cut(r.URL.Path)))
			return
		}
		vars[name] = plain
	}
	if err := s.judge(o, ex, w, r, vars); err != nil {
		WriteError(w, r, err)
		return
	}
	next.ServeHTTP(w, r)
}

// allowed are the methods of the most specific template that the path of r matches.
func allowed(root *mux.Router, r *http.Request) []string {
	var methods []string
	template := ""
	_ = root.Walk(func(route *mux.Route, _ *mux.Router, _ []*mux.Route) error { // ends only when we say so
		var m mux.RouteMatch
		if route.GetHandler() == nil || !route.Match(r, &m) && !errors.Is(m.MatchErr, mux.ErrMethodMismatch) {
			return nil
		}
		t, err := route.GetPathTemplate()
		if err != nil || template != "" && t != template {
			return nil //nolint:nilerr // a route without a template is none of ours: look on
		}
		template = t
		if more, err := route.GetMethods(); err == nil {
			methods = append(methods, more...)
		}
		return nil
	})
	if slices.Contains(methods, http.MethodGet) {
		methods = append(methods, http.MethodHead)
	}
	slices.Sort(methods)
	return slices.Compact(methods)
}

// wellFormedID says whether a caller's request id may stand in our log.
func wellFormedID(id string) bool {
	for i := range len(id) {
		c := id[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && !strings.ContainsRune("-_.:/+=", rune(c)) {
			return false
		}
	}
	return len(id) >= 1 && len(id) <= 128
}

// answerWriter remembers what was answered.
type answerWriter struct {
	http.ResponseWriter
	status int
	bytes  int64
	head   bool
}

// Unwrap is for http.ResponseController.
func (w *answerWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *answerWriter) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *answerWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.head {
		return len(b), nil
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

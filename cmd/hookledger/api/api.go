// Package api answers the HTTP API: it is the ServerInterface of schemas/api
// over the log, the fold of config and the history.
//
// What comes in has been judged by the specification before it is here. What
// goes out as success is in the log: a command was appended and judged, an event
// is acknowledged, and both are synced. A request whose fate is not known (the
// log went away in the middle) is answered 503 and says so; repeating it with
// the same Idempotency-Key is safe.
//
// Every request that needs a credential passes the barrier on `config` first, so
// that what was acknowledged on one node is seen on every other and a revoked
// key is refused everywhere at once. Reads of deliveries come from the history;
// reads of webhooks and keys from memory.
//
// It never answers from a cache what a newer fact could contradict, except
// failure_count and its sisters, which come with stats_as_of.
//
// Decisions: /test and /retry are recorded in `config` only when they bring an
// Idempotency-Key, because only then somebody may ask for the answer again. A
// test may be sent to a paused or disabled webhook: that is when one wants to
// know whether the receiver is back. last_used_at of an API key is what this
// node saw since its start; a fact for each use would be a write for each read.
package api

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"hookledger/consumers/sender"
	"hookledger/consumers/sender/egress"
	"hookledger/ledger"
	"hookledger/ledger/ids"
	"hookledger/ledger/secrets"
	"hookledger/projections/history"
	"hookledger/projections/subscriptions"
	"hookledger/schemas/api"
	"hookledger/schemas/api/apierr"
)

// Options of New. All without a default are required.
type Options struct {
	Spec    *api.Spec
	Log     *ledger.Log
	Config  *subscriptions.Subscriptions
	History *history.History
	Sender  *sender.Sender
	Guard   *egress.Guard
	Secrets *secrets.Set
	// Mount is what is served beside the API: /livez, /readyz, /metrics.
	Mount map[string]http.Handler
	// OperatorOnly is for a node without the API: it serves what is mounted.
	OperatorOnly bool
	// Limits bound what one caller may ask for; none by default.
	Limits Limits
	// Timeout bounds what a request waits for (default 10 s).
	Timeout time.Duration
	// Now and Random default to the clock and to crypto/rand.
	Now     func() time.Time
	Random  io.Reader
	Logger  *slog.Logger
	Metrics *Metrics
}

// server implements api.ServerInterface.
type server struct {
	Options
	stats    *statsCache
	lastUsed *lastUsed
	limits   *limits
}

var _ api.ServerInterface = (*server)(nil)

// New assembles the handler of the whole API.
func New(o Options) (http.Handler, error) {
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics()
	}
	stats, err := newStatsCache(o.History, o.Now)
	if err != nil {
		return nil, err
	}
	limits, err := newLimits(o.Limits, o.Now, o.Metrics)
	if err != nil {
		return nil, err
	}
	s := &server{Options: o, stats: stats, lastUsed: newLastUsed(), limits: limits}
	faces := api.Options{
		Authorize:    s.authorize,
		NewRequestID: s.newRequestID,
		Observe:      s.observe,
		Now:          o.Now,
		Mount:        o.Mount,
	}
	if !o.OperatorOnly {
		faces.Server = s
	}
	handler, err := o.Spec.Handler(faces)
	if err != nil {
		return nil, err
	}
	// A history that hangs is answered for like one that is gone.
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), o.Timeout)
		defer cancel()
		ctx, admitted := withAdmission(ctx)
		defer func() { admitted.release() }()
		handler.ServeHTTP(w, r.WithContext(ctx))
	}), nil
}

func (s *server) newRequestID() string {
	id, err := ids.Timed(s.Now(), s.Random)
	if err != nil { // crypto/rand does not fail; a test's source may
		return string(ids.Request) + s.Now().UTC().Format("20060102T150405.000000000")
	}
	return id.Text(ids.Request)
}

// bounded is the request's context with the service's own limit. A command that
// was appended is waited for though the client went away, so that its answer is
// known; that is why it does not end with the request.
func (s *server) bounded(r *http.Request) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(r.Context()), s.Timeout)
}

// observe logs and counts each answer, once.
func (s *server) observe(r *http.Request, a api.Answer) {
	s.Metrics.answered(a)
	level := slog.LevelDebug
	switch {
	case a.Status >= http.StatusInternalServerError:
		level = slog.LevelError
	case a.Status == http.StatusTooManyRequests: // who asks too much must not fill the log too
	case a.Err != nil:
		level = slog.LevelInfo
	}
	if !s.Logger.Enabled(r.Context(), level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("request_id", a.RequestID), slog.String("method", r.Method), slog.String("path", r.URL.Path),
		slog.Int("status", a.Status), slog.Duration("took", a.Took),
	}
	if a.Err != nil {
		attrs = append(attrs, slog.Any("error", a.Err))
	}
	s.Logger.LogAttrs(r.Context(), level, "request", attrs...)
}

// unavailable turns trouble of the log into the answer for it.
func unavailable(err error) error {
	if _, ok := errors.AsType[*apierr.Error](err); ok {
		return err
	}
	if errors.Is(err, subscriptions.ErrUnsettled) {
		return apierr.Unsettled(time.Second, err)
	}
	return apierr.NoLog(time.Second, err)
}

// missing turns the history's errors into answers; absent is the 404.
func missing(err error, absent error) error {
	if errors.Is(err, history.ErrNotFound) {
		return absent
	}
	return apierr.NoHistory(time.Second, err)
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"hookledger/consumers/dispatcher"
	"hookledger/consumers/historian"
	"hookledger/consumers/router"
	"hookledger/projections/history"
	"hookledger/projections/subscriptions"
)

// Limits of the HTTP server beside --read-timeout and --write-timeout: a client
// that is slower is cut.
const (
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 32 << 10
)

// serveHTTP serves until ctx ends, then lets requests under way finish.
func serveHTTP(ctx context.Context, l net.Listener, h http.Handler, limits apiConfig, log *slog.Logger) error {
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: limits.readTimeout / 6, ReadTimeout: limits.readTimeout, WriteTimeout: limits.writeTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes, DisableGeneralOptionsHandler: true,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug), // clients that misbehave are no news
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(oneShape{l}) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err := server.Shutdown(patience)
	if err != nil {
		err = errors.Join(fmt.Errorf("requests were still under way: %w", err), server.Close())
	}
	if serveErr := <-ended; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, serveErr)
	}
	return err
}

// readiness answers /readyz: 200 only when every enabled role can do its work.
type readiness struct{ checks []check }

type check struct {
	name string
	ask  func(context.Context) error
}

func newReadiness(
	cfg *config, config *subscriptions.Subscriptions, route *router.Router, dispatch *dispatcher.Dispatcher,
	record *historian.Historian, past *history.History, at *place,
) *readiness {
	r := &readiness{checks: []check{{"log", config.Barrier}}}
	if cfg.has(roleRouter) {
		r.checks = append(r.checks, check{"router", func(context.Context) error { return route.Ready() }})
	}
	if cfg.has(roleDispatcher) {
		r.checks = append(r.checks, check{"dispatcher", func(context.Context) error { return dispatch.Ready() }})
	}
	if cfg.has(roleHistorian) {
		r.checks = append(r.checks, check{"historian", func(context.Context) error { return record.Ready() }})
	}
	if cfg.has(roleHistorian) || cfg.has(roleAPI) {
		r.checks = append(r.checks, check{"history", func(ctx context.Context) error {
			if at.engine != nil {
				if err := at.engine.Err(); err != nil {
					return err
				}
			}
			return past.Ping(ctx)
		}})
	}
	return r
}

// faults are what keeps this node from its work.
func (r *readiness) faults(ctx context.Context) map[string]error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	faults := make(map[string]error)
	for _, c := range r.checks {
		if err := c.ask(ctx); err != nil {
			faults[c.name] = err
		}
	}
	return faults
}

// ServeHTTP implements http.Handler.
func (r *readiness) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	type one struct {
		Name   string `json:"name"`
		Ready  bool   `json:"ready"`
		Reason string `json:"reason,omitempty"`
	}
	faults := r.faults(req.Context())
	answer := struct {
		Ready  bool  `json:"ready"`
		Checks []one `json:"checks"`
	}{Ready: len(faults) == 0}
	for _, c := range r.checks {
		o := one{Name: c.name, Ready: true}
		if err := faults[c.name]; err != nil {
			o.Ready, o.Reason = false, err.Error()
		}
		answer.Checks = append(answer.Checks, o)
	}
	status := http.StatusOK
	if !answer.Ready {
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "1")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer) // a prober that went away is no fault of ours
}

// livez says that the process answers, and nothing more.
func livez() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("ok\n")) // a prober that went away is no fault of ours
	})
}

func metricsHandler(reg *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{})
}

// profiles are the pages of Go's profiler, on a mux of their own: importing
// net/http/pprof puts them on the default one too, which nobody serves.
func profiles() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("/debug/pprof/", pprof.Index)
	m.HandleFunc("/debug/pprof/profile", pprof.Profile)
	m.HandleFunc("/debug/pprof/trace", pprof.Trace)
	m.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	return m
}

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hookledger/cmd/hookledger/api"
	"hookledger/consumers/dispatcher"
	"hookledger/consumers/dispatcher/partition"
	"hookledger/consumers/historian"
	"hookledger/consumers/router"
	"hookledger/consumers/sender"
	"hookledger/consumers/sender/egress"
	"hookledger/ledger"
	"hookledger/ledger/ids"
	"hookledger/ledger/secrets"
	"hookledger/projections/history"
	"hookledger/projections/subscriptions"
	spec "hookledger/schemas/api"
	"hookledger/schemas/catalogue"
)

func runServe(ctx context.Context, args []string, std stdio) error {
	var cfg config
	f := flag.NewFlagSet("serve", flag.ContinueOnError)
	cfg.serveFlags(f)
	if err := cfg.parse(f, args, std); err != nil {
		return err
	}
	return serve(ctx, &cfg, cfg.logger(std.err), std)
}

// serve is the picture of DESIGN section 1: the log, what it means, and what
// acts on it.
func serve(ctx context.Context, cfg *config, log *slog.Logger, std stdio) (err error) {
	began := time.Now()
	reg := prometheus.NewRegistry()
	m := newMetrics(reg)

	// Where the log and the history are.
	at, err := openPlace(cfg, log, !cfg.embeddedBroker())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, at.close()) }()
	if err := at.follow(ctx); err != nil {
		return err
	}
	if err := at.startBroker(ctx, m.synced, std.watchSync); err != nil {
		return err
	}
	engineUp := begin(func() error { return at.startEngine(ctx) }) // it takes half a second: meanwhile the log is read
	defer func() { <-engineUp.done }()                             // at.close must see it
	journal, err := at.openLog(ctx, m.kafka)
	if err != nil {
		return err
	}
	defer journal.Close()
	if err := prepareTopics(ctx, journal, time.Now()); err != nil {
		return err
	}
	fresh, err := isEmpty(ctx, journal, ledger.Config)
	if err != nil {
		return err
	}
	keys, err := at.secrets(fresh)
	if err != nil {
		return err
	}

	// What the log means.
	config := subscriptions.NewNode(journal, subscriptions.Options{Folder: at.folder("subscriptions"), Logger: log.With("part", "subscriptions")})
	if err := engineUp.wait(); err != nil {
		return err
	}
	past, err := openHistory(ctx, at, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, past.Close()) }()
	if at.engine != nil {
		broken, err := past.ForgetBroken(ctx)
		if err != nil {
			return err
		}
		if len(broken) > 0 {
			log.Error("parts of the history can't be read any more (a failing disk?), so it is made again from the log: "+
				"until that has caught up some of it is missing in answers", "parts", broken)
		}
	}

	// What acts on the log.
	guard, err := egress.New(egress.Policy{
		AllowHTTP: cfg.allowHTTP, AllowPrivateNetworks: cfg.allowPrivate, Allow: cfg.egressAllow, Deny: cfg.egressDeny,
	})
	if err != nil {
		return err
	}
	out, err := newSender(cfg, guard)
	if err != nil {
		return err
	}
	defer out.Close()
	m.watch(out, config)
	node := cfg.nodeName()
	route, err := router.New(router.Options{
		Log: journal, Subscriptions: config, Instance: node, Folder: at.folder("router"), Session: cfg.session,
		Metrics: m.router, Logger: log.With("part", "router"),
	})
	if err != nil {
		return err
	}
	dispatch, err := dispatcher.New(dispatcher.Options{
		Log: journal, Config: config, Sender: out, Node: node, Rules: cfg.rules(),
		OpenSecret:  func(s subscriptions.Sealed, webhook ids.ID) (sender.Secret, error) { return open(keys, s, webhook) },
		MaxInFlight: cfg.maxInFlight, MaxSlow: cfg.maxSlow, MaxWaiting: cfg.maxWaiting, Unclean: at.unclean(),
		Session:   cfg.session,
		StillRead: stillRead(journal, past),
		DrainFor:  cfg.shutdownTimeout / 2, Logger: log.With("part", "dispatcher"),
	})
	if err != nil {
		return err
	}
	reg.MustRegister(dispatch)
	record, err := historian.New(historian.Options{
		Log: journal, History: past, Sync: at.syncHistory, Metrics: m.historian, Logger: log.With("part", "historian"),
	})
	if err != nil {
		return err
	}

	// What is seen from outside.
	names, err := catalogue.Load(cfg.eventNames, nil)
	if err != nil {
		return err
	}
	document, err := spec.Load(names)
	if err != nil {
		return err
	}
	ready := newReadiness(cfg, config, route, dispatch, record, past, at)
	handler, err := api.New(api.Options{
		Spec: document, Log: journal, Config: config, History: past, Sender: out, Guard: guard, Secrets: keys,
		Mount:  map[string]http.Handler{"/livez": livez(), "/readyz": ready, "/metrics": metricsHandler(reg)},
		Logger: log.With("part", "api"), Metrics: m.api, Limits: cfg.api.limits, OperatorOnly: !cfg.has(roleAPI),
	})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", cfg.listen)
	if err != nil {
		return fmt.Errorf("listen for the API: %w", err)
	}

	// The flat list, started downwards and stopped upwards.
	actors := []actor{}
	if at.broker != nil {
		actors = append(actors, actor{"broker", at.broker.Run})
	}
	if at.outside != nil {
		actors = append(actors, actor{"sync", at.outside.Run})
	}
	if at.engine != nil {
		actors = append(actors, actor{"engine", at.engine.Run})
	}
	actors = append(actors, actor{"subscriptions", config.Run}, actor{"live history", func(ctx context.Context) error {
		return past.Follow(ctx, log.With("part", "history"))
	}})
	if at.broker != nil {
		trim := &ledger.Trimmer{Log: journal, Floor: needed(journal), Logger: log.With("part", "trimmer")}
		actors = append(actors, actor{"trimmer", trim.Run})
	}
	if cfg.has(roleHistorian) {
		actors = append(actors, actor{"historian", record.Run})
	}
	if cfg.has(roleDispatcher) {
		actors = append(actors, actor{"dispatcher", dispatch.Run})
	}
	if cfg.has(roleRouter) {
		actors = append(actors, actor{"router", route.Run})
	}
	if cfg.pprof != "" {
		profiler, err := net.Listen("tcp", cfg.pprof)
		if err != nil {
			return fmt.Errorf("listen for the profiler: %w", err)
		}
		actors = append(actors, actor{"pprof", func(ctx context.Context) error { return serveHTTP(ctx, profiler, profiles(), cfg.api, log) }})
	}
	actors = append(actors,
		actor{"api", func(ctx context.Context) error { return serveHTTP(ctx, listener, handler, cfg.api, log) }},
		actor{"greeting", func(ctx context.Context) error {
			return greet(ctx, at, config, keys, ready, listener, began, std)
		}},
	)
	return runActors(ctx, log, cfg.shutdownTimeout, actors...)
}

// unclean says that the broker may have lost its last records at its last stop.
func (p *place) unclean() bool {
	return p.broker != nil && p.broker.Unclean() || p.first.Broker.Unclean
}

// folder is a folder for what may be thrown away.
func (p *place) folder(name string) string {
	switch {
	case p.dir == nil:
		return ""
	case name == "router":
		return p.dir.Router()
	default:
		return p.dir.Subscriptions()
	}
}

func open(keys *secrets.Set, sealed subscriptions.Sealed, webhook ids.ID) (sender.Secret, error) {
	secret, err := keys.Open(webhook, sealed.KeyID, sealed.Box)
	return sender.Secret(secret.Reveal()), err
}

func newSender(cfg *config, guard *egress.Guard) (*sender.Sender, error) {
	o := sender.Options{Guard: guard, Version: version, Timeout: cfg.sendTimeout}
	if cfg.receiverCA != "" {
		roots, err := sender.RootCAs(cfg.receiverCA)
		if err != nil {
			return nil, fmt.Errorf("--receiver-ca: %w", err)
		}
		o.RootCAs = roots
	}
	return sender.New(o)
}

func openHistory(ctx context.Context, at *place, cfg *config) (*history.History, error) {
	o := history.Options{DSN: at.dsn(userService), Database: cfg.clickhouseDB, AuditDatabase: cfg.auditDB}
	if at.join != nil && cfg.embeddedEngine() {
		o.Transport = at.join.transport
	}
	past, err := history.Open(o)
	if err != nil {
		return nil, err
	}
	if err := past.Apply(ctx); err != nil {
		if at.engine != nil {
			err = fmt.Errorf("%w (should the disk have damaged the history's store: move %s away and start again, "+
				"and it is made again from the log)", err, at.dir.Engine())
		}
		return nil, errors.Join(err, past.Close())
	}
	if err := past.ApplyViews(ctx); err != nil {
		return nil, errors.Join(err, past.Close())
	}
	return past, nil
}

// prepareTopics makes what is missing and writes what a new log begins with.
func prepareTopics(ctx context.Context, journal *ledger.Log, now time.Time) error {
	if _, err := journal.EnsureTopics(ctx); err != nil {
		return err
	}
	ends, err := journal.Ends(ctx, ledger.Lanes)
	if err != nil {
		return err
	}
	for p, end := range ends { // an empty partition gets one; any other must have it
		if end > 0 {
			continue
		}
		first := partition.InitialCheckpoint(p, now.UnixMilli())
		if _, err := journal.Append(ctx, ledger.LaneRecord(p, first)); err != nil {
			return fmt.Errorf("write the first checkpoint of lanes/%d: %w", p, err)
		}
	}
	return journal.Synced(ctx)
}

func isEmpty(ctx context.Context, journal *ledger.Log, t ledger.Topic) (bool, error) {
	ends, err := journal.Ends(ctx, t)
	for _, end := range ends {
		if end > 0 {
			return false, err
		}
	}
	return true, err
}

// needed says what the trimmer must leave: what router and historian have yet to read.
func needed(journal *ledger.Log) func(context.Context, ledger.Topic) (map[int32]int64, error) {
	return func(ctx context.Context, t ledger.Topic) (map[int32]int64, error) {
		floor, err := journal.Committed(ctx, historian.Group, t)
		if err != nil {
			return nil, err
		}
		for p := range journal.Partitions(t) {
			if _, ok := floor[p]; !ok {
				floor[p] = 0
			}
		}
		switch t {
		case ledger.Events:
			routed, err := journal.Committed(ctx, router.Group, t)
			if err != nil {
				return nil, err
			}
			for p := range floor {
				floor[p] = min(floor[p], routed[p])
			}
			return floor, nil
		case ledger.Attempts:
			return floor, nil
		default: // event-ids and dead-letters are nobody's source
			return nil, nil //nolint:nilnil // no floor
		}
	}
}

// stillRead says what of deliveries the history has yet to read: the historian
// shows that to the broker, and a rebuild, which has no group, in ClickHouse.
func stillRead(journal *ledger.Log, past *history.History) func(context.Context) (map[int32]int64, error) {
	return func(ctx context.Context) (map[int32]int64, error) {
		read, err := journal.Committed(ctx, historian.Group, ledger.Deliveries)
		if err != nil {
			return nil, err
		}
		made, err := past.StillRead(ctx, ledger.Deliveries)
		if err != nil {
			return nil, err
		}
		for p, next := range made {
			if at, ok := read[p]; ok {
				read[p] = min(at, next)
			}
		}
		return read, nil
	}
}

// started is something that begins beside the rest.
type started struct {
	done chan struct{}
	err  error
}

func begin(f func() error) *started {
	s := &started{done: make(chan struct{})}
	go func() {
		defer close(s.done)
		s.err = f()
	}()
	return s
}

func (s *started) wait() error {
	<-s.done
	return s.err
}

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/semaphore"

	"hookledger/consumers/sender/receivertest"
)

// benchOptions say what `hookledger bench` does. It loads a server over its
// HTTP API as publishers do, from outside, and is itself the receiver, so that
// one clock stamps both ends.
//
// The load is closed: a publisher waits while --in-flight deliveries are under
// way, so that latency is that of a system that keeps up rather than the length
// of a queue. At a fixed rate latencies count from when an event was due to be
// sent, not from when a late publisher got round to it.
//
// Arguments after "--" are flags for the server that it starts.
type benchOptions struct {
	seconds, warmup, bareSeconds int
	rate                         float64
	publishers, batch            int
	webhooks, fanOut, receivers  int
	payload, hanging             int
	inFlight                     int
	drain                        time.Duration

	attach, apiKey string
	serving        bool
	temp           string
	keep, json     bool
	cpuProfile     string
	serveFlags     []string
}

// The least of an event's data: what stamps and numbers it.
const benchLeastPayload = 64

func (o *benchOptions) flags(f *flag.FlagSet, c *config) {
	f.IntVar(&o.seconds, "seconds", 10, "how long the load is measured")
	f.IntVar(&o.warmup, "warmup", 2, "`seconds` of the same load before that")
	f.IntVar(&o.bareSeconds, "bare-seconds", 3, "`seconds` of the bare client, which posts to the receiver without a server between; 0 for none")
	f.Float64Var(&o.rate, "rate", 0, "events a second; 0 is full speed")
	f.IntVar(&o.publishers, "publishers", 64, "publishers at once, each with a connection")
	f.IntVar(&o.batch, "batch", 1, "events in a request")
	f.IntVar(&o.webhooks, "webhooks", 100, "webhooks to make")
	f.IntVar(&o.fanOut, "fan-out", 1, "webhooks that each event goes to")
	f.IntVar(&o.receivers, "receivers", 10, "receivers that the webhooks are spread over, each a host of its own to the server")
	f.IntVar(&o.hanging, "hanging", 0, "`percent` of the webhooks whose receiver takes requests and never answers; the figures are those of the others")
	f.IntVar(&o.payload, "payload", 512, "`bytes` of an event's data")
	f.IntVar(&o.inFlight, "in-flight", 20_000, "deliveries published and not yet received, beyond which publishers wait")
	f.DurationVar(&o.drain, "drain", time.Minute, "how long to wait after the load for deliveries, and for the history, while none comes")
	f.StringVar(&c.fsync, "fsync", "group", "of the server's broker: group or none")
	f.StringVar(&o.temp, "temp", "", "`folder` to make the server's data folder in (default: the system's)")
	f.BoolVar(&o.keep, "keep", false, "keep that folder, with the server's log")
	f.StringVar(&o.cpuProfile, "cpu-profile", "", "`file` for a CPU profile of the server under the load")
	f.StringVar(&o.attach, "attach", "", "`URL` of a running server to load instead of one of its own")
	f.StringVar(&o.apiKey, "api-key", "", "its API `key`, with scope admin; better given as HOOKLEDGER_API_KEY")
	f.BoolVar(&o.serving, "serving", false, "load the server that serves --data-dir instead of one of its own")
	f.StringVar(&c.dataDir, "data-dir", "data", "`folder` for --serving")
	f.BoolVar(&o.json, "json", false, "print the figures as JSON")
}

func (o *benchOptions) check() error {
	var faults []error
	least := func(name string, v, least int) {
		if v < least {
			faults = append(faults, fmt.Errorf("--%s: %d is less than %d", name, v, least))
		}
	}
	least("seconds", o.seconds, 1)
	least("warmup", o.warmup, 0)
	least("bare-seconds", o.bareSeconds, 0)
	least("publishers", o.publishers, 1)
	least("batch", o.batch, 1)
	least("fan-out", o.fanOut, 1)
	least("webhooks", o.webhooks, o.fanOut)
	least("receivers", o.receivers, 1)
	least("hanging", o.hanging, 0)
	if o.hanging > 99 {
		faults = append(faults, fmt.Errorf("--hanging: %d %% leaves no webhook to measure", o.hanging))
	}
	least("payload", o.payload, benchLeastPayload)
	least("in-flight", o.inFlight, o.batch*o.fanOut)
	if o.batch > 1000 {
		faults = append(faults, fmt.Errorf("--batch: %d is more than the 1000 that a request takes", o.batch))
	}
	if o.rate < 0 {
		faults = append(faults, fmt.Errorf("--rate: %g is negative", o.rate))
	}
	if o.attach != "" && o.apiKey == "" {
		faults = append(faults, errors.New("--api-key: --attach needs one, with scope admin: set HOOKLEDGER_API_KEY"))
	}
	if o.own() {
		return errors.Join(faults...)
	}
	if o.attach != "" && o.serving {
		faults = append(faults, errors.New("--attach and --serving exclude each other"))
	}
	if o.cpuProfile != "" || len(o.serveFlags) > 0 {
		faults = append(faults, errors.New("--cpu-profile, and flags after --, are for a server of the bench's own"))
	}
	return errors.Join(faults...)
}

// own is whether the bench starts a server of its own.
func (o *benchOptions) own() bool { return o.attach == "" && !o.serving }

func runBench(ctx context.Context, args []string, std stdio) error {
	var cfg config
	var o benchOptions
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	o.flags(f, &cfg)
	if i := slices.Index(args, "--"); i >= 0 {
		args, o.serveFlags = args[:i], args[i+1:]
	}
	if err := cfg.parse(f, args, std); err != nil {
		return err
	}
	if err := o.check(); err != nil {
		return err
	}
	o.webhooks -= o.webhooks % o.fanOut // each event's webhooks are a group of their own
	figures, err := bench(ctx, &o, &cfg, std)
	if err != nil {
		return err
	}
	if o.json {
		e := json.NewEncoder(std.out)
		e.SetIndent("", "  ")
		err = e.Encode(figures)
	} else {
		err = figures.print(std.out)
	}
	if err == nil && figures.Lost+figures.Invented > 0 {
		err = fmt.Errorf("%d deliveries were lost and %d are of events that were never published", figures.Lost, figures.Invented)
	}
	return err
}

// bench makes the webhooks, loads the server, waits for what was published, and
// puts the figures together.
func bench(ctx context.Context, o *benchOptions, cfg *config, std stdio) (_ *benchFigures, err error) {
	say := func(format string, args ...any) { fmt.Fprintf(std.err, "bench: "+format+"\n", args...) }
	tally := newBenchTally(o, time.Now())
	urls := make([]string, o.receivers)
	for i := range urls {
		receiver, err := receivertest.Start(receivertest.Options{Respond: tally.received})
		if err != nil {
			return nil, err
		}
		defer receiver.Close()
		urls[i] = receiver.URL()
	}
	hung, err := receivertest.Start(receivertest.Options{Respond: tally.hung})
	if err != nil {
		return nil, err
	}
	defer hung.Close()
	server, err := openBenchServer(ctx, o, cfg, say)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.close()) }()

	say("making %d webhooks on %s", o.webhooks, server.base)
	if err := server.makeWebhooks(ctx, urls, hung.URL(), tally.hanging, o); err != nil {
		return nil, err
	}
	out := &benchFigures{Options: o.settings(cfg), Warnings: server.warnings}
	if err := wait(ctx, time.Second); err != nil { // let the start's own work settle
		return nil, err
	}
	idle := server.tree.usage()
	if err := wait(ctx, 2*time.Second); err != nil {
		return nil, err
	}
	rested := server.tree.usage()
	out.ServerIdleRSS, out.EngineIdleRSS = rested.server.rss, rested.engine.rss
	out.ServerIdleCPU, out.EngineIdleCPU = rested.server.since(idle.server)/2, rested.engine.since(idle.engine)/2
	if o.bareSeconds > 0 {
		if out.Bare, err = bareFigures(ctx, o, urls[0], say); err != nil {
			return nil, err
		}
	}

	stopProfile := server.profile(ctx, o.cpuProfile, time.Duration(o.warmup+o.seconds)*time.Second)
	load := &benchLoad{o: o, server: server, tally: tally, room: semaphore.NewWeighted(int64(o.inFlight))}
	tally.first = func() { load.room.Release(1) }
	say("loading for %d s, after %d s to warm up", o.seconds, o.warmup)
	if err := load.run(ctx, out); err != nil {
		return nil, err
	}
	if err := stopProfile(); err != nil {
		return nil, err
	}
	load.drain(ctx, out, say)
	load.figures(out)
	return out, ctx.Err()
}

// bareFigures are those of a client that posts the same bytes straight to the
// receiver: at full speed, and at the load's rate if it has one.
func bareFigures(ctx context.Context, o *benchOptions, url string, say func(string, ...any)) ([]bareRun, error) {
	rates := []float64{0}
	if o.rate > 0 {
		rates = append(rates, o.rate*float64(o.fanOut))
	}
	var runs []bareRun
	for _, rate := range rates {
		if rate == 0 {
			say("the bare client, at full speed for %d s", o.bareSeconds)
		} else {
			say("the bare client, at %g/s for %d s", rate, o.bareSeconds)
		}
		r, err := runBare(ctx, o, url, rate)
		if err != nil {
			return nil, err
		}
		runs = append(runs, r)
	}
	return runs, nil
}

// settings are the options as they are reported.
func (o *benchOptions) settings(cfg *config) benchSettings {
	s := benchSettings{
		Version: version, System: runtime.GOOS + "/" + runtime.GOARCH, CPUs: runtime.NumCPU(), Seconds: o.seconds, Rate: o.rate,
		Publishers: o.publishers, Batch: o.batch, Webhooks: o.webhooks, FanOut: o.fanOut, Receivers: o.receivers, Payload: o.payload, Hanging: o.hanging, InFlight: o.inFlight,
		ServeFlags: o.serveFlags,
	}
	if o.own() {
		s.Fsync = cfg.fsync
	} else {
		s.Attached = cmp.Or(o.attach, cfg.dataDir)
	}
	return s
}

// wait is a pause that ends with ctx.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// writeFile is os.WriteFile with the error of a flag.
func writeFile(flag, path string, b []byte) error {
	if err := os.WriteFile(path, b, 0o600); err != nil {
		return fmt.Errorf("--%s: %w", flag, err)
	}
	return nil
}

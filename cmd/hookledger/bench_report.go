package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// benchSettings are what was asked for.
type benchSettings struct {
	Version    string   `json:"version"`
	System     string   `json:"system"`
	CPUs       int      `json:"cpus"`
	Seconds    int      `json:"seconds"`
	Rate       float64  `json:"rate"` // events a second, 0 is full speed
	Publishers int      `json:"publishers"`
	Batch      int      `json:"batch"`
	Webhooks   int      `json:"webhooks"`
	FanOut     int      `json:"fan_out"`
	Receivers  int      `json:"receivers"`
	Payload    int      `json:"payload_bytes"`
	Hanging    int      `json:"hanging_percent,omitempty"`
	InFlight   int      `json:"in_flight_limit"`
	Fsync      string   `json:"fsync,omitempty"`
	Attached   string   `json:"attached,omitempty"`
	ServeFlags []string `json:"serve_flags,omitempty"`
}

// benchFigures are what a bench found. CPU is in seconds per 1,000 deliveries,
// from the end of the warm-up until history had everything; memory in bytes;
// rates are those of the seconds measured.
type benchFigures struct {
	Options benchSettings `json:"options"`

	DeliveriesPerS float64 `json:"deliveries_per_s"`
	EventsPerS     float64 `json:"events_acknowledged_per_s"`
	Ack            latency `json:"acknowledgement"`
	Delivery       latency `json:"publish_to_receipt"`
	LateSeconds    float64 `json:"sent_late_max_s"` // at a fixed rate: the latest that a request left after it was due

	CPUKnown  bool    `json:"cpu_known"`
	ServerCPU float64 `json:"cpu_server"`
	EngineCPU float64 `json:"cpu_engine"`
	BenchCPU  float64 `json:"cpu_bench"`
	CoresBusy float64 `json:"cores_busy"` // all three, on average
	// CoresOthers is what other processes of the machine used meanwhile.
	CoresOthers float64 `json:"cores_others"`

	Bare []bareRun `json:"bare_client,omitempty"`

	ServerIdleCPU float64 `json:"server_idle_cores"`
	EngineIdleCPU float64 `json:"engine_idle_cores"`
	ServerIdleRSS int64   `json:"server_idle_rss"`
	EngineIdleRSS int64   `json:"engine_idle_rss"`
	ServerLoadRSS int64   `json:"server_load_rss"`
	EngineLoadRSS int64   `json:"engine_load_rss"`
	ServerEndRSS  int64   `json:"server_end_rss"`
	EngineEndRSS  int64   `json:"engine_end_rss"`

	Events     int64 `json:"events_acknowledged"`
	Refused    int64 `json:"events_refused"`
	Unknown    int64 `json:"events_unanswered"`
	Deliveries int64 `json:"deliveries"` // distinct
	Lost       int64 `json:"lost"`
	Hung       int64 `json:"hung"` // requests to receivers that hang
	Duplicates int64 `json:"duplicates"`
	Invented   int64 `json:"invented"`

	DrainSeconds   float64  `json:"drain_s"`             // from the last publish until all was received
	HistorySeconds *float64 `json:"history_s,omitempty"` // from then until history had it all
	Warnings       []string `json:"warnings,omitempty"`
}

func (f *benchFigures) print(w io.Writer) error {
	var b strings.Builder
	o := f.Options
	speed := "full speed"
	if o.Rate > 0 {
		speed = fmt.Sprintf("%g events/s", o.Rate)
	}
	where := "fsync " + o.Fsync
	if o.Attached != "" {
		where = "server at " + o.Attached
	}
	fmt.Fprintf(&b, "hookledger %s, %s, %d CPUs, %s, %s, %d s\n", o.Version, o.System, o.CPUs, where, speed, o.Seconds)
	fmt.Fprintf(&b, "%d publishers, %d in a request, %d webhooks on %d receivers, fan-out %d, %d B of data, at most %d in flight\n\n",
		o.Publishers, o.Batch, o.Webhooks, o.Receivers, o.FanOut, o.Payload, o.InFlight)

	if o.Hanging > 0 {
		fmt.Fprintf(&b, "%d %% of the webhooks hang; the figures are those of the others\n\n", o.Hanging)
	}
	row := func(name string, cells ...string) {
		fmt.Fprintf(&b, "%-32s", name)
		for _, c := range cells {
			fmt.Fprintf(&b, "%12s", c)
		}
		b.WriteByte('\n')
	}
	timed := func(name string, perS float64, l latency, cpu string) {
		row(name, number(perS, 0), number(l.P50, 2), number(l.P95, 2), number(l.P99, 2), number(l.Max, 2), cpu)
	}
	all := "not seen"
	if f.CPUKnown {
		all = number(f.ServerCPU+f.EngineCPU+f.BenchCPU, 3)
	}
	row("", "per second", "p50 ms", "p95 ms", "p99 ms", "max ms", "CPU s/1,000")
	timed("deliveries, publish to receipt", f.DeliveriesPerS, f.Delivery, all)
	timed("publishes, acknowledged", f.EventsPerS, f.Ack, "")
	for _, r := range f.Bare {
		name := "bare client, full speed"
		if r.Rate > 0 {
			name = "bare client, same rate"
		}
		timed(name, r.PerS, r.Latency, number(r.CPU, 3))
	}
	b.WriteByte('\n')
	if f.CPUKnown {
		row("", "server", "engine", "bench", "sum")
		row("CPU s per 1,000 deliveries", number(f.ServerCPU, 3), number(f.EngineCPU, 3), number(f.BenchCPU, 3), all)
		row("idle, % of a core", number(f.ServerIdleCPU*100, 1), number(f.EngineIdleCPU*100, 1), "", number((f.ServerIdleCPU+f.EngineIdleCPU)*100, 1))
		resident := func(when string, server, engine int64) {
			row("resident "+when+", MiB", number(float64(server)/(1<<20), 0), number(float64(engine)/(1<<20), 0), "", number(float64(server+engine)/(1<<20), 0))
		}
		resident("idle", f.ServerIdleRSS, f.EngineIdleRSS)
		resident("under load", f.ServerLoadRSS, f.EngineLoadRSS)
		resident("at the end", f.ServerEndRSS, f.EngineEndRSS)
	} else {
		row("CPU s per 1,000 deliveries", number(f.BenchCPU, 3)+" by the bench; of the server it is not seen")
	}

	fmt.Fprintf(&b, "\n%d events acknowledged, %d deliveries received; lost: %d; duplicates: %d; invented: %d; refused: %d; unanswered: %d\n",
		f.Events, f.Deliveries, f.Lost, f.Duplicates, f.Invented, f.Refused, f.Unknown)
	if o.Hanging > 0 {
		fmt.Fprintf(&b, "%d requests went to receivers that hang\n", f.Hung)
	}
	fmt.Fprintf(&b, "the backlog was received %.2f s after the last publish", f.DrainSeconds)
	if f.HistorySeconds != nil {
		fmt.Fprintf(&b, ", and in the history %.2f s later", *f.HistorySeconds)
	}
	fmt.Fprint(&b, "\n")
	if o.Rate > 0 {
		fmt.Fprintf(&b, "latencies count from when an event was due; the latest was sent %.3f s late\n", f.LateSeconds)
	}
	if f.CPUKnown {
		fmt.Fprintf(&b, "%.2f cores busy on average, bench included\n", f.CoresBusy)
	}
	for _, warning := range f.Warnings {
		fmt.Fprintln(&b, "note:", warning)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func number(v float64, digits int) string { return strconv.FormatFloat(v, 'f', digits, 64) }

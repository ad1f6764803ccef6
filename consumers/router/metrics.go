package router

import "github.com/prometheus/client_golang/prometheus"

// Metrics of a router. They are registered by whoever makes them.
type Metrics struct {
	// Events by what became of them: matched, unmatched, repeat, dead_letter.
	Events *prometheus.CounterVec
	// Requests appended to deliveries, repetitions after a crash included.
	Requests prometheus.Counter
	// EventAge is the time from an event's record to its routing.
	EventAge prometheus.Histogram
	// Wait is what a batch waited, by for what: sync, barrier.
	Wait *prometheus.HistogramVec
	// Position is the offset routed next, and Committed the offset committed, by partition of events.
	Position, Committed *prometheus.GaugeVec
	// Commits and CommitFailures count commits.
	Commits, CommitFailures prometheus.Counter
	// Incarnations counts the interruptions of routing.
	Incarnations prometheus.Counter
	// Uncommitted is the number of events routed beyond the commits.
	Uncommitted prometheus.Gauge
	// Repeat memory by where it lies: memory, file.
	RepeatBytes *prometheus.GaugeVec
	// RepeatReads counts the earlier records read to confirm a repeat.
	RepeatReads prometheus.Counter
}

// Values of the label result of Metrics.Events.
const (
	resultMatched    = "matched"
	resultUnmatched  = "unmatched"
	resultRepeat     = "repeat"
	resultDeadLetter = "dead_letter"
)

// NewMetrics makes the metrics of a router.
func NewMetrics() *Metrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "hookledger", Subsystem: "router", Name: name, Help: help}
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts(opts(name, help)))
	}
	gauges := func(name, help, label string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts(opts(name, help)), []string{label})
	}
	seconds := func(name, help string) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{
			Namespace: "hookledger", Subsystem: "router", Name: name, Help: help,
			Buckets: []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .25, 1, 5, 30, 300, 3600},
		}
	}
	return &Metrics{
		Events: prometheus.NewCounterVec(prometheus.CounterOpts(opts("events_total",
			"Events routed, by what became of them: matched, unmatched, repeat, dead_letter.")), []string{"result"}),
		Requests:       counter("requests_total", "Delivery requests appended, repetitions after a crash included."),
		EventAge:       prometheus.NewHistogram(seconds("event_age_seconds", "Time from an event's record to its routing.")),
		Wait:           prometheus.NewHistogramVec(seconds("wait_seconds", "What a batch of events waited, by for what: sync, barrier."), []string{"for"}),
		Position:       gauges("position_offset", "Offset that is routed next.", "partition"),
		Committed:      gauges("committed_offset", "Offset that is committed.", "partition"),
		Commits:        counter("commits_total", "Commits made."),
		CommitFailures: counter("commit_failures_total", "Commits that failed and are tried again."),
		Incarnations:   counter("interruptions_total", "Times that routing began again at the last commits."),
		Uncommitted:    prometheus.NewGauge(prometheus.GaugeOpts(opts("uncommitted_events", "Events routed beyond the commits."))),
		RepeatBytes:    gauges("repeat_bytes", "Size of the memory of client-given ids, by where it lies: memory, file.", "in"),
		RepeatReads:    counter("repeat_reads_total", "Earlier records read to confirm a repeat."),
	}
}

// Collectors lists the metrics, to be registered.
func (m *Metrics) Collectors() []prometheus.Collector {
	return []prometheus.Collector{
		m.Events, m.Requests, m.EventAge, m.Wait, m.Position, m.Committed, m.Commits, m.CommitFailures,
		m.Incarnations, m.Uncommitted, m.RepeatBytes, m.RepeatReads,
	}
}

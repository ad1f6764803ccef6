package api

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"hookledger/schemas/api"
)

// Metrics of the API.
type Metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	events   prometheus.Counter
	limited  *prometheus.CounterVec
	panics   prometheus.Counter
}

// NewMetrics makes the metrics, unregistered.
func NewMetrics() *Metrics {
	return &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hookledger_api_requests_total", Help: "Requests by operation and status.",
		}, []string{"operation", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "hookledger_api_request_duration_seconds", Help: "Time to answer a request.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
		}, []string{"operation"}),
		events: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hookledger_api_events_accepted_total", Help: "Events that were made durable.",
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hookledger_api_panics_total", Help: "Requests whose handler panicked; the log has each stack.",
		}),
		limited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hookledger_api_limited_total", Help: "Requests answered 429, by the limit.",
		}, []string{"limit"}),
	}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	m.requests.Describe(ch)
	m.duration.Describe(ch)
	m.events.Describe(ch)
	m.limited.Describe(ch)
	m.panics.Describe(ch)
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	m.requests.Collect(ch)
	m.duration.Collect(ch)
	m.events.Collect(ch)
	m.limited.Collect(ch)
	m.panics.Collect(ch)
}

func (m *Metrics) answered(a api.Answer) {
	if a.Panicked {
		m.panics.Inc()
	}
	operation := a.Operation.ID
	if operation == "" {
		operation = "none"
	}
	m.requests.WithLabelValues(operation, strconv.Itoa(a.Status)).Inc()
	m.duration.WithLabelValues(operation).Observe(a.Took.Seconds())
}

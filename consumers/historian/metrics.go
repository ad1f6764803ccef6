package historian

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"hookledger/ledger"
)

// Metrics of a historian. They are registered by whoever makes them.
type Metrics struct {
	// Rows inserted, by table.
	Rows *prometheus.CounterVec
	// BatchSeconds is the time from the sync to the places of a batch.
	BatchSeconds prometheus.Histogram
	// RecordAge is how old the oldest record of a batch was when it became visible.
	RecordAge prometheus.Histogram
	// Retries counts failed tries of anything that is tried again.
	Retries prometheus.Counter
	// Undecodable counts records that can't be understood, by topic.
	Undecodable *prometheus.CounterVec
	// Place is the next offset, by topic and partition.
	Place *prometheus.GaugeVec
	// HoursOwed is how many hours attempts_hourly is behind.
	HoursOwed prometheus.Gauge
	// HourSeconds is the time that recomputing an hour takes.
	HourSeconds prometheus.Histogram
}

// NewMetrics makes the metrics of a historian.
func NewMetrics() *Metrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "hookledger", Subsystem: "historian", Name: name, Help: help}
	}
	seconds := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "hookledger", Subsystem: "historian", Name: name, Help: help,
			Buckets: []float64{.005, .01, .02, .05, .1, .25, .5, 1, 2, 5, 30, 300, 3600},
		})
	}
	return &Metrics{
		Rows: prometheus.NewCounterVec(prometheus.CounterOpts(opts("rows_total",
			"Rows inserted, repetitions after a crash included.")), []string{"table"}),
		BatchSeconds: seconds("batch_seconds", "Time from the sync of a batch to its places."),
		RecordAge:    seconds("record_age_seconds", "Age of a batch's oldest record when it became visible."),
		Retries:      prometheus.NewCounter(prometheus.CounterOpts(opts("retries_total", "Failed tries of what is tried again."))),
		Undecodable: prometheus.NewCounterVec(prometheus.CounterOpts(opts("undecodable_total",
			"Records that can't be understood.")), []string{"topic"}),
		Place: prometheus.NewGaugeVec(prometheus.GaugeOpts(opts("place_offset",
			"The first offset whose row may be missing.")), []string{"topic", "partition"}),
		HoursOwed:   prometheus.NewGauge(prometheus.GaugeOpts(opts("owed_hours", "Hours that attempts_hourly is behind."))),
		HourSeconds: seconds("hour_seconds", "Time to recompute an hour of attempts_hourly."),
	}
}

// Collectors lists the metrics, to be registered.
func (m *Metrics) Collectors() []prometheus.Collector {
	return []prometheus.Collector{
		m.Rows, m.BatchSeconds, m.RecordAge, m.Retries, m.Undecodable, m.Place, m.HoursOwed, m.HourSeconds,
	}
}

func (m *Metrics) place(topic ledger.Topic, partition int32, next int64) {
	m.Place.WithLabelValues(string(topic), strconv.Itoa(int(partition))).Set(float64(next))
}

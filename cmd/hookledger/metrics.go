package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/plugin/kprom"

	"hookledger/cmd/hookledger/api"
	"hookledger/consumers/historian"
	"hookledger/consumers/router"
)

// metrics of the whole program, all in one registry.
type metrics struct {
	api       *api.Metrics
	router    *router.Metrics
	historian *historian.Metrics
	sync      prometheus.Histogram
	waiters   prometheus.Histogram
	reg       *prometheus.Registry
}

func newMetrics(reg *prometheus.Registry) *metrics {
	m := &metrics{
		reg: reg, api: api.NewMetrics(), router: router.NewMetrics(), historian: historian.NewMetrics(),
		sync: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hookledger_broker_sync_seconds", Help: "Duration of the embedded broker's group syncs.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
		}),
		waiters: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hookledger_broker_sync_waiters", Help: "Waiters that shared a group sync.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 10),
		}),
	}
	reg.MustRegister(m.api, m.sync, m.waiters,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	reg.MustRegister(m.router.Collectors()...)
	reg.MustRegister(m.historian.Collectors()...)
	return m
}

// kafka are the metrics of one Kafka client; they go when it is closed.
func (m *metrics) kafka(client string) []kgo.Hook {
	labelled := prometheus.WrapRegistererWith(prometheus.Labels{"client": client}, m.reg)
	return []kgo.Hook{kprom.NewMetrics("hookledger_kafka", kprom.Registerer(labelled), kprom.Gatherer(m.reg))}
}

func (m *metrics) synced(took time.Duration, waiters int) {
	m.sync.Observe(took.Seconds())
	m.waiters.Observe(float64(waiters))
}

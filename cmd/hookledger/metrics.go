package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/plugin/kprom"

	"hookledger/cmd/hookledger/api"
	"hookledger/consumers/historian"
	"hookledger/consumers/router"
	"hookledger/consumers/sender"
	"hookledger/projections/subscriptions"
)

// metrics of the whole program, all in one registry.
type metrics struct {
	api       *api.Metrics
	router    *router.Metrics
	historian *historian.Metrics
	sync      prometheus.Histogram
	waiters   prometheus.Histogram
	requests  *prometheus.CounterVec
	reg       *prometheus.Registry
}

func newMetrics(reg *prometheus.Registry) *metrics {
	m := &metrics{
		reg: reg, api: api.NewMetrics(), router: router.NewMetrics(), historian: historian.NewMetrics(),
		sync: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hookledger_broker_sync_seconds", Help: "Duration of the embedded broker's group syncs.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
		}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hookledger_kafka_requests_total", Help: "Requests to the brokers, by client and kind.",
		}, []string{"client", "request"}),
		waiters: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hookledger_broker_sync_waiters", Help: "Waiters that shared a group sync.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 10),
		}),
	}
	reg.MustRegister(m.api, m.sync, m.requests, m.waiters,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	reg.MustRegister(m.router.Collectors()...)
	reg.MustRegister(m.historian.Collectors()...)
	return m
}

// kafka are the metrics of one Kafka client; they go when it is closed.
func (m *metrics) kafka(client string) []kgo.Hook {
	labelled := prometheus.WrapRegistererWith(prometheus.Labels{"client": client}, m.reg)
	return []kgo.Hook{requests{m.requests, client}, kprom.NewMetrics("hookledger_kafka", kprom.Registerer(labelled), kprom.Gatherer(m.reg))}
}

// requests counts a client's requests to the brokers, by kind: at low rates
// they are most of the cost.
type requests struct {
	made   *prometheus.CounterVec
	client string
}

// OnBrokerE2E implements kgo.HookBrokerE2E.
func (r requests) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, _ kgo.BrokerE2E) {
	r.made.WithLabelValues(r.client, kmsg.NameForKey(key)).Inc()
}

// watch shows figures that others keep.
func (m *metrics) watch(out *sender.Sender, config *subscriptions.Subscriptions) {
	counter := func(name, help string, read func() int64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(read()) })
	}
	gauge := func(name, help string, read func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(read()) })
	}
	m.reg.MustRegister(
		counter("hookledger_sender_dials_total", "Connections opened to receivers.", func() int64 { return out.Stats().Dials }),
		counter("hookledger_sender_reused_total", "Requests on a kept connection.", func() int64 { return out.Stats().Reused }),
		counter("hookledger_sender_again_total", "Requests begun again on a fresh connection, because the kept one took no byte.", func() int64 { return out.Stats().Again }),
		gauge("hookledger_sender_idle_connections", "Connections kept for later.", func() int { return out.Stats().Idle }),
		gauge("hookledger_subscriptions_webhooks", "Webhooks in the fold of config.", func() int { n, _ := config.Count(); return n }),
		gauge("hookledger_subscriptions_api_keys", "API keys in the fold of config.", func() int { _, n := config.Count(); return n }),
	)
}

func (m *metrics) synced(took time.Duration, waiters int) {
	m.sync.Observe(took.Seconds())
	m.waiters.Observe(float64(waiters))
}

package dispatcher

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"hookledger/consumers/sender"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// Metrics of a dispatcher.
type Metrics struct {
	attempts        *prometheus.CounterVec
	duration        prometheus.Histogram
	unsent          prometheus.Counter
	barrierFailures prometheus.Counter
	appendFailures  prometheus.Counter
	deadLetters     prometheus.Counter
	inFlight        *prometheus.Desc
	waiting         *prometheus.Desc
	undecided       *prometheus.Desc
	open            *prometheus.Desc
	slow            *prometheus.Desc
	cuts            *prometheus.Desc
	owned           *prometheus.Desc
}

// OutcomeName is an outcome as metrics, the API and SQL write it.
func OutcomeName(o facts.Outcome) string {
	return strings.ToLower(strings.TrimPrefix(o.String(), "OUTCOME_"))
}

// NewMetrics makes the metrics, unregistered.
func NewMetrics() *Metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "hookledger_dispatcher_" + name, Help: help})
	}
	gauge := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("hookledger_dispatcher_"+name, help, nil, nil)
	}
	m := &Metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hookledger_dispatcher_attempts_total", Help: "Attempts by outcome.",
		}, []string{"outcome"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hookledger_dispatcher_attempt_duration_seconds", Help: "Duration of attempts.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 15),
		}),
		unsent:          counter("unsent_total", "Sends that did not become an attempt and are tried again."),
		barrierFailures: counter("barrier_failures_total", "Batches of sends held back because the end of config could not be reached."),
		appendFailures:  counter("append_failures_total", "Appends that failed."),
		deadLetters:     counter("dead_letters_total", "Records that could not be understood."),
		inFlight:        gauge("in_flight", "Attempts under way."),
		waiting:         gauge("waiting", "Deliveries that wait in lanes."),
		undecided:       gauge("undecided", "Requests fetched, neither started nor settled."),
		open:            gauge("breakers_open", "Webhooks whose receiver is left alone but for probes."),
		slow:            gauge("slow", "Attempts under way in the slow pool."),
		cuts:            gauge("slow_cut_total", "Attempts that were cut because the slow pool was full."),
		owned:           gauge("owned_partitions", "Partitions owned and taken over."),
	}
	for o := range facts.Outcome_name {
		if o != 0 {
			m.attempts.WithLabelValues(OutcomeName(facts.Outcome(o)))
		}
	}
	return m
}

func (m *Metrics) tried(r *sender.Result) {
	m.attempts.WithLabelValues(OutcomeName(r.Outcome)).Inc()
	m.duration.Observe(r.Duration.Seconds())
}

// Describe implements prometheus.Collector.
func (d *Dispatcher) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(d, ch) }

// Collect implements prometheus.Collector.
func (d *Dispatcher) Collect(ch chan<- prometheus.Metric) {
	m := d.Metrics
	for _, c := range []prometheus.Collector{m.attempts, m.duration, m.unsent, m.barrierFailures, m.appendFailures, m.deadLetters} {
		c.Collect(ch)
	}
	var inFlight, waiting, undecided, owned, open int
	for _, w := range d.workers {
		s := w.state.Load().stats
		inFlight, waiting, undecided = inFlight+s.InFlight, waiting+s.Waiting, undecided+s.Undecided
		open += s.Open
		if s.Owner {
			owned++
		}
	}
	_, slow, cuts := d.slots.state()
	ch <- prometheus.MustNewConstMetric(m.cuts, prometheus.CounterValue, float64(cuts))
	for desc, value := range map[*prometheus.Desc]int{
		m.inFlight: inFlight, m.waiting: waiting, m.undecided: undecided, m.owned: owned, m.open: open, m.slow: slow,
	} {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(value))
	}
}

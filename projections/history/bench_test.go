package history_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"hookledger/ledger/event"
	"hookledger/ledger/ids"
	"hookledger/projections/history"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// filled is a history of 40,000 events, one delivery and 2.5 attempts each,
// at 200 webhooks by Zipf's law, over 30 days: 180,000 rows.
func filled(b *testing.B) (*history.History, []history.DeliveryRow, []ids.ID) {
	b.Helper()
	h := open(b)
	r := rand.New(rand.NewPCG(1, 1))
	zipf := rand.NewZipf(r, 1.2, 2, 199)
	var batch history.Batch
	var deliveries []history.DeliveryRow
	const n = 40_000
	offset := int64(0)
	rows, began := 0, time.Duration(0)
	hours := map[time.Time]bool{}
	for i := range n {
		created := noon.Add(-30 * 24 * time.Hour * time.Duration(n-i) / n)
		source := &facts.Source{Partition: 1, Offset: int64(i)}
		e := &event.Event{ID: fmt.Sprint("evt_", i), Account: "acme", Type: "export.ready", CreatedAt: created, Data: fmt.Appendf(nil, `{"n":%d,"pad":"%0800d"}`, i, r.Int64())}
		batch.Events = append(batch.Events, history.FoldEvent(eventRecord(e, 1, int64(i), created)))
		hook := webhook(int(zipf.Uint64()))
		sub := subject("acme", hook, created, source)
		sub.EventId = e.ID
		tries := 1 + r.IntN(4)
		for try := range tries {
			id := attemptID(1, 1, uint64(i*8+try))
			f := &facts.AttemptFact{
				FactId: id[:], Kind: facts.FactKind_FACT_KIND_ATTEMPT, Subject: sub, Content: content(source), Attempt: uint32(try + 1),
				StartedMs: created.UnixMilli() + int64(try)*300_000, DurationUs: uint32(r.IntN(1e6)), Outcome: facts.Outcome_OUTCOME_HTTP_STATUS,
				StatusCode: 500, Url: "https://example.com/hook", ResponseBody: []byte(`{"error":"busy, come again later"}`), RequestSent: true,
				ResponseHeaders: []*facts.Header{{Name: "Content-Type", Value: "application/json"}, {Name: "Server", Value: "nginx"}},
			}
			if try == tries-1 {
				f.Outcome, f.StatusCode, f.End = facts.Outcome_OUTCOME_DELIVERED, 200, facts.End_END_DELIVERED
			}
			offset++
			add(b, &batch, 1, offset, f)
			hours[time.UnixMilli(f.GetStartedMs()).Truncate(time.Hour)] = true
		}
		deliveries = append(deliveries, batch.Deliveries[len(batch.Deliveries)-1])
		if batch.Rows() > 20_000 || i == n-1 {
			start := time.Now()
			insert(b, h, &batch)
			began += time.Since(start)
			rows += batch.Rows()
			batch.Reset()
		}
	}
	b.Logf("inserted %d rows in %v: %.0f rows/s", rows, began, float64(rows)/began.Seconds())
	start := time.Now()
	for hour := range hours {
		must(b, h.Recompute(b.Context(), hour))
	}
	b.Logf("recomputed %d hours, %v each", len(hours), time.Since(start)/time.Duration(len(hours)))
	var hooks []ids.ID
	for i := range 200 {
		hooks = append(hooks, webhook(i))
	}
	return h, deliveries, hooks
}

// BenchmarkQuestions measures what the API asks, one at a time.
func BenchmarkQuestions(b *testing.B) {
	h, deliveries, hooks := filled(b)
	r := rand.New(rand.NewPCG(2, 2))
	some := func() *history.Delivery {
		d := deliveries[r.IntN(len(deliveries))]
		found, err := h.Delivery(b.Context(), "acme", d.Delivery)
		must(b, err)
		return found
	}
	for _, q := range []struct {
		name string
		ask  func() error
	}{
		{"delivery", func() error { some(); return nil }},
		{"newest 50", func() error {
			_, _, err := h.Deliveries(b.Context(), "acme", hooks[r.IntN(20)], history.Page{})
			return err
		}},
		{"next 50", func() error {
			d := deliveries[r.IntN(len(deliveries))]
			_, _, err := h.Deliveries(b.Context(), "acme", d.Webhook, history.Page{Cursor: d.Delivery})
			return err
		}},
		{"none failed", func() error {
			_, _, err := h.Deliveries(b.Context(), "acme", hooks[0], history.Page{Status: history.Failed})
			return err
		}},
		{"event", func() error {
			_, err := h.Event(b.Context(), "acme", fmt.Sprint("evt_", r.IntN(len(deliveries))), nil)
			return err
		}},
		{"stats of one", func() error { _, err := h.Stats(b.Context(), "acme", hooks[r.IntN(200)]); return err }},
		{"stats of 100", func() error { _, err := h.Stats(b.Context(), "acme", hooks[:100]...); return err }},
		{"places", func() error { _, err := h.Places(b.Context()); return err }},
	} {
		b.Run(q.name, func(b *testing.B) { measure(b, q.ask) })
	}
	b.Run("attempts", func(b *testing.B) {
		d := some()
		measure(b, func() error { _, err := h.Attempts(b.Context(), d); return err })
	})
	b.Run("deliveries of an event", func(b *testing.B) {
		measure(b, func() error {
			d := deliveries[r.IntN(len(deliveries))]
			e := &history.Event{Account: "acme", AcceptedAt: time.UnixMilli(d.CreatedMs), Partition: 1, Offset: int64(d.SourceOff)}
			_, _, err := h.EventDeliveries(b.Context(), e, history.Page{})
			return err
		})
	})
}

func measure(b *testing.B, ask func() error) {
	b.ReportAllocs()
	var took []time.Duration
	cpu := engineCPU(b)
	for b.Loop() {
		start := time.Now()
		must(b, ask())
		took = append(took, time.Since(start))
	}
	b.ReportMetric(float64((engineCPU(b)-cpu).Microseconds())/1000/float64(len(took)), "engine-cpu-ms/op")
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

// engineCPU is the processor time of the engine's process so far; 0 where /proc doesn't tell.
func engineCPU(b *testing.B) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", db.Engine(b).PID()))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

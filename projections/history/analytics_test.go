package history_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"hookledger/ledger/ids"
	"hookledger/projections/history"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// counted is what the test knows of a delivery or a try.
type counted struct {
	at       time.Time
	webhook  ids.ID
	event    string
	status   history.Status
	outcome  facts.Outcome
	code     int
	took     time.Duration
	attempts int
}

// exact are quantiles by their definition.
func exact(all []time.Duration) history.Quantiles {
	if len(all) == 0 {
		return history.Quantiles{}
	}
	slices.Sort(all)
	at := func(level float64) time.Duration { return all[min(int(level*float64(len(all))), len(all)-1)] }
	return history.Quantiles{P50: at(0.5), P95: at(0.95), P99: at(0.99)}
}

func attemptFigures(all []counted) (f history.AttemptFigures) {
	var took []time.Duration
	for _, c := range all {
		f.Attempts++
		f.Outcomes[c.outcome]++
		f.Classes[c.code/100]++
		if c.code > 0 {
			f.RequestsSent++
		}
		took = append(took, c.took)
	}
	f.Latency = exact(took)
	return f
}

func deliveryFigures(all []counted) (f history.DeliveryFigures) {
	var took []time.Duration
	for _, c := range all {
		f.Deliveries++
		f.Statuses[c.status]++
		f.Attempts += c.attempts
		if c.status == history.Delivered {
			took = append(took, c.took)
		}
	}
	f.TimeToSuccess = exact(took)
	return f
}

// answerOf puts an answer together by counting.
func answerOf[F any](all []counted, q history.Question, figures func([]counted) F) *history.Answer[F] {
	from, to := q.Edges[0], q.Edges[len(q.Edges)-1]
	all = slices.DeleteFunc(slices.Clone(all), func(c counted) bool {
		return c.at.Before(from) || !c.at.Before(to) || !q.Webhook.IsZero() && c.webhook != q.Webhook || q.Event != "" && c.event != q.Event ||
			q.Status != 0 && c.status != q.Status || q.Outcome != 0 && c.outcome != q.Outcome
	})
	buckets := func(all []counted) []F {
		out := make([]F, len(q.Edges)-1)
		for i := range out {
			out[i] = figures(slices.DeleteFunc(slices.Clone(all), func(c counted) bool { return c.at.Before(q.Edges[i]) || !c.at.Before(q.Edges[i+1]) }))
		}
		return out
	}
	a := &history.Answer[F]{Total: figures(all), Buckets: buckets(all)}
	type key struct {
		webhook ids.ID
		event   string
	}
	sizes := make(map[key][]counted)
	for _, c := range all {
		switch q.GroupBy {
		case history.ByWebhook:
			k := key{webhook: c.webhook}
			sizes[k] = append(sizes[k], c)
		case history.ByEvent:
			k := key{event: c.event}
			sizes[k] = append(sizes[k], c)
		case history.NoGroups:
		}
	}
	var keys []key
	for k := range sizes {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b key) int {
		if n := len(sizes[b]) - len(sizes[a]); n != 0 {
			return n
		}
		return slices.Compare(append(a.webhook[:], a.event...), append(b.webhook[:], b.event...))
	})
	a.GroupsTotal = len(keys)
	for _, k := range keys[:min(len(keys), q.Groups)] {
		a.Groups = append(a.Groups, history.Group[F]{Webhook: k.webhook, Event: k.event, Total: figures(sizes[k]), Buckets: buckets(sizes[k])})
	}
	return a
}

// Every figure is that of counting in Go, by bucket and group, under every filter,
// though records lie twice in the tables and tries in two records.
func TestAnalyticsAreExact(t *testing.T) {
	h := open(t)
	r := rand.New(rand.NewPCG(11, 12))
	names := []string{"export.ready", "media.created", "import_job.failed"}
	var deliveries, tries []counted
	var b history.Batch
	offset := int64(0)
	put := func(f *facts.AttemptFact) {
		offset++
		add(t, &b, int32(offset%3), offset, f)
	}
	for i := range 600 {
		hook := webhook(i * i % 7)
		created := noon.Add(-time.Duration(r.Int64N(int64(60 * time.Hour)))).Truncate(time.Millisecond)
		source := &facts.Source{Offset: int64(i)}
		sub := subject("acme", hook, created, source)
		sub.EventType = names[i%len(names)]
		d := counted{at: created, webhook: hook, event: sub.GetEventType(), status: history.Pending}
		b.Deliveries = append(b.Deliveries, pending(hook, created, source))
		b.Deliveries[len(b.Deliveries)-1].EventType = sub.GetEventType()
		at := created
		for try := range r.IntN(4) {
			at = at.Add(time.Duration(r.IntN(100_000)) * time.Millisecond)
			id := attemptID(0, 5, uint64(i*10+try))
			f := &facts.AttemptFact{
				FactId: id[:], Kind: facts.FactKind_FACT_KIND_ATTEMPT, Subject: sub, Content: content(source), Attempt: uint32(try + 1),
				StartedMs: at.UnixMilli(), DurationUs: uint32(r.IntN(2_000_000)), Outcome: history.Outcomes[r.IntN(len(history.Outcomes))],
			}
			switch f.GetOutcome() {
			case facts.Outcome_OUTCOME_DELIVERED:
				f.StatusCode, f.End = 204, facts.End_END_DELIVERED
			case facts.Outcome_OUTCOME_HTTP_STATUS:
				f.StatusCode = uint32(300 + r.IntN(300))
			}
			f.RequestSent = f.GetStatusCode() > 0
			d.status = history.Retrying
			if f.GetEnd() == 0 && r.IntN(5) == 0 {
				f.End, f.EndReason = facts.End_END_GIVEN_UP, facts.EndReason_END_REASON_EXHAUSTED
				d.status = history.Failed
			}
			tries = append(tries, counted{at, hook, d.event, 0, f.GetOutcome(), int(f.GetStatusCode()), time.Duration(f.GetDurationUs()) * time.Microsecond, 0})
			d.attempts++
			lost := r.IntN(20) == 0 // the original never came, two copies did
			if !lost {
				put(f)
			}
			for range r.IntN(12) / 10 * 2 {
				lost = true
				c := cloneFact(f)
				c.End, c.EndReason, c.Completed = f.GetEnd(), f.GetEndReason(), true
				put(c)
			}
			if lost {
				c := cloneFact(f)
				c.End, c.EndReason, c.Completed = f.GetEnd(), f.GetEndReason(), true
				put(c)
				put(c)
			}
			if f.GetEnd() == facts.End_END_DELIVERED {
				d.status, d.took = history.Delivered, at.Add(time.Duration(f.GetDurationUs())*time.Microsecond).Truncate(time.Millisecond).Sub(created)
			}
			if f.GetEnd() != 0 {
				break
			}
		}
		deliveries = append(deliveries, d)
		id := attemptID(1, 5, uint64(i))
		if i%9 == 0 { // tests count for nothing
			put(&facts.AttemptFact{FactId: id[:], Kind: facts.FactKind_FACT_KIND_TEST, Subject: sub, Content: content(source), StartedMs: at.UnixMilli(), Outcome: facts.Outcome_OUTCOME_TIMEOUT})
		}
	}
	insert(t, h, &b)
	other := pending(webhook(0), noon.Add(-time.Hour), &facts.Source{Offset: 1})
	other.Account = "another"
	insert(t, h, &history.Batch{Deliveries: []history.DeliveryRow{other}})

	berlin := zone(t, "Europe/Berlin")
	whole := func(bucket history.Bucket, z *time.Location) []time.Time {
		edges, err := history.Edges(noon.Add(-70*time.Hour).Add(123*time.Millisecond), noon.Add(time.Hour), bucket, z, 5000)
		must(t, err)
		return edges
	}
	questions := []history.Question{
		{Edges: whole(history.NoBucket, time.UTC)},
		{Edges: whole(history.Day, berlin)},
		{Edges: whole(history.Hour, berlin), GroupBy: history.ByEvent, Groups: 100},
		{Edges: whole(history.Day, time.UTC), GroupBy: history.ByWebhook, Groups: 3},
		{Edges: whole(history.NoBucket, time.UTC), GroupBy: history.ByWebhook, Groups: 100, Event: names[1]},
		{Edges: whole(history.Hour, berlin)[10:30], Webhook: webhook(2)},
		{Edges: whole(history.Hour, berlin)[5:25], GroupBy: history.ByWebhook, Groups: 2, Status: history.Delivered, Outcome: facts.Outcome_OUTCOME_TIMEOUT},
		{Edges: whole(history.Day, berlin), Status: history.Retrying, Outcome: facts.Outcome_OUTCOME_DELIVERED, Webhook: webhook(1), Event: names[2]},
		{Edges: []time.Time{noon.Add(time.Hour), noon.Add(2 * time.Hour)}, GroupBy: history.ByEvent, Groups: 5},
		{Edges: whole(history.Minute, time.UTC)[:1400]},
	}
	opts := gocmp.Options{
		cmpopts.IgnoreUnexported(history.Group[history.DeliveryFigures]{}, history.Group[history.AttemptFigures]{}), cmpopts.EquateEmpty(),
	}
	for round := range 2 {
		for i, q := range questions {
			q.Account = "acme"
			ofDeliveries, ofTries := q, q
			ofDeliveries.Outcome, ofTries.Status = 0, 0
			d, err := h.DeliveryAnalytics(t.Context(), ofDeliveries)
			must(t, err)
			if diff := gocmp.Diff(answerOf(deliveries, ofDeliveries, deliveryFigures), d, opts); diff != "" {
				t.Errorf("round %d, deliveries %d (-counted +history):\n%s", round, i, diff)
			}
			a, err := h.AttemptAnalytics(t.Context(), ofTries)
			must(t, err)
			if diff := gocmp.Diff(answerOf(tries, ofTries, attemptFigures), a, opts); diff != "" {
				t.Errorf("round %d, attempts %d (-counted +history):\n%s", round, i, diff)
			}
		}
		insert(t, h, &b) // the log again
	}
}

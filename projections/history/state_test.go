package history_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"hookledger/ledger/ids"
	"hookledger/projections/history"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// moment is a state row in the terms of PROTOCOL: what decides which is newer.
type moment struct {
	isFact    bool
	round     uint64
	end       int8
	attempt   uint32
	upto      uint64
	epoch     uint64
	completed bool
	off       uint64
}

func (a moment) compare(b moment) int {
	return cmp.Or(
		-flag(b.isFact)+flag(a.isFact), cmp.Compare(a.round, b.round), cmp.Compare(a.end, b.end), cmp.Compare(a.attempt, b.attempt),
		cmp.Compare(a.upto, b.upto), cmp.Compare(a.epoch, b.epoch), flag(b.completed)-flag(a.completed), cmp.Compare(a.off, b.off))
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

// The version of a row compares as its tuple does, at the bounds of every field too.
func TestVersionComparesLikeTheTuple(t *testing.T) {
	h := open(t)
	const most = 1<<48 - 1
	offset := rapid.OneOf(rapid.Uint64Range(0, 3), rapid.Uint64Range(0, most), rapid.Just(uint64(most)))
	gen := rapid.Custom(func(t *rapid.T) moment {
		return moment{
			isFact: rapid.Bool().Draw(t, "fact"), round: offset.Draw(t, "round"), end: rapid.Int8Range(0, 3).Draw(t, "end"),
			attempt: rapid.OneOf(rapid.Uint32Range(0, 2), rapid.Uint32()).Draw(t, "attempt"), upto: offset.Draw(t, "upto"),
			epoch: offset.Draw(t, "epoch"), completed: rapid.Bool().Draw(t, "completed"), off: offset.Draw(t, "off"),
		}
	})
	want := make(map[ids.ID]moment)
	var rows []history.DeliveryRow
	for i := range 2000 {
		hook := webhook(i % 7)
		delivery := ids.ForDelivery(noon.UnixMilli(), 0, int64(i), hook)
		for j := range 4 {
			m := gen.Example(i*4 + j)
			if j > 0 && i%2 == 0 { // differ in one field only
				base := want[delivery]
				base.off, m = uint64(j), base
				switch i / 2 % 8 {
				case 0:
					m.isFact = !m.isFact
				case 1:
					m.round ^= 1 << (i % 48)
				case 2:
					m.end = int8((int(m.end) + 1) % 4)
				case 3:
					m.attempt ^= 1 << (i % 32)
				case 4:
					m.upto ^= 1 << (i % 48)
				case 5:
					m.epoch ^= 1 << (i % 48)
				case 6:
					m.completed = !m.completed
				}
			}
			if best, ok := want[delivery]; !ok || m.compare(best) > 0 {
				want[delivery] = m
			}
			rows = append(rows, history.DeliveryRow{
				Account: "a", Webhook: hook, Delivery: delivery, Status: history.Pending, CreatedMs: noon.UnixMilli(),
				Round: m.round, End: m.end, Attempt: m.attempt, Upto: m.upto, IsFact: m.isFact, Epoch: m.epoch, Completed: m.completed, Off: m.off,
				BodySize: m.attempt,
			})
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	r.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	for part := range 4 { // several parts, so that FINAL has to decide
		n := len(rows) / 4
		insert(t, h, &history.Batch{Deliveries: rows[part*n : (part+1)*n]})
	}
	got := make(map[ids.ID]moment)
	for n := range 7 {
		page := history.Page{Limit: 1000}
		list, _, err := h.Deliveries(t.Context(), "a", webhook(n), page)
		must(t, err)
		for _, d := range list {
			got[d.ID] = moment{round: d.Round, end: int8(d.End), upto: d.Upto, attempt: d.Content.GetBodySize()}
		}
	}
	for id, w := range want {
		if g := got[id]; g.round != w.round || g.end != w.end || g.upto != w.upto || g.attempt != w.attempt {
			t.Fatalf("%s: got %+v, want %+v", id.Text(ids.Delivery), g, w)
		}
	}
}

// life draws the facts of one delivery as a dispatcher may write them: rounds,
// retries by hand, superseded processes whose facts come late, completed copies.
func life(r *rand.Rand, sub *facts.Subject, source *facts.Source, next func() int64) []*facts.AttemptFact {
	round := uint64(r.IntN(1000))
	upto, attempt, epoch, counter := round, uint32(0), uint64(10), uint64(0)
	at := sub.GetCreatedMs() + 5
	var all []*facts.AttemptFact
	fact := func(kind facts.FactKind) *facts.AttemptFact {
		counter++
		at += int64(r.IntN(5000))
		id := attemptID(1, epoch, uint64(next())<<8|counter)
		f := &facts.AttemptFact{
			FactId: id[:], Kind: kind, Epoch: epoch, Subject: sub, Content: content(source), Round: round, Attempt: attempt,
			Upto: upto, StartedMs: at,
		}
		all = append(all, f)
		return f
	}
	for range 1 + r.IntN(3) { // rounds
		for range r.IntN(4) { // failures
			attempt++
			f := fact(facts.FactKind_FACT_KIND_ATTEMPT)
			f.Outcome, f.StatusCode, f.NextRetryMs = facts.Outcome_OUTCOME_HTTP_STATUS, 500, at+10_000
			f.RequestSent, f.DurationUs, f.ResponseBody = true, uint32(r.IntN(1e6)), []byte(fmt.Sprint("no ", counter))
			switch r.IntN(6) {
			case 0: // a completed copy of it
				c := *cloneFact(f)
				c.Completed, c.BodyCut, c.ResponseBody = true, true, []byte("n")
				all = append(all, &c)
			case 1: // a new owner that tries the same again
				epoch += 3
				g := fact(facts.FactKind_FACT_KIND_ATTEMPT)
				g.MaybeRepeat, g.Outcome, g.NextRetryMs = true, facts.Outcome_OUTCOME_TIMEOUT, at+20_000
			case 2:
				upto += 7
				f := fact(facts.FactKind_FACT_KIND_RETRY_ASKED)
				f.CommandOffset, f.NextRetryMs = upto, at
			}
		}
		switch r.IntN(4) {
		case 0:
			return all
		case 1:
			attempt++
			f := fact(facts.FactKind_FACT_KIND_ATTEMPT)
			f.Outcome, f.StatusCode, f.End = facts.Outcome_OUTCOME_DELIVERED, 200, facts.End_END_DELIVERED
			f.RequestSent = true
			if r.IntN(2) == 0 { // a superseded process gives up
				g := fact(facts.FactKind_FACT_KIND_ATTEMPT)
				g.Epoch, g.Outcome, g.End, g.EndReason = 1, facts.Outcome_OUTCOME_RESET, facts.End_END_GIVEN_UP, facts.EndReason_END_REASON_EXHAUSTED
			}
			return all
		case 2:
			f := fact(facts.FactKind_FACT_KIND_ENDED)
			f.End, f.EndReason = facts.End_END_CANCELLED, facts.EndReason_END_REASON_WEBHOOK_DELETED
		default:
			attempt++
			f := fact(facts.FactKind_FACT_KIND_ATTEMPT)
			f.Outcome, f.End, f.EndReason = facts.Outcome_OUTCOME_DNS, facts.End_END_GIVEN_UP, facts.EndReason_END_REASON_EXHAUSTED
		}
		upto += 11
		round = upto
		f := fact(facts.FactKind_FACT_KIND_RETRY_ASKED)
		f.CommandOffset, f.NextRetryMs = round, at
	}
	return all
}

func cloneFact(f *facts.AttemptFact) *facts.AttemptFact {
	g := &facts.AttemptFact{
		FactId: f.GetFactId(), Kind: f.GetKind(), Epoch: f.GetEpoch(), Subject: f.GetSubject(), Content: f.GetContent(), Round: f.GetRound(),
		Attempt: f.GetAttempt(), Outcome: f.GetOutcome(), Upto: f.GetUpto(), RequestSent: f.GetRequestSent(), StartedMs: f.GetStartedMs(),
		DurationUs: f.GetDurationUs(), StatusCode: f.GetStatusCode(), ResponseBody: f.GetResponseBody(), NextRetryMs: f.GetNextRetryMs(),
	}
	return g
}

// modelState is what a delivery is, folded in Go from the facts in the order
// of PROTOCOL's version: rounds, then ends, then tries, then commands.
type modelState struct {
	Status   history.Status
	Round    uint64
	End      facts.End
	Next     time.Time
	Attempts int
	LastCode int
	LastCut  bool
	LastBody string
	Facts    int
}

func model(all []*facts.AttemptFact) modelState {
	var best *facts.AttemptFact
	var last *facts.AttemptFact
	newer := func(a, b *facts.AttemptFact) bool {
		if b == nil {
			return true
		}
		return cmp.Or(cmp.Compare(a.GetRound(), b.GetRound()), cmp.Compare(a.GetEnd(), b.GetEnd()), cmp.Compare(a.GetAttempt(), b.GetAttempt()),
			cmp.Compare(a.GetUpto(), b.GetUpto()), cmp.Compare(a.GetEpoch(), b.GetEpoch()), flag(b.GetCompleted())-flag(a.GetCompleted())) > 0
	}
	tries, kinds := map[ids.ID]bool{}, map[ids.ID]bool{}
	for _, f := range all {
		kinds[ids.ID(f.GetFactId())] = true
		if newer(f, best) {
			best = f
		}
		if f.GetKind() == facts.FactKind_FACT_KIND_ATTEMPT {
			tries[ids.ID(f.GetFactId())] = true
			if newer(f, last) {
				last = f
			}
		}
	}
	if best == nil {
		return modelState{Status: history.Pending}
	}
	s := modelState{Round: best.GetRound(), End: best.GetEnd(), Attempts: len(tries), Facts: len(kinds)}
	switch {
	case s.End == facts.End_END_DELIVERED:
		s.Status = history.Delivered
	case s.End != 0:
		s.Status = history.Failed
	case best.GetAttempt() == 0 && best.GetCommandOffset() != best.GetRound():
		s.Status = history.Pending
	default:
		s.Status = history.Retrying
	}
	if s.End == 0 && best.GetNextRetryMs() > 0 {
		s.Next = time.UnixMilli(best.GetNextRetryMs()).UTC()
	}
	if last != nil {
		s.LastCode, s.LastCut, s.LastBody = int(last.GetStatusCode()), last.GetBodyCut(), string(last.GetResponseBody())
	}
	return s
}

// Rows in any order, cut into any batches, some of them twice, give the state
// that the model folds from the facts.
func TestArrivalOrderNeverMatters(t *testing.T) {
	const deliveries = 120
	type known struct {
		id    ids.ID
		model modelState
	}
	var lives []known
	var requests []history.DeliveryRow
	var attempts []history.AttemptRow
	var states []history.DeliveryRow
	r := rand.New(rand.NewPCG(3, 4))
	offset := int64(5000)
	next := func() int64 { offset++; return offset }
	for i := range deliveries {
		source := &facts.Source{Partition: int32(i % 3), Offset: int64(i)}
		sub := subject("acme", webhook(i%5), noon.Add(-time.Duration(r.IntN(20*24))*time.Hour), source)
		all := life(r, sub, source, next)
		if i%10 == 0 {
			all = nil // no fact yet
		}
		lives = append(lives, known{ids.ID(sub.GetDeliveryId()), model(all)})
		command := &facts.DeliveryCommand{Command: &facts.DeliveryCommand_Request{Request: &facts.DeliveryRequest{Subject: sub, Content: content(source)}}}
		row, err := make(history.Sources).FoldRequest(factRecord(t, 'd', command, 1, int64(i), noon))
		must(t, err)
		requests = append(requests, *row)
		for _, f := range all {
			a, d, err := history.FoldAttempt(attemptRecord(t, 1, next(), f))
			must(t, err)
			attempts = append(attempts, a)
			if d != nil {
				states = append(states, *d)
			}
		}
	}
	states = append(states, requests...)
	var first []*history.Delivery
	for round := range 2 {
		h := open(t)
		r.Shuffle(len(states), func(i, j int) { states[i], states[j] = states[j], states[i] })
		r.Shuffle(len(attempts), func(i, j int) { attempts[i], attempts[j] = attempts[j], attempts[i] })
		for i := 0; i < len(states); i += 200 {
			insert(t, h, &history.Batch{Deliveries: states[i:min(i+250, len(states))]}) // overlapping: some twice
		}
		for i := 0; i < len(attempts); i += 300 {
			insert(t, h, &history.Batch{Attempts: attempts[i:min(i+350, len(attempts))]})
		}
		var answers []*history.Delivery
		for i, l := range lives {
			d, err := h.Delivery(t.Context(), "acme", l.id)
			must(t, err)
			got := modelState{Status: d.Status, Round: d.Round, End: d.End, Next: d.NextRetryAt, Attempts: d.Attempts}
			if d.Last != nil {
				got.LastCode, got.LastCut, got.LastBody = d.Last.StatusCode, d.Last.BodyCut, string(d.Last.Body)
			}
			if l.model.Status == history.Pending {
				got.Round = 0
			} else if got.Facts = l.model.Facts; i%4 == 0 {
				all, err := h.Attempts(t.Context(), d)
				must(t, err)
				got.Facts = len(all)
			}
			if diff := gocmp.Diff(l.model, got); diff != "" {
				t.Fatalf("round %d, %s (-model +history):\n%s", round, l.id.Text(ids.Delivery), diff)
			}
			answers = append(answers, d)
		}
		if first == nil {
			first = answers
		} else if diff := gocmp.Diff(first, answers, protocmp.Transform(), cmpopts.EquateComparable()); diff != "" {
			t.Fatalf("another order, another answer:\n%s", diff)
		}
	}
}

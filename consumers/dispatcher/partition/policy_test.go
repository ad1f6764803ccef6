package partition

import (
	"bytes"
	"testing"
	"time"

	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

const (
	attemptFact = facts.FactKind_FACT_KIND_ATTEMPT
	endedFact   = facts.FactKind_FACT_KIND_ENDED
)

func TestScheduleThenGivenUp(t *testing.T) {
	r := newRig(t).own().request(0, 0).flying(1)
	for i, wait := range r.cfg.Schedule {
		r.answer(failure)
		if got := r.until(); got < wait-time.Millisecond || got > wait+time.Second {
			t.Fatalf("try %d comes after %v, want %v", i+2, got, wait)
		}
		if n := r.flights[0].Number; int(n) != i+2 {
			t.Fatalf("it is number %d, want %d", n, i+2)
		}
	}
	r.answer(failure).lastIs(attemptFact, facts.End_END_GIVEN_UP, facts.EndReason_END_REASON_EXHAUSTED)
	if s := r.m.Stats(); s.Waiting != 0 || s.Undecided != 0 {
		t.Fatalf("something is left: %+v", s)
	}
}

func TestGivenUpLeavesPausesOut(t *testing.T) {
	tries := func(pause time.Duration) (n int) {
		r := newRig(t)
		r.cfg.GiveUpAfter = time.Hour
		r.cfg.Schedule = make([]time.Duration, 100)
		for i := range r.cfg.Schedule {
			r.cfg.Schedule[i] = 10 * time.Minute
		}
		r.own().request(0, 0)
		for {
			n++
			r.answer(failure)
			if r.last().GetEnd() == facts.End_END_GIVEN_UP {
				return n
			}
			if n == 3 {
				r.set(0, Paused).pass(pause).flying(0).own().set(0, Active) // a takeover amid
			}
			r.until()
		}
	}
	// The pause is left out whole, also the part of it in which nothing was due:
	// one wait of ten minutes.
	if with, without := tries(5*time.Hour), tries(0); with != 8 || without != 7 {
		t.Fatalf("%d tries with a pause of 5 hours, %d without, want 8 and 7", with, without)
	}
}

func TestRetryAfterHoldsTheLane(t *testing.T) {
	r := newRig(t).own().request(0, 0)
	busy := failure
	busy.StatusCode, busy.RetryAfter = 429, time.Hour
	r.answer(busy)
	r.request(0, 1).request(1, 2).flying(1) // another webhook is not held
	r.answer(success)
	r.pass(50 * time.Minute).flying(0)
	r.own().pass(5 * time.Minute).flying(0) // a takeover remembers it
	if got := r.until(); got > 6*time.Minute {
		t.Fatalf("it is held %v too long", got)
	}
	r.answer(success)
	// It asks for a year: six hours. And a retry by hand does not wait.
	r = newRig(t).own().request(0, 0)
	busy.RetryAfter = 365 * 24 * time.Hour
	r.answer(busy).retry(0, 0, 0, false, 1).flying(1).answer(busy)
	if got := r.until(); got < 5*time.Hour || got > 6*time.Hour+time.Second {
		t.Fatalf("it is held for %v, want six hours", got)
	}
}

func TestOneAtATimeAfterATimeout(t *testing.T) {
	r := newRig(t).own().request(0, 0).answer(timeout)
	for i := range 5 {
		r.request(0, i+1)
	}
	r.flying(1).pass(2 * time.Second).own().flying(1) // a takeover remembers it
	r.answer(success).flying(4)
}

func TestNoWebhookKeepsOthersWaiting(t *testing.T) {
	r := newRig(t)
	r.slots = 0
	r.own()
	for i := range 50 {
		r.request(0, i)
	}
	r.request(1, 50).request(2, 51)
	r.slots = 3
	r.pump().flying(3)
	seen := make(map[byte]int)
	for _, s := range r.flights {
		seen[s.Subject.WebhookId[15]]++
	}
	if len(seen) != 3 {
		t.Fatalf("the slots go to %v, want one each", seen)
	}
}

func TestHoldExpires(t *testing.T) {
	r := newRig(t).own().request(0, 0).answer(failure).set(0, Paused)
	r.request(0, 1).retry(0, 0, 0, false, 1).flying(0)
	r.pass(6*24*time.Hour).flying(0).request(0, 2)
	r.own()
	n := len(r.attempts)
	r.pass(26 * time.Hour)
	if got := len(r.attempts) - n; got != 2 {
		t.Fatalf("%d were ended, want 2", got)
	}
	r.lastIs(endedFact, facts.End_END_GIVEN_UP, facts.EndReason_END_REASON_HOLD_EXPIRED)
	r.pass(5 * 24 * time.Hour)
	if got := len(r.attempts) - n; got != 2 {
		t.Fatalf("what came on the sixth day was ended with them")
	}
	r.set(0, Active).flying(1)
}

func TestDeletedIsCancelled(t *testing.T) {
	r := newRig(t).own().request(0, 0).request(0, 1).request(0, 2).flying(3)
	r.answer(failure) // the first waits
	n := len(r.attempts)
	r.set(0, Deleted)
	if len(r.attempts) != n+1 {
		t.Fatalf("%d facts after the delete, want one", len(r.attempts)-n)
	}
	r.lastIs(endedFact, facts.End_END_CANCELLED, facts.EndReason_END_REASON_WEBHOOK_DELETED)
	r.answer(failure).lastIs(attemptFact, facts.End_END_CANCELLED, facts.EndReason_END_REASON_WEBHOOK_DELETED)
	r.answer(success).lastIs(attemptFact, facts.End_END_DELIVERED, 0)
	r.request(0, 3).flying(0).lastIs(endedFact, facts.End_END_CANCELLED, facts.EndReason_END_REASON_WEBHOOK_DELETED)
	r.pass(5 * time.Second)
	if s := r.m.Stats(); s.Webhooks != 0 || s.LanesLive != 1 {
		t.Fatalf("the deleted webhook leaves something: %+v", s)
	}
}

func TestDisables(t *testing.T) {
	gone := failure
	gone.StatusCode, gone.WebhookVersion = 410, 1
	r := newRig(t).own().request(0, 0).answer(gone)
	if len(r.disables) != 1 || r.disables[0].Reason != Gone || r.disables[0].Version != 1 {
		t.Fatalf("410 asks for %+v", r.disables)
	}
	r = newRig(t)
	r.cfg.Schedule = make([]time.Duration, 30)
	for i := range r.cfg.Schedule {
		r.cfg.Schedule[i] = 10 * time.Hour
	}
	r.cfg.GiveUpAfter = 1000 * time.Hour
	r.own().request(0, 0)
	tries := 1
	for r.answer(failure); len(r.disables) == 0; r.answer(failure) {
		if tries%4 == 0 {
			r.own() // the count survives takeovers
		}
		r.until()
		tries++
	}
	if tries != 13 || r.disables[0].Reason != Failing { // 12 waits of 10 hours are 5 days
		t.Fatalf("after %d tries: %+v", tries, r.disables)
	}
}

func TestContentGoneEndsTheRound(t *testing.T) {
	r := newRig(t).own().request(0, 0)
	r.m.Unsent(r.now, r.flights[0].AttemptID, ContentGone)
	r.flights = nil
	r.pump().lastIs(endedFact, facts.End_END_GIVEN_UP, facts.EndReason_END_REASON_PAYLOAD_EXPIRED)
	r.request(0, 1)
	r.m.Unsent(r.now, r.flights[0].AttemptID, SendLater)
	r.flights = nil
	n := len(r.attempts)
	if got := r.until(); got < time.Second || len(r.attempts) != n {
		t.Fatalf("what was not sent is due after %v, with %d facts", got, len(r.attempts)-n)
	}
}

func TestNewRoundGoesOn(t *testing.T) {
	r := newRig(t)
	r.cfg.Schedule = r.cfg.Schedule[:1]
	r.own().request(0, 0).answer(failure)
	r.until()
	r.answer(failure).lastIs(attemptFact, facts.End_END_GIVEN_UP, facts.EndReason_END_REASON_EXHAUSTED)
	r.retry(0, 0, 0, false, 2).flying(0) // it names the round as open
	if r.last().GetKind() != facts.FactKind_FACT_KIND_RETRY_REFUSED {
		t.Fatalf("a retry of what has ended meanwhile: %v", r.last())
	}
	r.retry(0, 0, 0, true, 2).flying(1)
	if s := r.flights[0]; s.Number != 3 || s.Round != 2 {
		t.Fatalf("the new round sends %+v", s)
	}
	r.answer(failure)
	r.until()
	r.answer(success).lastIs(attemptFact, facts.End_END_DELIVERED, 0)
	// A second customer named the first round: refused, also after a takeover.
	r.own().retry(0, 0, 0, true, 2).flying(0)
	if r.last().GetKind() != facts.FactKind_FACT_KIND_RETRY_REFUSED {
		t.Fatalf("a second retry of the same end: %v", r.last())
	}
}

// A new round that can't start is on the record as open, once, whoever owns the
// partition when it starts.
func TestNewRoundIsSeenWhileItWaits(t *testing.T) {
	r := newRig(t)
	r.cfg.Schedule = r.cfg.Schedule[:1]
	r.own().request(0, 0).answer(failure)
	r.until()
	r.answer(failure).set(0, Paused)
	n := len(r.attempts)
	r.retry(0, 0, 0, true, 2).flying(0)
	if len(r.attempts) != n+1 {
		t.Fatalf("%d facts, want one", len(r.attempts)-n)
	}
	if f := r.last(); f.GetKind() != facts.FactKind_FACT_KIND_RETRY_ASKED || f.GetRound() != 1 || f.GetCommandOffset() != 1 || f.GetUpto() != 1 ||
		f.GetAttempt() != 2 || f.GetEnd() != facts.End_END_UNSPECIFIED || f.GetNextRetryMs() != r.now.Wall {
		t.Fatalf("the fact is %v", f)
	}
	r.retry(0, 0, 0, true, 2) // another customer names the round that ended
	if r.last().GetKind() != facts.FactKind_FACT_KIND_RETRY_REFUSED {
		t.Fatalf("a second retry of the same end: %v", r.last())
	}
	n = len(r.attempts)
	r.own().pass(time.Hour).own().flying(0)
	if len(r.attempts) != n {
		t.Fatalf("the takeover says it again: %v", r.last())
	}
	r.set(0, Active).flying(1)
	if s := r.flights[0]; s.Number != 3 || s.Round != 1 {
		t.Fatalf("after the resume it sends %+v", s)
	}
	r.answer(success).lastIs(attemptFact, facts.End_END_DELIVERED, 0)
	if len(r.attempts) != n+1 {
		t.Fatalf("%d facts after the try, want one", len(r.attempts)-n)
	}
	if s := r.m.Stats(); s.Waiting != 0 || s.Undecided != 0 {
		t.Fatalf("something is left: %+v", s)
	}
}

func TestBodiesAreBounded(t *testing.T) {
	r := newRig(t)
	r.cfg.MaxBodyBytes, r.slots = 10, 0
	r.own().request(0, 0).request(0, 1).request(0, 2)
	if s := r.m.Stats(); s.Undecided != 3 || s.QueuedBytes != 8 {
		t.Fatalf("%+v, want 8 bytes of 3 requests", s)
	}
	r.slots = 3
	r.pump().flying(3)
	if r.flights[0].Body == nil || r.flights[2].Body != nil {
		t.Fatal("the first bodies should ride along, and the last not")
	}
	// What finds no slot is written to `lanes`.
	r.slots = 0
	r.request(1, 3).pass(time.Second)
	if s := r.m.Stats(); s.Undecided != 0 || s.Waiting != 1 || s.QueuedBytes != 0 {
		t.Fatalf("%+v, want one waiting", s)
	}
}

func TestFactInLaneIsCut(t *testing.T) {
	r := newRig(t).own().request(0, 0)
	long := failure
	long.Body = bytes.Repeat([]byte("x"), 5000)
	r.answer(long)
	for _, l := range r.lanes {
		if f := l.GetWaiting().GetFact(); f != nil && (len(f.GetResponseBody()) != 512 || !f.GetBodyCut()) {
			t.Fatalf("the lane record has %d bytes, cut %v", len(f.GetResponseBody()), f.GetBodyCut())
		}
	}
	if f := r.last(); len(f.GetResponseBody()) != 5000 || f.GetBodyCut() {
		t.Fatalf("the fact has %d bytes, cut %v", len(f.GetResponseBody()), f.GetBodyCut())
	}
}

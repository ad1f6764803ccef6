package partition

import (
	"testing"
	"time"

	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// dead opens the breaker of webhook 0 with n deliveries waiting.
func dead(t *testing.T, n int) *rig {
	t.Helper()
	r := newRig(t).own()
	for i := range n {
		r.request(0, i)
	}
	for len(r.flights) > 0 {
		r.answer(failure)
	}
	if s := r.m.Stats(); s.Open != 1 {
		t.Fatalf("%d breakers are open", s.Open)
	}
	return r
}

func TestBreakerOpensAndProbes(t *testing.T) {
	r := newRig(t).own()
	for i := range 4 {
		r.request(0, i).answer(failure)
	}
	r.request(0, 4).flying(1).answer(failure) // the fifth in a row
	r.request(0, 5).flying(0)
	r.request(1, 6).flying(1).answer(success) // another webhook is not concerned
	full := 10 * time.Second
	wait := full
	for probes := range 10 {
		got := r.until()
		if got < wait-time.Second || got > wait+time.Second {
			t.Fatalf("probe %d comes after %v, want %v", probes+1, got, wait)
		}
		r.flying(1).answer(failure)
		full = min(2*full, 15*time.Minute)
		wait = full
		if probes == 4 {
			r.pass(2 * time.Second).own().flying(0) // a takeover remembers how far it was
			wait -= 2 * time.Second
		}
	}
}

func TestProbesTakeTurns(t *testing.T) {
	r := dead(t, 20)
	seen := make(map[string]int)
	last := ""
	for range 10 {
		r.until()
		id := string(r.flights[0].Subject.GetDeliveryId())
		if id == last {
			t.Fatal("the same delivery probes twice in a row")
		}
		last = id
		seen[id]++
		r.answer(failure)
	}
	if len(seen) < 2 {
		t.Fatalf("%d deliveries have probed", len(seen))
	}
}

// Only one try is under way while the breaker is open, and what was started
// before it opened has no say.
func TestOneProbeAtATime(t *testing.T) {
	r := newRig(t).own()
	for i := range 30 {
		r.request(0, i)
	}
	r.flying(30)
	for range 20 {
		r.answer(failure)
	}
	r.flying(10).answer(success).flying(9) // what was in flight has no say
	if s := r.m.Stats(); s.Open != 1 {
		t.Fatal("a try from before has closed the breaker")
	}
	r.pass(12 * time.Second).flying(10) // nine from before, and the probe
	r.pass(time.Minute).flying(10)
}

func TestRecoveryRampsUp(t *testing.T) {
	r := dead(t, 200)
	r.until()
	r.pass(time.Hour).flying(1) // all are due, one probes
	r.answer(success).flying(0)
	var second []int
	for range 8 {
		n := 0
		for range 100 { // a second in steps of 10 ms, each answered at once
			r.pass(10 * time.Millisecond)
			for ; len(r.flights) > 0; n++ {
				r.answer(success)
			}
		}
		second = append(second, n)
	}
	if second[0] > 1 || second[1] > 3 || second[5] < 20 {
		t.Fatalf("deliveries in each second after the probe: %v", second)
	}
	r.pass(10 * time.Second)
	for len(r.flights) > 0 {
		r.answer(success)
	}
	if s := r.m.Stats(); s.Waiting != 0 || s.Open != 0 || s.Webhooks != 0 {
		t.Fatalf("something is left: %+v", s)
	}
}

func TestBreakerOpensOnMostlyFailures(t *testing.T) {
	r := newRig(t).own()
	n := 0
	try := func(x Result) {
		r.request(0, n).answer(x)
		n++
	}
	for _, x := range []Result{failure, failure, failure, failure, success, failure, failure, failure, failure, success, failure} {
		try(x)
	}
	if s := r.m.Stats(); s.Open != 1 {
		t.Fatal("9 of 11 have failed within a minute, and the breaker is closed")
	}
	// The same slowly does not open it.
	r = newRig(t)
	r.cfg.Schedule = []time.Duration{24 * time.Hour}
	r.own()
	n = 0
	for range 5 {
		for i := range 5 {
			r.pass(20 * time.Second)
			if i == 0 {
				try(success)
			} else {
				try(failure)
			}
		}
	}
	if s := r.m.Stats(); s.Open != 0 {
		t.Fatal("three tries a minute open the breaker")
	}
}

// A new URL, a resume and a retry by hand probe at once.
func TestProbesAtOnceWhenAsked(t *testing.T) {
	r := dead(t, 8).pass(6 * time.Second).flying(0)
	r.set(0, Active).flying(1).answer(failure).flying(0) // another version: a new URL, say
	if got := r.until(); got > 21*time.Second {
		t.Fatalf("the next probe comes after %v", got)
	}
	r.answer(failure).set(0, Paused).pass(time.Minute).flying(0)
	r.set(0, Active).flying(1).answer(failure).flying(0)
	r = dead(t, 8)
	r.retry(0, 3, 3, false, 1).flying(1)
}

func TestCutForOthersIsSlow(t *testing.T) {
	r := newRig(t).own()
	cut := Result{Outcome: facts.Outcome_OUTCOME_INTERRUPTED, RequestSent: true}
	r.request(0, 0).answer(cut)
	for i := range 5 {
		r.request(0, i+1)
	}
	r.flying(1)
}

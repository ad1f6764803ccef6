package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"hookledger/consumers/sender/receivertest"
)

var (
	crashRounds = flag.Int("crash.rounds", 2, "rounds of TestCrash: each kills the server under load and starts it again")
	crashSeed   = flag.Uint64("crash.seed", 0, "seed of TestCrash's choices; 0 takes one from the clock")
)

const (
	crashSendTimeout = time.Second
	// crashGrace is what the machine may take between a decision and its effect
	// that is seen from outside, a try that is under way included.
	crashGrace = crashSendTimeout + 2*time.Second
)

// Rounds of a real process under load, killed at random moments, also while it
// starts. Then: what was acknowledged has happened, once; every request that the
// receiver saw is in the history, but for those in flight at a kill, each of
// which was repeated and marked so; and the history holds none that it did not see.
func TestCrash(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes half a minute; `make test` and `make crash` run it")
	}
	seed := *crashSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-crash.rounds=%d -crash.seed=%d", *crashRounds, seed)
	crash(t, "crash", *crashRounds, seed, newDataDir(t), func(*rand.Rand) {})
}

// crash is rounds of a process under load that is killed; after each kill, take
// does what the test wants to happen to the folder.
func crash(t *testing.T, what string, rounds int, seed uint64, dir string, take func(dice *rand.Rand)) {
	chance := func(n uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, n)) }

	w := newWorld()
	stopping, stop := context.WithCancel(t.Context())
	defer stop()
	l := &load{t: t, w: w, stop: stopping}
	r, err := receivertest.Start(receivertest.Options{Respond: l.respond(chance(1))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	l.receiver = r.URL()

	flags := append(append([]string{}, openFlags...), "--send-timeout", crashSendTimeout.String(),
		"--retry-schedule", "50ms,100ms,200ms,300ms,500ms,500ms,500ms,500ms,500ms,500ms,500ms,500ms")
	s := startServer(t, dir, flags...)
	l.c = s.as(t, s.ok(t, "", "token --life 24h --account crash"))
	l.c.client.Timeout = 20 * time.Second
	l.base.Store(&s.base)

	var working sync.WaitGroup
	for n := range 2 {
		working.Go(func() { l.owner(n, chance(uint64(10+n))) })
	}
	for n := range 3 {
		working.Go(func() { l.publisher(n, chance(uint64(20+n))) })
	}
	working.Go(func() { l.retrier(chance(30)) })

	began := time.Now()
	dice := chance(0)
	for round := range rounds {
		// A moment by chance, after some work: a slow machine needs longer for it.
		for enough, late := w.published()+50+dice.IntN(300), time.Now().Add(10*time.Second); w.published() < enough && time.Now().Before(late); {
			pass(t, 10*time.Millisecond)
		}
		pass(t, time.Duration(dice.IntN(300))*time.Millisecond)
		l.base.Store(nil)
		w.kills = append(w.kills, time.Now())
		s.kill()
		take(dice)
		// Every second round kills it while it starts, too, once or twice.
		for range round % 2 * (1 + dice.IntN(2)) {
			if s, err = launch(dir, flags...); err != nil {
				t.Fatal(err)
			}
			pass(t, time.Duration(dice.IntN(2500))*time.Millisecond)
			w.kills = append(w.kills, time.Now())
			s.kill()
			take(dice)
		}
		s = startServer(t, dir, flags...)
		l.base.Store(&s.base)
		if t.Failed() {
			break
		}
	}
	pass(t, time.Second)
	stop()
	working.Wait()
	loaded := time.Since(began)
	if t.Failed() {
		return
	}
	j := &judge{t: t, w: w, s: s, l: l}
	j.await()
	j.configuration()
	j.requests()
	j.deliveries()
	j.pauses()
	fmt.Printf("%s: %d rounds and %d kills in %s; %d events, %d webhooks, %d deliveries, %d requests seen, %d attempts recorded;"+
		" killed in flight %d, marked repeats %d, lost %d, invented %d\n",
		what, rounds, len(w.kills), loaded.Round(time.Second), len(w.events), len(w.subscribers), len(j.rows), len(w.requests), j.recorded,
		j.inFlight, j.repeats, j.lost, j.invented)
	t.Logf("calls:%s", w.counts())
	j.explain()
}

// pass lets time go by, which is what this test is about.
func pass(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}

package main

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"hookledger/consumers/sender/receivertest"
)

// refusedAfter asks until it is refused, checks the refusal, and says how often it passed.
func (c *caller) refusedAfter(limit string, ask func() *answer) int {
	c.t.Helper()
	for n := range 5000 {
		a := ask()
		if a.status == 429 {
			a.fails(429, "rate_limited")
			after, err := strconv.Atoi(a.header.Get("Retry-After"))
			if err != nil || after < 1 || a.num("error.retry_after") != after || a.str("error.details.limit") != limit {
				c.t.Errorf("Retry-After %q, want it positive, by the limit %s: %s", a.header.Get("Retry-After"), limit, a.body)
			}
			return n
		}
	}
	c.t.Fatalf("the limit %s is never reached", limit)
	return 0
}

// passes checks that a number is what a limit lets through in a time: the quota, and what came back meanwhile.
func passes(t *testing.T, what string, n, quota int, rate float64, took time.Duration) {
	t.Helper()
	if most := quota + 1 + int(rate*took.Seconds()); n < quota || n > most {
		t.Errorf("%s passed %d times in %s, want %d to %d", what, n, took, quota, most)
	}
}

// Each key, each account, the events of an account and what is under way of it
// have a limit; none costs another account anything.
func TestRateLimits(t *testing.T) {
	s := startServer(t, "", append([]string{
		"--rate-per-key", "3", "--rate-per-account", "5", "--events-per-account", "20", "--requests-per-account", "3",
	}, openFlags...)...)
	jwt := s.account(t)
	began := time.Now()
	key := func(name string) *caller {
		return s.as(t, jwt.post("/api-keys", object{"name": name, "scopes": []string{"admin"}}).is(201).str("key"))
	}
	first, second := key("first"), key("second")
	other := s.as(t, s.ok(t, "", "token", "--account", "another"))

	// An account of which nothing was asked yet: the headers tell of the nearest limit.
	a := s.as(t, s.ok(t, "", "token", "--account", "third")).get("/webhooks").is(200)
	if a.header.Get("RateLimit-Limit") != "30" || a.header.Get("RateLimit-Remaining") != "29" || a.header.Get("RateLimit-Reset") != "1" {
		t.Errorf("the first answer says %v", a.header)
	}
	n := first.refusedAfter("key", func() *answer { return first.get("/webhooks") })
	passes(t, "a key", n, 30, 3, time.Since(began))
	if a := first.get("/webhooks"); a.status == 429 && (a.header.Get("RateLimit-Limit") != "30" || a.header.Get("RateLimit-Remaining") != "0" || a.header.Get("RateLimit-Reset") != "10") {
		t.Errorf("a refusal says %v", a.header)
	}

	// What the account has left goes to its other key, until that too is all.
	n += second.refusedAfter("account", func() *answer { return second.get("/webhooks") })
	passes(t, "an account", n+2, 50, 5, time.Since(began)) // and two by the JWT
	s.as(t, "").get("/webhooks/events").is(200)
	if a := other.get("/webhooks").is(200); a.header.Get("RateLimit-Remaining") != "29" {
		t.Errorf("another account has %s left", a.header.Get("RateLimit-Remaining"))
	}

	// After Retry-After it passes.
	eventually(t, "the key to be let in again", func() error {
		if a := second.get("/webhooks"); a.status != 200 {
			return fmt.Errorf("%d %s", a.status, a.body)
		}
		return nil
	})

	// A batch is as much as what is in it, and a full one always fits.
	batch := func(n int) string {
		return "[" + strings.Repeat(`{"event":"export.ready","data":{}},`, n-1) + `{"event":"export.ready","data":{}}]`
	}
	if a := other.post("/events", batch(1000)).is(202); a.header.Get("RateLimit-Limit") != "1000" || a.header.Get("RateLimit-Remaining") != "0" {
		t.Errorf("after a full batch: %v", a.header)
	}
	refused := other.post("/events", batch(1000)).fails(429, "rate_limited")
	if after, _ := strconv.Atoi(refused.header.Get("Retry-After")); after < 40 || after > 50 || refused.str("error.details.limit") != "events" {
		t.Errorf("a second full batch may come after %d s: %s", after, refused.body)
	}
	eventually(t, "an event to be let in again", func() error {
		if a := other.post("/events", batch(1)); a.status != 202 {
			return fmt.Errorf("%d %s", a.status, a.body)
		}
		return nil
	})
	if a := s.as(t, "").get("root:/metrics").is(200); !strings.Contains(string(a.body), `hookledger_api_limited_total{limit="events"}`) {
		t.Error("the metrics don't count what was refused")
	}
}

// Requests that take long don't take the node from others.
func TestRequestsInFlight(t *testing.T) {
	s := startServer(t, "", append([]string{"--requests-per-account", "2"}, openFlags...)...)
	c := s.account(t)
	arrived, leave := make(chan struct{}, 2), make(chan struct{})
	r := receiver(t, func(*receivertest.Request) receivertest.Answer {
		arrived <- struct{}{}
		<-leave
		return receivertest.Answer{Status: 200}
	})
	h := c.webhook(r.URL())
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { c.post(h.path()+"/test", nil) })
	}
	<-arrived
	<-arrived
	if a := c.get("/webhooks").fails(429, "rate_limited"); a.str("error.details.limit") != "in_flight" || a.header.Get("Retry-After") != "1" {
		t.Errorf("%v %s", a.header, a.body)
	}
	s.as(t, s.ok(t, "", "token", "--account", "another")).get("/webhooks").is(200)
	close(leave)
	wg.Wait()
	eventually(t, "the account to be let in again", func() error {
		if a := c.get("/webhooks"); a.status != 200 {
			return fmt.Errorf("%d %s", a.status, a.body)
		}
		return nil
	})
}

// Who guesses is not even listened to after a while; who has worked from the same
// address goes on, and other addresses notice nothing.
func TestFailuresAreLimitedByAddress(t *testing.T) {
	s := startServer(t, "", append([]string{"--failures-per-address", "1", "--trusted-proxies", "127.0.0.0/8"}, openFlags...)...)
	from := func(c *caller, address string) *caller { return c.with("X-Forwarded-For: " + address) }
	const here, there = "203.0.113.7", "203.0.113.8"
	works := s.account(t)
	fresh := s.as(t, s.ok(t, "", "token", "--account", "fresh"))
	from(works, here).get("/webhooks").is(200)

	began := time.Now()
	n := 0
	guess := func() *answer {
		n++
		credential := fmt.Sprintf("sk_%052d", n)
		if n%3 == 0 {
			credential = fmt.Sprintf("ey%d.e30.x", n)
		}
		return from(s.as(t, credential), here).get("/webhooks")
	}
	from(s.as(t, ""), here).get("/webhooks").fails(401, "authentication_required")
	passed := works.refusedAfter("address", guess)
	passes(t, "a guess", passed+1, 60, 1, time.Since(began))

	if a := from(works, here).get("/webhooks").is(200); a.header.Get("RateLimit-Limit") == "" {
		t.Errorf("a known caller is told %v", a.header)
	}
	from(s.as(t, s.ok(t, "", "token", "--account", "fresh")), there).get("/webhooks").is(200)
	from(s.as(t, "sk_x"), there).get("/webhooks").fails(401, "authentication_invalid")
	// A good credential that was never seen from there waits like a guess, so that the answer tells nothing.
	if a := from(fresh, here).get("/webhooks"); a.status == 429 {
		a.fails(429, "rate_limited")
	} else if took := time.Since(began); took < time.Second {
		t.Errorf("an unknown credential from a guesser's address is answered %d after %s", a.status, took)
	}
	eventually(t, "a new credential to be listened to again", func() error {
		if a := from(fresh, here).get("/webhooks"); a.status != 200 {
			return fmt.Errorf("%d %s", a.status, a.body)
		}
		return nil
	})
	from(s.as(t, ""), here).get("/webhooks/events").is(200)
	if metrics := string(s.as(t, "").get("root:/metrics").is(200).body); !strings.Contains(metrics, `hookledger_api_limited_total{limit="address"}`) {
		t.Error("the metrics don't count what was refused")
	}
}

package sender_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hookledger/consumers/sender"
	"hookledger/consumers/sender/receivertest"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// A receiver that closed its idle connection costs nothing: not a request, not a failure.
func TestClosedIdleConnectionIsNoFailure(t *testing.T) {
	r := startTest(t, receivertest.Options{})
	s := newSender(t, sender.Options{})
	for i := range 20 {
		if res := s.Send(t.Context(), request(r.URL(), []byte("{}"))); res.Outcome != facts.Outcome_OUTCOME_DELIVERED {
			t.Fatalf("send %d: %+v", i, res)
		}
		r.CloseIdle()
	}
	if r.Count() != 20 {
		t.Errorf("20 sends were %d requests", r.Count())
	}
}

// net/http would send the second request again and again here, because it has
// an Idempotency-Key: a kept connection that breaks after the request has left.
func TestNothingIsReplayed(t *testing.T) {
	for name, ending := range map[string]receivertest.Ending{"close": receivertest.Close, "reset": receivertest.Reset} {
		r := startTest(t, receivertest.Options{Respond: receivertest.Sequence(
			receivertest.Answer{}, receivertest.Answer{Silent: true, Then: ending}, receivertest.Answer{},
		)})
		s := newSender(t, sender.Options{})
		first := s.Send(t.Context(), request(r.URL(), []byte("{}")))
		expectation{facts.Outcome_OUTCOME_DELIVERED, 200, true, ""}.check(t, first)
		second := s.Send(t.Context(), request(r.URL(), []byte("{}")))
		expectation{facts.Outcome_OUTCOME_RESET, 0, true, "waiting"}.check(t, second)
		if r.Count() != 2 || r.Connections() != 1 {
			t.Errorf("%s: 2 sends were %d requests over %d connections", name, r.Count(), r.Connections())
		}
	}
}

// Receivers that close, reset and hang at random, before and after reading:
// no attempt is seen twice, none is seen that says it was not sent, none that
// was delivered is missing.
func TestLedgerAgreesWithReceiver(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]int{}
	r := startTest(t, receivertest.Options{Respond: func(q *receivertest.Request) receivertest.Answer {
		mu.Lock()
		seen[q.Header("X-Delivery-Attempt-ID")]++
		mu.Unlock()
		answer := receivertest.Answer{Body: "ok", Silent: rand.IntN(8) == 0}
		switch rand.IntN(12) {
		case 0:
			answer.Then = receivertest.Close
		case 1:
			answer.Then = receivertest.Reset
		default:
			if answer.Silent {
				answer.Then = receivertest.Hang
			}
		}
		return answer
	}})
	s := newSender(t, sender.Options{Timeout: short, MaxIdlePerHost: 8})
	closing, stop := context.WithCancel(t.Context())
	var closer sync.WaitGroup
	closer.Go(func() {
		for closing.Err() == nil {
			r.CloseIdle()
			time.Sleep(time.Millisecond) // the pace of the disturbance, nothing waits for it
		}
	})
	var attempts atomic.Int64
	var results sync.Map
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 40 {
				id := "att_" + strconv.FormatInt(attempts.Add(1), 10)
				req := request(r.URL(), bytes.Repeat([]byte("x"), rand.IntN(2)*70_000))
				req.AttemptID = id
				results.Store(id, s.Send(t.Context(), req))
			}
		})
	}
	wg.Wait()
	stop()
	closer.Wait()
	counts := map[facts.Outcome]int{}
	mu.Lock()
	defer mu.Unlock()
	results.Range(func(id, v any) bool {
		res, n := v.(sender.Result), seen[id.(string)]
		counts[res.Outcome]++
		if n > 1 || n == 1 && !res.RequestSent || n == 0 && res.Outcome == facts.Outcome_OUTCOME_DELIVERED {
			t.Errorf("%s was seen %d times: %+v", id, n, res)
		}
		return true
	})
	t.Logf("%v, %+v", counts, s.Stats())
	if counts[facts.Outcome_OUTCOME_DELIVERED] < 100 || counts[facts.Outcome_OUTCOME_RESET] == 0 || counts[facts.Outcome_OUTCOME_TIMEOUT] == 0 {
		t.Errorf("the disturbance disturbs too little or too much: %v", counts)
	}
}

// A receiver that answers a large body without reading it, and keeps the connection open.
func TestEarlyAnswerToLargeBody(t *testing.T) {
	l := listen(t)
	hold := make(chan struct{})
	go serveRaw(l, func(c net.Conn) {
		_, _ = c.Write([]byte("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"))
		<-hold
	})
	defer close(hold)
	s := newSender(t, sender.Options{Timeout: long})
	res := s.Send(t.Context(), request("http://"+l.Addr().String(), make([]byte, 16<<20)))
	expectation{facts.Outcome_OUTCOME_HTTP_STATUS, 413, true, "413"}.check(t, res)
	if res.Duration > long/2 || s.Stats().Idle != 0 {
		t.Errorf("took %s, %d idle", res.Duration, s.Stats().Idle)
	}
}

func TestLargeBodies(t *testing.T) {
	r := startTest(t, receivertest.Options{Keep: -1})
	s := newSender(t, sender.Options{})
	for _, size := range []int{0, 1, 64 << 10, 64<<10 + 1, 3 << 20} {
		body := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
		expectation{facts.Outcome_OUTCOME_DELIVERED, 200, true, ""}.check(t, s.Send(t.Context(), request(r.URL(), body)))
		requests := r.Requests()
		if !bytes.Equal(requests[len(requests)-1].Body(), body) {
			t.Errorf("a body of %d bytes arrived different", size)
		}
	}
	if r.Connections() != 1 {
		t.Errorf("%d connections", r.Connections())
	}
}

func TestAnswerBodyLimit(t *testing.T) {
	chunked := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	for name, c := range map[string]struct {
		answer         receivertest.Answer
		body           string
		cut, keepsConn bool
	}{
		"less":             {receivertest.Answer{Body: "123456789"}, "123456789", false, true},
		"equal":            {receivertest.Answer{Body: "1234567890"}, "1234567890", false, true},
		"more":             {receivertest.Answer{Body: "12345678901"}, "1234567890", true, false},
		"promises more":    {receivertest.Answer{Raw: "HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n1234567890", Then: receivertest.Hang}, "1234567890", true, false},
		"chunked, equal":   {receivertest.Answer{Raw: chunked + "a\r\n1234567890\r\n0\r\n\r\n"}, "1234567890", false, true},
		"chunked, more":    {receivertest.Answer{Raw: chunked + "a\r\n1234567890\r\n1\r\n1\r\n0\r\n\r\n"}, "1234567890", true, false},
		"endless":          {receivertest.Answer{Raw: "HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("1234567890", 99), Then: receivertest.Hang}, "1234567890", true, false},
		"with more behind": {receivertest.Answer{Raw: "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1HTTP/1.1 500 Smuggled\r\n\r\n"}, "1", false, false},
		"asks to close":    {receivertest.Answer{Header: []string{"Connection: close"}, Body: "1"}, "1", false, false},
	} {
		r := startTest(t, receivertest.Options{Respond: func(*receivertest.Request) receivertest.Answer { return c.answer }})
		s := newSender(t, sender.Options{MaxBody: 10})
		res := s.Send(t.Context(), request(r.URL(), nil))
		if res.Outcome != facts.Outcome_OUTCOME_DELIVERED || string(res.Body) != c.body || res.BodyTruncated != c.cut {
			t.Errorf("%s: %v %q, cut %v", name, res.Outcome, res.Body, res.BodyTruncated)
		}
		if kept := s.Stats().Idle == 1; kept != c.keepsConn {
			t.Errorf("%s: connection kept: %v", name, kept)
		}
	}
}

func TestAnswerHeaders(t *testing.T) {
	lines := []string{"B: 2", "a: \xff\xfe", "B: 1"}
	r := startTest(t, receivertest.Options{Respond: func(*receivertest.Request) receivertest.Answer { return receivertest.Answer{Header: lines} }})
	s := newSender(t, sender.Options{})
	res := s.Send(t.Context(), request(r.URL(), nil))
	var got []string
	for _, h := range res.Headers {
		got = append(got, h.GetName()+": "+h.GetValue())
	}
	if want := "A: \uFFFD|B: 2|B: 1|Content-Length: 0"; strings.Join(got, "|") != want || res.HeadersTruncated {
		t.Errorf("headers %q, want %q", got, want)
	}
	lines = repeat("X: y", 100)
	if res := s.Send(t.Context(), request(r.URL(), nil)); len(res.Headers) != 64 || !res.HeadersTruncated {
		t.Errorf("%d of 101 headers, truncated %v", len(res.Headers), res.HeadersTruncated)
	}
	lines = repeat("X: "+strings.Repeat("y", 999), 20)
	if res := s.Send(t.Context(), request(r.URL(), nil)); len(res.Headers) != 9 || !res.HeadersTruncated {
		t.Errorf("%d of 20 large headers, truncated %v", len(res.Headers), res.HeadersTruncated)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 1, 10, 0, 0, 0, time.UTC)
	var lines []string
	r := startTest(t, receivertest.Options{Respond: func(*receivertest.Request) receivertest.Answer {
		return receivertest.Answer{Status: 429, Header: lines}
	}})
	s := newSender(t, sender.Options{Now: func() time.Time { return now }})
	for _, c := range []struct {
		value, date string
		want        time.Duration
	}{
		{"120", "", 2 * time.Minute},
		{" 0 ", "", 0},
		{"21600", "", 6 * time.Hour},
		{"21601", "", 6 * time.Hour},
		{"99999999999999999999999", "", 6 * time.Hour},
		{"-5", "", 0},
		{"1.5", "", 0},
		{"soon", "", 0},
		{"Sun, 01 Nov 2026 10:05:00 GMT", "", 5 * time.Minute},
		{"Sun, 01 Nov 2026 09:05:00 GMT", "", 0},
		{"Sun, 08 Nov 2026 10:05:00 GMT", "", 6 * time.Hour},
		{"Sunday, 01-Nov-26 10:05:00 GMT", "", 5 * time.Minute},
		// The receiver's clock is a day behind: what counts is the difference.
		{"Sat, 31 Oct 2026 10:05:00 GMT", "Sat, 31 Oct 2026 10:00:00 GMT", 5 * time.Minute},
	} {
		lines = []string{"Retry-After: " + c.value}
		if c.date != "" {
			lines = append(lines, "Date: "+c.date)
		}
		if res := s.Send(t.Context(), request(r.URL(), nil)); res.RetryAfter != c.want || !res.Started.Equal(now) {
			t.Errorf("%q, Date %q: %s, want %s", c.value, c.date, res.RetryAfter, c.want)
		}
	}
}

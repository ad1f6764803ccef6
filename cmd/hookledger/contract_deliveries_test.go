package main

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hookledger/consumers/sender/receivertest"
	"hookledger/ledger"
)

// Members of a delivery: the contract's, and three of ours.
const deliveryMembers = `delivery_id webhook_id event_type status attempts last_attempt_at next_retry_at response_status_code
	response_body error_message created_at completed_at payload event_id round end`

// switched is a receiver whose answer a test sets.
type switched struct {
	*receivertest.Receiver
	answer atomic.Pointer[receivertest.Answer]
}

func (s *switched) status(code int) *switched {
	s.answer.Store(&receivertest.Answer{Status: code, Body: http.StatusText(code)})
	return s
}

func switchedReceiver(t *testing.T) *switched {
	t.Helper()
	s := new(switched)
	s.status(200)
	s.Receiver = receiver(t, func(*receivertest.Request) receivertest.Answer { return *s.answer.Load() })
	return s
}

// failed is a delivery that was given up: each retry by hand is a try of the
// round, and the shared server's schedule has three.
func (c *caller) failed(h hook) string {
	c.t.Helper()
	id := c.delivery(c.publish(), "retrying")
	for range 2 {
		c.retry(id).is(200)
	}
	c.becomes(id, "failed")
	return id
}

// retry asks for a try by hand, and waits for it.
func (c *caller) retry(delivery string) *answer {
	c.t.Helper()
	before := c.read("/webhooks/deliveries/" + delivery).num("attempts")
	a := c.askRetry(delivery)
	if a.status == 200 {
		eventually(c.t, "the retry's try", func() error {
			if now := c.read("/webhooks/deliveries/" + delivery); now.num("attempts") <= before {
				return fmt.Errorf("%s", now.body)
			}
			return nil
		})
	}
	return a
}

// askRetry asks for a try by hand, and again while the answer is 503: on a
// machine under load the history may be late.
func (c *caller) askRetry(delivery string) *answer {
	c.t.Helper()
	var a *answer
	eventually(c.t, "a retry's answer", func() error {
		a = c.post("/webhooks/deliveries/"+delivery+"/retry", nil)
		return a.late()
	})
	return a
}

// read is a GET that is asked again while the answer is 503.
func (c *caller) read(path string) *answer {
	c.t.Helper()
	var a *answer
	eventually(c.t, "GET "+path, func() error {
		a = c.get(path)
		return a.late()
	})
	return a.is(200)
}

// The four statuses, their fields, and what a retry does in each.
func TestContractDeliveryStatuses(t *testing.T) {
	t.Parallel()
	c := common.get(t).account(t)
	r := switchedReceiver(t)
	h := c.webhook(r.URL())
	single := func(id string) *answer {
		c.t.Helper()
		return c.read("/webhooks/deliveries/"+id).members("", deliveryMembers+" stats")
	}
	nulls := func(a *answer, names string) {
		t.Helper()
		for _, name := range []string{"last_attempt_at", "next_retry_at", "response_status_code", "response_body", "error_message", "completed_at", "end"} {
			if want := strings.Contains(" "+names+" ", " "+name+" "); (a.value(name) == nil) != want {
				t.Errorf("%s of a delivery that is %s is %v, null is wanted for %s only", name, a.str("status"), a.value(name), names)
			}
		}
		if a.value("payload") == nil || a.str("webhook_id") != h.id || a.str("event_type") != "export.ready" {
			t.Errorf("the delivery is %s", a.body)
		}
	}

	// delivered
	delivered := c.delivery(c.publish(), "delivered")
	nulls(single(delivered), "next_retry_at error_message")
	c.askRetry(delivered).fails(409, "delivery_already_delivered")

	// retrying: a retry moves the next attempt to now
	r.status(500)
	began := time.Now()
	retrying := c.delivery(c.publish(), "retrying")
	a := single(retrying)
	nulls(a, "completed_at end")
	within(t, "next_retry_at", a.time("next_retry_at"), began.Add(time.Hour), 7*time.Minute)
	if a.str("attempts") != "1" || a.str("response_status_code") != "500" || a.str("response_body") != "Internal Server Error" {
		t.Errorf("after a failure: %s", a.body)
	}
	r.status(200)
	if a := c.retry(retrying).is(200); a.str("status") != "retrying" && a.str("status") != "delivered" {
		t.Errorf("a retry of a retrying delivery answered %s", a.body)
	}
	if a := c.becomes(retrying, "delivered"); a.str("attempts") != "2" || a.str("stats.requests_sent") != "2" {
		t.Errorf("after the retry: %s", a.body)
	}

	// failed: a retry starts a new round, and attempt numbers go on
	r.status(503)
	failed := c.failed(h)
	a = single(failed)
	nulls(a, "next_retry_at")
	if a.str("attempts") != "3" || a.str("end") != "given_up" {
		t.Errorf("given up: %s", a.body)
	}
	round := a.num("round")
	if a := c.retry(failed).is(200); a.str("status") != "retrying" || a.num("round") <= round || a.value("completed_at") != nil {
		t.Errorf("a retry of a failed delivery answered %s", a.body)
	}
	a = c.becomes(failed, "retrying")
	nulls(a, "completed_at end")
	if a.str("attempts") != "4" || a.num("round") <= round {
		t.Errorf("in the new round: %s", a.body)
	}
	numbers := c.get("/webhooks/deliveries/" + failed + "/attempts").is(200)
	for i := range numbers.list() {
		if numbers.num(fmt.Sprintf("%d.number", i)) != i+1 {
			t.Errorf("the attempts of two rounds are %s", numbers.body)
		}
	}

	// pending: no attempt yet, also while paused; a retry keeps it so
	c.patch(h.path(), object{"status": "paused"}).is(200)
	pending := c.delivery(c.publish(), "pending")
	a = single(pending)
	nulls(a, "last_attempt_at next_retry_at response_status_code response_body error_message completed_at end")
	if a.str("attempts") != "0" {
		t.Errorf("pending: %s", a.body)
	}
	if a := c.askRetry(pending).is(200); a.str("status") != "pending" || a.str("attempts") != "0" {
		t.Errorf("a retry of a pending delivery answered %s", a.body)
	}
	r.status(200)
	c.patch(h.path(), object{"status": "active"}).is(200)
	c.becomes(pending, "delivered")
}

// A new round of a paused webhook's delivery is retrying, in its answer and in
// every read, before its first try.
func TestContractRetryWhilePaused(t *testing.T) {
	t.Parallel()
	c := common.get(t).account(t)
	r := switchedReceiver(t)
	h := c.webhook(r.URL())
	r.status(500)
	failed := c.failed(h)
	c.patch(h.path(), object{"status": "paused"}).is(200)
	a := c.askRetry(failed).is(200)
	read := c.becomes(failed, "retrying")
	for _, a := range []*answer{a, read} {
		if a.str("status") != "retrying" || a.str("attempts") != "3" || a.value("end") != nil || a.value("completed_at") != nil || a.value("next_retry_at") == nil {
			t.Errorf("%s of a paused webhook: %s", a.about, a.body)
		}
	}
	if list := c.get(h.path() + "/deliveries?status=retrying").is(200); len(list.list()) != 1 {
		t.Errorf("retrying are %s", list.body)
	}
	count := r.Count()
	r.status(200)
	c.patch(h.path(), object{"status": "active"}).is(200)
	if a := c.becomes(failed, "delivered"); a.str("attempts") != "4" {
		t.Errorf("after the resume: %s", a.body)
	}
	if r.Count() != count+1 {
		t.Errorf("%d requests after the resume, want 1", r.Count()-count)
	}
}

// The list: newest first, by status, 1 to 100 of them, 50 if nothing is said.
func TestContractDeliveryList(t *testing.T) {
	t.Parallel()
	c := common.get(t).account(t)
	r := switchedReceiver(t)
	h := c.webhook(r.URL())
	c.delivered(h, 101)
	r.status(500)
	last := c.delivery(c.publish(), "retrying")
	for query, want := range map[string]int{"": 50, "?limit=1": 1, "?limit=100": 100, "?status=retrying": 1, "?status=delivered&limit=100": 100, "?status=failed": 0, "?status=pending": 0} {
		a := c.get(h.path() + "/deliveries" + query).is(200)
		if len(a.list()) != want {
			t.Errorf("%q lists %d deliveries, want %d", query, len(a.list()), want)
		}
		for i := 1; i < len(a.list()); i++ {
			if a.str(fmt.Sprintf("%d.created_at", i)) > a.str(fmt.Sprintf("%d.created_at", i-1)) {
				t.Errorf("%q is not newest first", query)
			}
		}
		more := want >= 50 || query == "?limit=1"
		if (a.header.Get("X-Next-Cursor") != "") != more || (a.header.Get("Link") != "") != more {
			t.Errorf("%q has X-Next-Cursor %q and Link %q", query, a.header.Get("X-Next-Cursor"), a.header.Get("Link"))
		}
	}
	if a := c.get(h.path() + "/deliveries?limit=1").is(200); a.str("0.delivery_id") != last {
		t.Errorf("the newest is %s, want %s", a.body, last)
	}
	for _, bad := range []string{"limit=0", "limit=101", "limit=-1", "limit=x", "limit=1&limit=2", "status=done", "status=", "cursor=", "order=asc"} {
		a := c.get(h.path()+"/deliveries?"+bad).fails(422, "validation_failed")
		if name, _, _ := strings.Cut(bad, "="); a.str("error.details.fields.0.field") != name || a.str("error.details.fields.0.in") != "query" {
			t.Errorf("%s: %s", bad, a.body)
		}
	}
}

// What a deletion cancels is failed with end "cancelled"; a deleted webhook's
// deliveries stay readable by id, and their retry is 409.
func TestContractDeletedWebhook(t *testing.T) {
	t.Parallel()
	c := common.get(t).account(t)
	r := switchedReceiver(t)
	h := c.webhook(r.URL())
	delivered := c.delivery(c.publish(), "delivered")
	r.status(500)
	failed := c.failed(h)
	retrying := c.delivery(c.publish(), "retrying")
	c.patch(h.path(), object{"status": "paused"}).is(200)
	pending := c.delivery(c.publish(), "pending")
	reopened := failed
	c.askRetry(reopened).is(200) // a new round that waits
	c.becomes(reopened, "retrying")
	if a := c.delete(h.path()).is(200).members("", "message"); a.str("message") == "" {
		t.Errorf("deleted: %s", a.body)
	}
	for id, end := range map[string]string{retrying: "cancelled", pending: "cancelled", reopened: "cancelled", delivered: "delivered"} {
		status := "failed"
		if id == delivered {
			status = "delivered"
		}
		a := c.becomes(id, status)
		if a.str("end") != end || a.value("next_retry_at") != nil || a.value("completed_at") == nil || a.value("payload") == nil || a.str("webhook_id") != h.id {
			t.Errorf("after the deletion: %s", a.body)
		}
		c.get("/webhooks/deliveries/" + id + "/attempts").is(200)
		c.askRetry(id).fails(409, "delivery_webhook_deleted")
	}
	c.get(h.path()).fails(404, "resource_webhook_not_found")
	c.get(h.path()+"/deliveries").fails(404, "resource_webhook_not_found")
	c.delete(h.path()).fails(404, "resource_webhook_not_found")
}

// Once the event's content has outlived its retention, a retry is 409
// payload_expired, and what the history has stays readable.
func TestContractPayloadExpired(t *testing.T) {
	t.Parallel()
	dir := newDataDir(t) // of its own: the log is cut
	flags := append([]string{"--retry-schedule", "1h,1h"}, openFlags...)
	s := startServer(t, dir, flags...)
	c := s.account(t)
	r := switchedReceiver(t)
	h := c.webhook(r.URL())
	r.status(500)
	id := c.failed(h)
	log := logOf(t, s)
	ends, err := log.Ends(t.Context(), ledger.Events)
	if err != nil {
		t.Fatal(err)
	}
	r.status(200)
	for range 40 { // so that each partition has something that is kept
		c.publish()
	}
	for p, end := range ends {
		if err := log.Trim(t.Context(), ledger.Events, p, end); err != nil {
			t.Fatal(err)
		}
	}
	starts, err := log.Starts(t.Context(), ledger.Events)
	if err != nil || !maps.Equal(starts, ends) {
		t.Fatalf("the log begins at %v, want %v: %v", starts, ends, err)
	}
	if err := s.stop(); err != nil { // it remembers what it read before
		t.Fatal(err)
	}
	c.server = startServer(t, dir, flags...)
	if a := c.askRetry(id).fails(409, "payload_expired"); a.str("error.details.delivery_id") != id {
		t.Errorf("%s", a.body)
	}
	if a := c.get("/webhooks/deliveries/" + id).is(200); a.str("status") != "failed" || a.value("payload") == nil {
		t.Errorf("what the history has: %s", a.body)
	}
}

// The payload in the API is what was sent, byte by byte, on every attempt.
func TestContractPayload(t *testing.T) {
	t.Parallel()
	c := common.get(t).account(t)
	r := switchedReceiver(t)
	h := c.webhook(r.URL(), object{"metadata": object{"team": "a"}})
	r.status(500)
	const data = `{"b": 1,  "a":12345678901234567890.10,"b":"é\u00e9 <&>" , "n":[1.0e5,-0,{}]}`
	id := c.delivery(c.post("/events", `{"event":"export.ready","data":`+data+`}`).is(202).str("events.0.id"), "retrying")
	// New metadata, another URL and another secret don't change what is sent.
	c.patch(h.path(), object{"metadata": object{"team": "b"}, "url": r.URL() + "/moved"}).is(200)
	secret := c.post(h.path()+"/rotate-secret", nil).is(200).str("new_secret")
	c.retry(id).is(200)
	r.status(200)
	c.retry(id)
	c.becomes(id, "delivered")
	sent := received(t, r.Receiver, 3)
	for i, q := range sent {
		if !bytes.Equal(q.Body(), sent[0].Body()) || !bytes.Contains(q.Body(), []byte(`"data":`+data+`,"metadata":{"team":"a"}}`)) {
			t.Errorf("attempt %d sent %s, the first %s", i+1, q.Body(), sent[0].Body())
		}
		for _, name := range []string{"X-Delivery-ID", "Idempotency-Key", "webhook-id"} {
			if q.Header(name) != id {
				t.Errorf("attempt %d: %s is %q, want %s", i+1, name, q.Header(name), id)
			}
		}
		want, target := h.secret, "/"
		if i > 0 {
			want, target = secret, "/moved"
		}
		if err := q.Verify(want); err != nil || q.Target() != target {
			t.Errorf("attempt %d to %s: %v", i+1, q.Target(), err)
		}
	}
	if sent[0].Header("X-Delivery-Attempt-ID") == sent[1].Header("X-Delivery-Attempt-ID") {
		t.Error("two attempts have one id")
	}
	if a := c.get("/webhooks/deliveries/" + id).is(200); !bytes.Contains(a.body, append([]byte(`"payload":`), sent[0].Body()...)) {
		t.Errorf("the payload in the API is\n%s\nwhat was sent is\n%s", a.body, sent[0].Body())
	}
}

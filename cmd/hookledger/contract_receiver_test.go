package main

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"hookledger/consumers/sender/receivertest"
	"hookledger/schemas/api/apitest"
)

// every header of the contract, and those that HTTP itself needs.
var (
	deliveryHeaders = []string{
		"X-Webhook-Signature", "X-Webhook-Id", "X-Delivery-Id", "X-Delivery-Attempt-Id", "Idempotency-Key", "X-Event-Type", "User-Agent",
		"Webhook-Id", "Webhook-Timestamp", "Webhook-Signature", "Content-Type", "Content-Length",
	}
	optionalHeaders = []string{"Accept-Encoding", "Accept", "Connection"}
)

// headers checks that a request has exactly these headers, each once, but for
// what HTTP may add.
func headers(t *testing.T, q *receivertest.Request, want []string) *http.Request {
	t.Helper()
	parsed, err := q.Parsed()
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range parsed.Header {
		if len(values) != 1 || !slices.Contains(want, name) && !slices.Contains(optionalHeaders, name) {
			t.Errorf("the header %s is %q", name, values)
		}
	}
	for _, name := range want {
		if name != "Content-Length" && parsed.Header.Get(name) == "" {
			t.Errorf("the header %s is missing: %s", name, q.Raw())
		}
	}
	if parsed.Method != http.MethodPost || parsed.ContentLength != int64(len(q.Body())) || parsed.Header.Get("Content-Type") != "application/json" {
		t.Errorf("the request is %s %s, %d bytes, %s", parsed.Method, parsed.URL, parsed.ContentLength, parsed.Header.Get("Content-Type"))
	}
	if got := parsed.Header.Get("User-Agent"); got != "hookledger/"+version {
		t.Errorf("User-Agent is %q", got)
	}
	signed, err := strconv.ParseInt(parsed.Header.Get("Webhook-Timestamp"), 10, 64)
	if err != nil {
		t.Errorf("webhook-timestamp: %v", err)
	}
	within(t, "webhook-timestamp", time.Unix(signed, 0), time.Now(), time.Minute)
	spec, err := specification()
	if err != nil {
		t.Fatal(err)
	}
	if err := apitest.New(t, spec).CheckDelivery(parsed.Header, q.Body()); err != nil {
		t.Errorf("the request is not what the specification says: %v\n%s", err, q.Raw())
	}
	return parsed
}

// The body and every header of a delivery, with metadata and without.
func TestContractReceiverGets(t *testing.T) {
	t.Parallel()
	c := common.get(t).account(t)
	r := receiver(t, nil)
	const data = `{"z":  [1, 2.50, 12345678901234567890.10e2],"a":"é\u00e9\/ <&>","z":null}`
	for metadata, tail := range map[string]string{`null`: `}`, `{"b": 1,"a":{"c":[]}}`: `,"metadata":{"b": 1,"a":{"c":[]}}}`} {
		before := len(r.Requests())
		made := c.post("/webhooks", `{"name":"n","url":"`+r.URL()+`/hook?a=1&b=%20","events":["export.ready"],"metadata":`+metadata+`}`).is(201)
		h := hook{made.str("webhook_id"), made.str("secret"), c}
		event := c.post("/events", `{"event":"export.ready","data":`+data+`,"created_at":"2026-01-02T03:04:05.678999+02:00"}`).is(202).str("events.0.id")
		delivery := c.delivery(event, "delivered")
		q := received(t, r, before+1)[before]
		parsed := headers(t, q, deliveryHeaders)
		if parsed.URL.String() != "/hook?a=1&b=%20" {
			t.Errorf("the target is %s", parsed.URL)
		}
		for name, want := range map[string]string{
			"X-Webhook-ID": h.id, "X-Delivery-ID": delivery, "Idempotency-Key": delivery, "webhook-id": delivery, "X-Event-Type": "export.ready",
		} {
			if got := q.Header(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		if attempts := c.get("/webhooks/deliveries/" + delivery + "/attempts").is(200); attempts.str("0.attempt_id") != q.Header("X-Delivery-Attempt-ID") {
			t.Errorf("X-Delivery-Attempt-ID is %s: %s", q.Header("X-Delivery-Attempt-ID"), attempts.body)
		}
		want := `{"id":"` + event + `","event":"export.ready","created_at":"2026-01-02T01:04:05.678Z","api_version":"2024-01","data":` + data + tail
		if string(q.Body()) != want {
			t.Errorf("the body is\n%s\nwant\n%s", q.Body(), want)
		}
		if err := q.Verify(h.secret); err != nil { // both signatures, written out anew in receivertest
			t.Error(err)
		}
		c.delete(h.path()).is(200)
	}
}

// After a rotation the new secret signs at once; with an overlap the old one
// signs webhook-signature as well until it ends, X-Webhook-Signature never.
func TestContractRotationOverlap(t *testing.T) {
	t.Parallel()
	c := common.get(t).account(t)
	r := receiver(t, nil)
	h := c.webhook(r.URL())
	next := func() *receivertest.Request {
		t.Helper()
		n := len(r.Requests())
		c.publish()
		return received(t, r, n+1)[n]
	}
	signatures := func(q *receivertest.Request) int { return len(strings.Fields(q.Header("webhook-signature"))) }
	rotate := func(body any) string {
		t.Helper()
		return c.post(h.path()+"/rotate-secret", body).is(200).str("new_secret")
	}

	second := rotate(nil) // the default is no overlap
	if q := next(); q.Verify(second) != nil || q.VerifyStandard(h.secret) == nil || signatures(q) != 1 {
		t.Errorf("after a rotation without overlap: %s", q.Raw())
	}
	third := rotate(object{"overlap_seconds": 7 * 24 * 3600})
	if q := next(); q.Verify(third) != nil || q.VerifyStandard(second) != nil || q.VerifyStandard(h.secret) == nil || q.Verify(second) == nil || signatures(q) != 2 {
		t.Errorf("during an overlap: %s", q.Raw())
	}
	fourth := rotate(object{"overlap_seconds": 0}) // after a leak nothing former signs
	if q := next(); q.Verify(fourth) != nil || q.VerifyStandard(third) == nil || signatures(q) != 1 {
		t.Errorf("after a rotation that ends overlaps: %s", q.Raw())
	}
	fifth := rotate(object{"overlap_seconds": 1})
	eventually(t, "the overlap to end", func() error {
		q := next()
		if err := q.Verify(fifth); err != nil {
			t.Error(err)
		}
		if n := signatures(q); n != 1 {
			return fmt.Errorf("%d signatures", n)
		}
		return q.VerifyStandard(fifth)
	})
	for _, bad := range []any{-1, 7*24*3600 + 1, 1.5, "1", nil} {
		c.post(h.path()+"/rotate-secret", object{"overlap_seconds": bad}).fails(422, "validation_failed")
	}
}

// Any 2xx is success. Anything else is not, and redirects are not followed.
func TestContractAny2xx(t *testing.T) {
	t.Parallel()
	c := common.get(t).account(t)
	r := receiver(t, func(q *receivertest.Request) receivertest.Answer {
		status, err := strconv.Atoi(strings.TrimPrefix(q.Target(), "/"))
		if err != nil {
			return receivertest.Answer{Status: 599}
		}
		return receivertest.Answer{Status: status, Header: []string{"Location: /elsewhere"}}
	})
	hooks := map[string]string{}
	statuses := []int{200, 201, 202, 203, 204, 205, 206, 226, 299, 300, 301, 302, 303, 304, 307, 308, 400, 401, 404, 409, 429, 500, 503, 599}
	for _, status := range statuses {
		hooks[c.webhook(fmt.Sprintf("%s/%d", r.URL(), status)).id] = strconv.Itoa(status)
	}
	event := c.publish()
	eventually(t, "every delivery's first try", func() error {
		a := c.get("/events/" + event + "?limit=100")
		if a.status != 200 || len(a.value("deliveries").([]any)) != len(statuses) || strings.Contains(string(a.body), `"status":"pending"`) {
			return fmt.Errorf("%d %.300s", a.status, a.body)
		}
		return nil
	})
	a := c.get("/events/" + event + "?limit=100").is(200)
	for i := range statuses {
		at := func(field string) string { return a.str(fmt.Sprintf("deliveries.%d.%s", i, field)) }
		status := hooks[at("webhook_id")]
		want := "retrying"
		if strings.HasPrefix(status, "2") {
			want = "delivered"
		}
		if at("status") != want || at("response_status_code") != status || at("attempts") != "1" {
			t.Errorf("an answer %s makes the delivery %s, attempts %s, code %s", status, at("status"), at("attempts"), at("response_status_code"))
		}
	}
	for _, q := range r.Requests() {
		if q.Target() == "/elsewhere" {
			t.Error("a redirect was followed")
		}
	}
	if r.Count() != len(statuses) {
		t.Errorf("%d requests, want %d", r.Count(), len(statuses))
	}
}

// A test event: its body and headers, signed, sent at once also while paused,
// reported, never retried, and no delivery.
func TestContractTestEvent(t *testing.T) {
	t.Parallel()
	c := common.get(t).account(t)
	r := switchedReceiver(t)
	h := c.webhook(r.URL(), object{"metadata": object{"m": 1}})
	c.patch(h.path(), object{"status": "paused"}).is(200)
	for i, status := range []int{200, 204, 302, 503} {
		a := c.with(fmt.Sprintf("Idempotency-Key: %d", i))
		r.status(status)
		got := a.post(h.path()+"/test", nil).is(200).members("", "success status_code error outcome duration_ms response_body")
		good := status < 300
		if got.str("success") != fmt.Sprint(good) || got.num("status_code") != status || (got.value("error") == nil) != good {
			t.Errorf("a receiver that answers %d: %s", status, got.body)
		}
		q := received(t, r.Receiver, i+1)[i]
		headers(t, q, slices.DeleteFunc(slices.Clone(deliveryHeaders), func(name string) bool {
			return name == "X-Delivery-Id" || name == "X-Delivery-Attempt-Id" || name == "Idempotency-Key"
		}))
		if err := q.Verify(h.secret); err != nil {
			t.Error(err)
		}
		id := q.Header("webhook-id")
		body := (&answer{t: t, about: "the test event", body: q.Body()}).members("", "id event created_at api_version data metadata")
		if !strings.HasPrefix(id, "evt_test_") || body.str("id") != id || body.str("event") != "test" || q.Header("X-Event-Type") != "test" || body.str("metadata.m") != "1" {
			t.Errorf("the test event is %s", q.Raw())
		}
		body.time("created_at")
		c.get("/events/"+id).fails(404, "resource_event_not_found")
	}
	refused := c.webhook("http://127.0.0.1:1/", object{"events": []string{"media.created"}})
	if a := c.post(refused.path()+"/test", nil).is(200); a.str("success") != "false" || a.value("status_code") != nil || a.str("error") == "" {
		t.Errorf("nobody listens: %s", a.body)
	}
	c.patch(h.path(), object{"status": "active"}).is(200)
	r.status(200)
	c.delivery(c.publish(), "delivered")
	if got := c.get(h.path() + "/deliveries").is(200); len(got.list()) != 1 || r.Count() != 5 {
		t.Errorf("a test is no delivery and is not retried: %d requests, %s", r.Count(), got.body)
	}
	if got := c.get(h.path()).is(200); got.str("failure_count") != "0" || got.value("last_failure_at") != nil {
		t.Errorf("a test counts: %s", got.body)
	}
}

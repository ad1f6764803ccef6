package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"hookledger/consumers/sender/receivertest"
)

// A PATCH sets what it names and leaves the rest; lists page by cursor.
func TestWebhooksAreKept(t *testing.T) {
	c := common.get(t).account(t)
	url := "https://receiver.example/hook"
	first := c.webhook(url, object{"index_ids": []string{"b", "a"}, "events": []string{"import_job.failed", "media.created"}})
	second := c.webhook(url)
	third := c.webhook(url, object{"index_ids": []string{}})

	got := c.get(first.path()).is(200)
	if got.str("events.0") != "import_job.failed" || got.str("index_ids.0") != "b" || got.str("status") != "active" || got.str("secret") != "" {
		t.Errorf("the webhook is %s", got.body)
	}
	tag := got.header.Get("ETag")
	c.with("If-None-Match: " + tag).get(first.path()).is(304)
	got = c.patch(first.path(), object{"index_ids": nil, "metadata": object{"k": "v"}, "name": "renamed"}).is(200)
	if got.value("index_ids") != nil || got.str("metadata.k") != "v" || got.str("name") != "renamed" || got.str("url") != url || got.str("events.1") != "media.created" {
		t.Errorf("after a PATCH the webhook is %s", got.body)
	}
	if got.time("updated_at").Before(got.time("created_at")) || got.header.Get("ETag") == tag {
		t.Errorf("after a PATCH: %s, ETag %s", got.body, got.header.Get("ETag"))
	}
	c.with("If-Match: "+tag).patch(first.path(), object{"name": "late"}).fails(412, "precondition_failed")
	c.with("If-Match: "+tag).post(first.path()+"/rotate-secret", nil).fails(412, "precondition_failed")
	c.with("If-Match: "+tag).delete(first.path()).fails(412, "precondition_failed")
	c.patch(first.path(), object{"status": "disabled"}).fails(422, "validation_failed")
	c.patch(first.path(), object{"metadata": nil}).is(200)
	if got := c.get(first.path()).is(200); got.value("metadata") != nil {
		t.Errorf("metadata was not cleared: %s", got.body)
	}

	var all []string
	path := "/webhooks?limit=2"
	for page := range 2 {
		a := c.get(path).is(200)
		for i := range a.list() {
			all = append(all, a.str(fmt.Sprintf("%d.webhook_id", i)))
		}
		next := a.header.Get("X-Next-Cursor")
		if (next == "") != (page == 1) || (next == "") != (a.header.Get("Link") == "") {
			t.Fatalf("page %d has X-Next-Cursor %q and Link %q", page, next, a.header.Get("Link"))
		}
		path = "/webhooks?limit=2&cursor=" + next
	}
	if want := []string{third.id, second.id, first.id}; !slices.Equal(all, want) {
		t.Errorf("the pages are %v, want %v", all, want)
	}
	if strings.Contains(string(c.get("/webhooks").is(200).body), "secret") {
		t.Error("a list shows secrets")
	}
}

// An event with an index goes to webhooks of that index or of all; one without
// goes to every webhook of its name.
func TestIndexFilter(t *testing.T) {
	c := common.get(t).account(t)
	r := receiver(t, nil)
	hooks := map[string]string{}
	for name, index := range map[string]any{"null": nil, "empty": []string{}, "a": []string{"a"}, "a,b": []string{"a", "b"}} {
		hooks[c.webhook(r.URL()+"/"+name, object{"index_ids": index}).id] = name
	}
	hooks[c.webhook(r.URL(), object{"events": []string{"media.created"}}).id] = "other name"
	for _, tc := range []struct {
		index any
		want  []string
	}{
		{nil, []string{"a", "a,b", "empty", "null"}},
		{"a", []string{"a", "a,b", "empty", "null"}},
		{"b", []string{"a,b", "empty", "null"}},
		{"c", []string{"empty", "null"}},
	} {
		var got []string
		for _, id := range c.deliveries(c.publish(object{"index_id": tc.index}), len(tc.want), "delivered") {
			got = append(got, hooks[c.get("/webhooks/deliveries/"+id).is(200).str("webhook_id")])
		}
		slices.Sort(got)
		if !slices.Equal(got, tc.want) {
			t.Errorf("index %v went to %v, want %v", tc.index, got, tc.want)
		}
	}
}

// While a webhook is paused nothing is sent and nothing lost; after the resume
// everything is started in the order of publication.
func TestPause(t *testing.T) {
	c := common.get(t).account(t)
	r, sentinel := receiver(t, nil), receiver(t, nil)
	h := c.webhook(r.URL(), object{"events": []string{"media.created"}})
	c.webhook(sentinel.URL())
	if got := c.patch(h.path(), object{"status": "paused"}).is(200); got.str("status") != "paused" {
		t.Errorf("paused: %s", got.body)
	}
	var want []string
	for n := range 8 {
		want = append(want, c.publish(object{"event": "media.created", "ordering_key": "k", "data": object{"n": n}}))
	}
	held := c.delivery(want[len(want)-1], "pending")
	c.delivery(c.publish(), "delivered") // to the other webhook, afterwards
	if r.Count() != 0 {
		t.Fatalf("a paused webhook got %d requests", r.Count())
	}
	if got := c.get(h.path() + "/deliveries?status=pending").is(200); len(got.list()) != len(want) {
		t.Errorf("%d deliveries are pending, want %d", len(got.list()), len(want))
	}
	if got := c.get("/webhooks/deliveries/" + held).is(200); got.str("attempts") != "0" || got.value("payload") == nil {
		t.Errorf("a held delivery is %s", got.body)
	}

	c.patch(h.path(), object{"status": "active"}).is(200)
	got := received(t, r, len(want))
	for _, id := range want {
		c.delivery(id, "delivered")
	}
	// An attempt's id counts up as attempts start.
	slices.SortFunc(got, func(a, b *receivertest.Request) int {
		return strings.Compare(a.Header("X-Delivery-Attempt-ID"), b.Header("X-Delivery-Attempt-ID"))
	})
	for i, q := range got {
		if !strings.Contains(string(q.Body()), want[i]) {
			t.Errorf("the attempt started as number %d is %s, want event %s", i, q.Body(), want[i])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d requests for %d events", len(got), len(want))
	}
}

// A deletion cancels, on the record, what was still to be delivered.
func TestDelete(t *testing.T) {
	c := common.get(t).account(t)
	r := receiver(t, func(*receivertest.Request) receivertest.Answer { return receivertest.Answer{Status: 500} })
	h := c.webhook(r.URL())
	retrying := c.delivery(c.publish(), "retrying")
	c.patch(h.path(), object{"status": "paused"}).is(200)
	pending := c.delivery(c.publish(), "pending")
	if got := c.delete(h.path()).is(200); got.str("message") == "" {
		t.Errorf("deleted: %s", got.body)
	}
	for id, attempts := range map[string]string{retrying: "1", pending: "0"} {
		d := c.becomes(id, "failed")
		if d.str("end") != "cancelled" || d.str("attempts") != attempts || d.value("next_retry_at") != nil || d.value("payload") == nil || d.str("completed_at") == "" {
			t.Errorf("after the deletion: %s", d.body)
		}
		c.post("/webhooks/deliveries/"+id+"/retry", nil).fails(409, "delivery_webhook_deleted")
	}
	c.get(h.path()).fails(404, "resource_webhook_not_found")
	c.get(h.path()+"/deliveries").fails(404, "resource_webhook_not_found")
	c.patch(h.path(), object{"name": "x"}).fails(404, "resource_webhook_not_found")
	c.delete(h.path()).fails(404, "resource_webhook_not_found")
	if r.Count() != 1 {
		t.Errorf("the receiver got %d requests, want 1", r.Count())
	}
}

// After a rotation the new secret signs; with an overlap the old one does as well.
func TestRotation(t *testing.T) {
	c := common.get(t).account(t)
	for _, overlap := range []int{0, 600} {
		t.Run(fmt.Sprint(overlap), func(t *testing.T) {
			c := *c
			c.t = t
			r := receiver(t, nil)
			h := c.webhook(r.URL())
			a := c.post(h.path()+"/rotate-secret", object{"overlap_seconds": overlap}).is(200)
			secret := a.str("new_secret")
			if secret == h.secret || a.str("webhook_id") != h.id {
				t.Errorf("rotated: %s", a.body)
			}
			c.publish()
			q := received(t, r, 1)[0]
			if err := q.Verify(secret); err != nil {
				t.Errorf("with the new secret: %v", err)
			}
			if err := q.VerifyStandard(h.secret); (err == nil) != (overlap > 0) {
				t.Errorf("with the old secret, overlap %d: %v", overlap, err)
			}
			if err := q.Verify(h.secret); err == nil {
				t.Error("X-Webhook-Signature is the old secret's")
			}
			c.delete(h.path()).is(200)
		})
	}
}

// A test event is signed, sent at once, reported, and never retried.
func TestTestEvent(t *testing.T) {
	c := common.get(t).account(t)
	status := make(chan int, 2)
	status <- 200
	status <- 503
	r := receiver(t, func(*receivertest.Request) receivertest.Answer {
		return receivertest.Answer{Status: <-status, Body: "pong"}
	})
	h := c.webhook(r.URL(), object{"metadata": object{"m": 1}})
	c.patch(h.path(), object{"status": "paused"}).is(200) // one tests before one resumes
	if a := c.post(h.path()+"/test", nil).is(200); a.str("success") != "true" || a.str("status_code") != "200" || a.value("error") != nil || a.str("response_body") != "pong" {
		t.Errorf("answered %s", a.body)
	}
	q := r.Requests()[0]
	if err := q.Verify(h.secret); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"X-Delivery-ID", "X-Delivery-Attempt-ID", "Idempotency-Key"} {
		if q.Header(name) != "" {
			t.Errorf("a test event has the header %s", name)
		}
	}
	id := q.Header("webhook-id")
	if signed, err := strconv.ParseInt(q.Header("webhook-timestamp"), 10, 64); err != nil {
		t.Error(err)
	} else {
		within(t, "the signature's time", time.Unix(signed, 0), time.Now(), time.Minute)
	}
	if !strings.HasPrefix(id, "evt_test_") || !strings.HasPrefix(string(q.Body()), `{"id":"`+id+`","event":"test","created_at":"`) ||
		!strings.HasSuffix(string(q.Body()), `,"metadata":{"m":1}}`) || q.Header("X-Event-Type") != "test" {
		t.Errorf("a test event is %s", q.Raw())
	}
	if a := c.post(h.path()+"/test", object{}).is(200); a.str("success") != "false" || a.str("status_code") != "503" || a.str("error") == "" {
		t.Errorf("answered %s", a.body)
	}
	dead := c.webhook("http://127.0.0.1:1/")
	if a := c.post(dead.path()+"/test", nil).is(200); a.str("success") != "false" || a.value("status_code") != nil || a.str("outcome") != "refused" {
		t.Errorf("answered %s", a.body)
	}
	if got := c.get(h.path() + "/deliveries").is(200); len(got.list()) != 0 {
		t.Errorf("a test is no delivery: %s", got.body)
	}
	c.get("/events/"+id).fails(404, "resource_event_not_found")
	if r.Count() != 2 {
		t.Errorf("the receiver got %d requests, want 2", r.Count())
	}
}

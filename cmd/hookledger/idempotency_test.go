package main

import (
	"bytes"
	"fmt"
	"testing"

	"hookledger/consumers/sender/receivertest"
)

// again sends a request twice under one key, expects the same answer, the second
// as a replay, and that another body under the key is refused.
func again(t *testing.T, c *caller, method, path string, status int, body, other any) *answer {
	t.Helper()
	keyed := c.with("Idempotency-Key: " + t.Name() + " " + path)
	first := keyed.do(method, path, body).is(status)
	second := keyed.do(method, path, body).is(status)
	if !bytes.Equal(first.body, second.body) {
		t.Errorf("%s %s: the replay is\n%s\nwant\n%s", method, path, second.body, first.body)
	}
	if first.header.Get("Idempotency-Replayed") != "" || second.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("%s %s: Idempotency-Replayed is %q, then %q", method, path, first.header.Get("Idempotency-Replayed"), second.header.Get("Idempotency-Replayed"))
	}
	if other != nil {
		keyed.do(method, path, other).fails(409, "idempotency_request_mismatch")
	}
	return first
}

func TestIdempotency(t *testing.T) {
	s := common.get(t)
	c := s.account(t)
	// One event is delivered by the second try, that a retry asks for.
	r := receiver(t, func(q *receivertest.Request) receivertest.Answer {
		if q.Header("X-Event-Type") == "media.created" {
			return receivertest.Answer{Status: 500}
		}
		return receivertest.Answer{}
	})
	create := object{"name": "n", "url": r.URL(), "events": []string{"export.ready", "media.created"}, "metadata": object{"a": 1}}
	different := object{"name": "other", "url": r.URL(), "events": []string{"export.ready"}}
	made := again(t, c, "POST", "/webhooks", 201, create, different)
	h := hook{made.str("webhook_id"), made.str("secret"), c}
	if got := c.get("/webhooks").is(200); len(got.list()) != 1 {
		t.Errorf("webhooks after a repeated create: %s", got.body)
	}

	rotated := again(t, c, "POST", h.path()+"/rotate-secret", 200, object{"overlap_seconds": 5}, object{"overlap_seconds": 6})
	again(t, c, "PATCH", h.path(), 200, object{"name": "patched"}, object{"name": "otherwise"})
	if got := c.get(h.path()).is(200); got.str("version") != "3" {
		t.Errorf("after one rotation and one PATCH, each said twice: %s", got.body)
	}
	again(t, c, "POST", h.path()+"/test", 200, object{}, nil)
	if r.Count() != 1 {
		t.Errorf("a test event said twice was sent %d times", r.Count())
	}
	if err := r.Requests()[0].Verify(rotated.str("new_secret")); err != nil {
		t.Error(err)
	}

	// Publishing: the same key is the same events, once.
	batch := []object{{"event": "export.ready", "data": object{"n": 1}}, {"event": "export.ready", "data": object{"n": 2}}}
	keyed := c.with("Idempotency-Key: batch")
	events := keyed.post("/events", batch).is(202)
	repeat := keyed.post("/events", batch).is(202)
	for i := range 2 {
		id := events.str(fmt.Sprintf("events.%d.id", i))
		if got := repeat.str(fmt.Sprintf("events.%d.id", i)); got != id {
			t.Errorf("event %d under the same key is %s, then %s", i, id, got)
		}
		c.delivery(id, "delivered")
	}
	// An id given twice is one event, and the first content stands.
	c.publish(object{"id": "mine", "data": object{"n": 1}})
	c.publish(object{"id": "mine", "data": object{"n": 1}})
	if a := c.post("/events", object{"id": "mine", "event": "export.ready", "data": object{"n": 2}}); a.status != 202 {
		a.fails(409, "event_id_conflict")
	}
	c.delivery(c.publish(object{"ordering_key": "sentinel"}), "delivered")
	failing := c.delivery(c.publish(object{"event": "media.created"}), "retrying")
	c.delivery("mine", "delivered")
	if got := c.get("/events/mine").is(200); got.str("data.n") != "1" {
		t.Errorf("the event is %s, want its first content", got.body)
	}

	again(t, c, "POST", "/webhooks/deliveries/"+failing+"/retry", 200, nil, nil)
	eventually(t, "the second try", func() error {
		if got := c.get("/webhooks/deliveries/" + failing).is(200); got.str("attempts") != "2" {
			return fmt.Errorf("%s", got.body)
		}
		return nil
	})
	// 1 test, 2 of the batch, 1 mine, 1 sentinel, 2 tries of the failing one.
	if r.Count() != 7 {
		for _, q := range r.Requests() {
			t.Logf("%s %s", q.Header("X-Event-Type"), q.Body())
		}
		t.Errorf("the receiver got %d requests, want 7", r.Count())
	}

	// After a deletion the same key and body makes a webhook anew.
	c.delete(h.path()).is(200)
	anew := c.with("Idempotency-Key: "+t.Name()+" /webhooks").post("/webhooks", create).is(201)
	if anew.str("webhook_id") == h.id || anew.str("secret") == h.secret || anew.header.Get("Idempotency-Replayed") != "" {
		t.Errorf("created after the deletion: %s", anew.body)
	}
	again(t, c, "POST", "/api-keys", 201, object{"name": "k"}, object{"name": "other"})
	if got := c.get("/api-keys").is(200); len(got.list()) != 1 {
		t.Errorf("API keys after a repeated create: %s", got.body)
	}
}

// While the first call is unanswered, a repeat is a conflict.
func TestIdempotentCallInProgress(t *testing.T) {
	c := common.get(t).account(t)
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	r := receiver(t, func(*receivertest.Request) receivertest.Answer {
		arrived <- struct{}{}
		<-release
		return receivertest.Answer{}
	})
	h := c.webhook(r.URL())
	keyed := c.with("Idempotency-Key: k")
	answered := make(chan *answer)
	go func() {
		a, err := keyed.try("POST", h.path()+"/test", nil)
		if err != nil {
			t.Error(err)
		}
		answered <- a
	}()
	<-arrived
	keyed.post(h.path()+"/test", nil).fails(409, "idempotency_in_progress")
	close(release)
	first := <-answered
	if second := keyed.post(h.path()+"/test", nil).is(200); first == nil || !bytes.Equal(first.body, second.body) || r.Count() != 1 {
		t.Errorf("after the answer: %s, %d requests", second.body, r.Count())
	}
}

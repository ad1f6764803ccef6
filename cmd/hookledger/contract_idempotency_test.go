package main

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"hookledger/consumers/sender/receivertest"
)

// repeatable is a POST or PATCH as a client sends it under a key.
type repeatable struct {
	name, method, path string
	status             int
	body, other        any // other is another body under the same key
}

// repeats is everything of an account that the tests of idempotency call, and
// what those calls may change once only.
type repeats struct {
	h                hook
	r                *receivertest.Receiver
	failing          string // a delivery that its receiver refuses
	rotated, revoked string // API keys
	calls            []repeatable
}

// refuses media.created, so that there is something to retry.
func refusesMedia(q *receivertest.Request) receivertest.Answer {
	if q.Header("X-Event-Type") == "media.created" {
		return receivertest.Answer{Status: 500}
	}
	return receivertest.Answer{Body: "thanks"}
}

// newRepeats prepares an account for one round of every POST and PATCH.
func newRepeats(t *testing.T, c *caller) *repeats {
	t.Helper()
	f := &repeats{r: receiver(t, refusesMedia)}
	f.h = c.webhook(f.r.URL(), object{"events": []string{"export.ready", "media.created"}})
	f.failing = c.delivery(c.publish(object{"event": "media.created"}), "retrying")
	f.rotated = c.post("/api-keys", object{"name": "rotated", "scopes": []string{"write"}, "expires_in_days": 3}).is(201).str("key_id")
	f.revoked = c.post("/api-keys", object{"name": "revoked"}).is(201).str("key_id")
	hook := func(name string) object {
		return object{"name": name, "url": f.r.URL(), "events": []string{"import_job.failed"}, "metadata": object{"a": 1}}
	}
	f.calls = []repeatable{
		{"create", "POST", "/webhooks", 201, hook("one"), hook("other")},
		{"patch", "PATCH", f.h.path(), 200, object{"name": "patched", "metadata": object{"b": 2}}, object{"name": "otherwise"}},
		{"rotate", "POST", f.h.path() + "/rotate-secret", 200, object{"overlap_seconds": 600}, object{"overlap_seconds": 0}},
		{"test", "POST", f.h.path() + "/test", 200, nil, object{}},
		{"retry", "POST", "/webhooks/deliveries/" + f.failing + "/retry", 200, nil, object{}},
		{"create key", "POST", "/api-keys", 201, object{"name": "key", "expires_in_days": 1}, object{"name": "key"}},
		{"rotate key", "POST", "/api-keys/" + f.rotated + "/rotate", 200, nil, object{}},
		{"revoke key", "POST", "/api-keys/" + f.revoked + "/revoke", 200, nil, object{}},
		{"publish", "POST", "/events", 202, []object{{"event": "export.ready", "data": object{"n": 1}}, {"event": "export.ready", "data": object{"n": 2}}}, nil},
	}
	return f
}

// send makes a call under its key, again while the answer is 503.
func (p repeatable) send(c *caller, body any) *answer {
	c.t.Helper()
	var a *answer
	eventually(c.t, p.name+" to be answered", func() error {
		a = c.with("Idempotency-Key: key of "+p.name).do(p.method, p.path, body)
		return a.late()
	})
	return a
}

// once checks that whatever was repeated happened once.
func (f *repeats) once(t *testing.T, c *caller) {
	t.Helper()
	if got := c.get("/webhooks").is(200); len(got.list()) != 2 {
		t.Errorf("%d webhooks, want 2", len(got.list()))
	}
	if got := c.get("/api-keys").is(200); len(got.list()) != 4 {
		t.Errorf("%d API keys, want 4: two, one created, and the one of the rotation", len(got.list()))
	}
	if got := c.get(f.h.path()).is(200); got.str("version") != "3" || got.str("name") != "patched" {
		t.Errorf("after one PATCH and one rotation: %s", got.body)
	}
	eventually(t, "the retry's try", func() error {
		if got := c.read("/webhooks/deliveries/" + f.failing); got.str("attempts") != "2" {
			return fmt.Errorf("%s", got.body)
		}
		return nil
	})
	c.delivery(c.publish(object{"data": object{"n": "sentinel"}}), "delivered")
	want := map[string]int{"test": 1, "media.created": 2, `"data":{"n":1}`: 1, `"data":{"n":2}`: 1}
	got := map[string]int{}
	for _, q := range f.r.Requests() {
		got[q.Header("X-Event-Type")]++
		for what := range want {
			if strings.Contains(string(q.Body()), what) && strings.HasPrefix(what, `"`) {
				got[what]++
			}
		}
	}
	for what, n := range want {
		if got[what] != n {
			t.Errorf("%s arrived %d times, want %d", what, got[what], n)
		}
	}
}

// isReplay checks that an answer is the first one again.
func (p repeatable) isReplay(t *testing.T, what string, got, first *answer) {
	t.Helper()
	if got.status != first.status || !bytes.Equal(got.body, first.body) {
		t.Errorf("%s, %s: answered %d\n%s\nwant the first answer, %d\n%s", p.name, what, got.status, got.body, first.status, first.body)
	}
	replayed := "true"
	if p.name == "publish" { // the same events, by their ids: nobody has to know the first request
		replayed = ""
	}
	if got.header.Get("Idempotency-Replayed") != replayed {
		t.Errorf("%s, %s: Idempotency-Replayed is %q, want %q", p.name, what, got.header.Get("Idempotency-Replayed"), replayed)
	}
	for _, name := range []string{"ETag", "Location"} {
		if got.header.Get(name) != first.header.Get(name) {
			t.Errorf("%s, %s: %s is %q, the first was %q", p.name, what, name, got.header.Get(name), first.header.Get(name))
		}
	}
}

// The same key and body gives the first answer again, byte by byte, though the
// world has moved on; another body is refused; and all happens once.
func TestContractIdempotency(t *testing.T) {
	t.Parallel()
	c := common.get(t).account(t)
	f := newRepeats(t, c)
	first := map[string]*answer{}
	for _, p := range f.calls {
		first[p.name] = p.send(c, p.body).is(p.status)
		if first[p.name].header.Get("Idempotency-Replayed") != "" {
			t.Errorf("%s: the first answer says that it is a replay", p.name)
		}
		p.isReplay(t, "at once", p.send(c, p.body), first[p.name])
	}
	f.once(t, c)

	// What the answers showed is not so any more.
	made := "/webhooks/" + first["create"].str("webhook_id")
	c.patch(made, object{"name": "renamed", "status": "paused"}).is(200)
	key := common.get(t).as(t, first["create key"].str("key"))
	key.get("/webhooks").is(200)
	c.post("/api-keys/"+first["create key"].str("key_id")+"/revoke", nil).is(200)
	c.delete("/api-keys/" + f.rotated).is(200)
	eventually(t, "the webhook's figures to be others", func() error {
		if got := c.get(f.h.path()).is(200); got.str("last_success_at") == first["patch"].str("last_success_at") {
			return fmt.Errorf("%s", got.body)
		}
		return nil
	})
	for _, p := range f.calls {
		p.isReplay(t, "later", p.send(c, p.body), first[p.name])
		if p.other != nil {
			p.send(c, p.other).fails(409, "idempotency_request_mismatch")
		}
	}
	if got := c.get(made).is(200); got.str("name") != "renamed" {
		t.Errorf("a replayed create undid what came after it: %s", got.body)
	}
	// A key is the account's: the same one is another's in another account, and
	// for another call it is used.
	other := common.get(t).as(t, common.get(t).token(t, t.Name()+"/other", "admin"))
	if a := f.calls[0].send(other, f.calls[0].body).is(201); bytes.Equal(a.body, first["create"].body) || a.header.Get("Idempotency-Replayed") != "" {
		t.Errorf("another account's key is a replay: %s", a.body)
	}
	c.with("Idempotency-Key: key of create").patch(made, object{"name": "x"}).fails(409, "idempotency_request_mismatch")
	// What was refused takes no key.
	refused := c.with("Idempotency-Key: refused")
	refused.post("/webhooks", object{"name": ""}).fails(422, "validation_failed")
	refused.post("/webhooks/wh_x/test", nil).fails(404, "resource_webhook_not_found")
	refused.patch(made, object{"name": "after"}).is(200)
}

// Twins at the same time: one happens, and all get its answer; of a test or a
// retry, those that come while it is unanswered get 409.
func TestContractIdempotentTwins(t *testing.T) {
	t.Parallel()
	c := common.get(t).account(t)
	f := newRepeats(t, c)
	for _, p := range f.calls {
		first := twins(t, p, c, c, c, c, c, c)
		p.isReplay(t, "after its twins", p.send(c, p.body), first)
	}
	f.once(t, c)
}

// twins sends a call by several callers at once, and returns the one answer.
func twins(t *testing.T, p repeatable, callers ...*caller) *answer {
	t.Helper()
	answers := make([]*answer, len(callers))
	var all sync.WaitGroup
	for i, c := range callers {
		all.Go(func() {
			var err error
			if answers[i], err = c.with("Idempotency-Key: key of "+p.name).try(p.method, p.path, p.body); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	var first *answer
	originals := 0
	for _, a := range answers {
		switch {
		case a == nil:
			t.FailNow()
		case a.status == 409 && (p.name == "test" || p.name == "retry"):
			a.fails(409, "idempotency_in_progress")
			continue
		case a.status == 503 && p.name == "retry": // the history is late, and nothing happened
			a.fails(503, "history_unavailable")
			continue
		default:
			a.is(p.status)
		}
		if a.header.Get("Idempotency-Replayed") == "" {
			originals++
		}
		if first == nil {
			first = a
		} else if !bytes.Equal(a.body, first.body) {
			t.Errorf("%s: twins are answered\n%s\n%s", p.name, a.body, first.body)
		}
	}
	if first == nil || originals != 1 && p.name != "publish" {
		t.Fatalf("%s: %d of %d twins say that they are the first", p.name, originals, len(callers))
	}
	return first
}

// After a deletion the same create key and body makes a webhook (or an API key)
// anew, with a fresh secret.
func TestContractIdempotencyAfterDeletion(t *testing.T) {
	t.Parallel()
	c := common.get(t).account(t)
	keyed := c.with("Idempotency-Key: again")
	body := object{"name": "n", "url": "https://receiver.example/", "events": []string{"export.ready"}}
	seen := map[string]bool{}
	for range 3 {
		a := keyed.post("/webhooks", body).is(201)
		id, secret := a.str("webhook_id"), a.str("secret")
		if a.header.Get("Idempotency-Replayed") != "" || seen[id] || seen[secret] {
			t.Errorf("created after a deletion: %s", a.body)
		}
		seen[id], seen[secret] = true, true
		if b := keyed.post("/webhooks", body).is(201); !bytes.Equal(a.body, b.body) || b.header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("repeated: %s, want %s", b.body, a.body)
		}
		patch := c.with("Idempotency-Key: patch")
		patch.patch("/webhooks/"+id, object{"name": "m"}).is(200)
		c.delete("/webhooks/" + id).is(200)
		patch.patch("/webhooks/"+id, object{"name": "m"}).fails(404, "resource_webhook_not_found")
	}
	keyed = c.with("Idempotency-Key: api key")
	first := keyed.post("/api-keys", object{"name": "k"}).is(201)
	c.delete("/api-keys/" + first.str("key_id")).is(200)
	if a := keyed.post("/api-keys", object{"name": "k"}).is(201); a.str("key") == first.str("key") || a.header.Get("Idempotency-Replayed") != "" {
		t.Errorf("an API key made after a deletion: %s", a.body)
	}
}

// On POST /events the key becomes the ids of the events that bring none. An id
// or key that was used keeps its first content; the other goes to the dead
// letters, named.
func TestContractIdempotentEvents(t *testing.T) {
	t.Parallel()
	s := common.get(t)
	c := s.account(t)
	r := receiver(t, nil)
	c.webhook(r.URL())
	keyed := c.with("Idempotency-Key: events")
	event := func(n int, more object) object {
		e := object{"event": "export.ready", "data": object{"n": n}}
		maps.Copy(e, more)
		return e
	}
	mine := t.Name() + "-mine"
	first := keyed.post("/events", []object{event(1, nil), event(2, object{"id": mine}), event(3, nil)}).is(202)
	ids := []string{first.str("events.0.id"), first.str("events.1.id"), first.str("events.2.id")}
	if ids[1] != mine || !strings.HasPrefix(ids[0], "evt_") || ids[0] == ids[2] {
		t.Errorf("the ids are %v", ids)
	}
	for _, id := range ids {
		c.delivery(id, "delivered")
	}
	// Another body under the key: the same ids, so the first content stands.
	changed := keyed.post("/events", []object{event(10, nil), event(20, object{"id": mine}), event(30, nil)})
	if changed.status == 409 {
		changed.fails(409, "event_id_conflict")
	} else {
		for i, id := range ids {
			if got := changed.is(202).str(fmt.Sprintf("events.%d.id", i)); got != id {
				t.Errorf("event %d under the same key is %s, then %s", i, id, got)
			}
		}
		log := logOf(t, s)
		eventually(t, "the other content among the dead letters", func() error {
			letters, err := deadLetters(t.Context(), log)
			if err != nil {
				return err
			}
			values := slices.Collect(maps.Values(letters))
			for _, n := range []int{10, 20, 30} {
				if !slices.Contains(values, fmt.Sprintf(`{"n":%d}`, n)) {
					return fmt.Errorf("%d is not there", n)
				}
			}
			return nil
		})
	}
	c.delivery(c.publish(object{"data": object{"n": "sentinel"}}), "delivered")
	for i, id := range ids {
		if got := c.get("/events/" + id).is(200); got.num("data.n") != i+1 {
			t.Errorf("event %s is %s, want its first content", id, got.body)
		}
	}
	if r.Count() != 4 {
		t.Errorf("the receiver got %d requests, want 4", r.Count())
	}
}

// SIGKILL between a request and its repeat changes nothing; a call that was
// unanswered then is 409 for its minute.
func TestContractIdempotencyAcrossRestarts(t *testing.T) {
	t.Parallel()
	dir := newDataDir(t)
	flags := append(slices.Clone(openFlags), "--retry-schedule", "1h,1h")
	s := startServer(t, dir, flags...)
	c := s.account(t)
	f := newRepeats(t, c)
	first := map[string]*answer{}
	for _, p := range f.calls {
		first[p.name] = p.send(c, p.body).is(p.status)
	}
	arrived := make(chan struct{}, 1)
	silent := receiver(t, func(*receivertest.Request) receivertest.Answer {
		arrived <- struct{}{}
		return receivertest.Answer{Silent: true, Then: receivertest.Hang}
	})
	hung := c.webhook(silent.URL(), object{"events": []string{"import_job.started"}})
	var cut sync.WaitGroup
	cut.Go(func() { _, _ = c.with("Idempotency-Key: unanswered").try("POST", hung.path()+"/test", nil) })
	<-arrived
	s.kill()
	cut.Wait()

	s = startServer(t, dir, flags...)
	c.server = s
	for _, p := range f.calls {
		p.isReplay(t, "after a crash", p.send(c, p.body), first[p.name])
		if p.other != nil {
			p.send(c, p.other).fails(409, "idempotency_request_mismatch")
		}
	}
	c.with("Idempotency-Key: unanswered").post(hung.path()+"/test", nil).fails(409, "idempotency_in_progress")
	c.delete(hung.path()).is(200)
	f.once(t, c)
	if silent.Count() != 1 {
		t.Errorf("the unanswered test event was sent %d times", silent.Count())
	}
}

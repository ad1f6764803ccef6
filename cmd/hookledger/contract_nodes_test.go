package main

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
)

// join runs a second node, with the API alone, on the broker, engine and keys of
// a server.
func (s *server) join(t *testing.T) *server {
	t.Helper()
	return startServer(t, "", append(slices.Clone(openFlags), "--join", s.dir, "--node", "second", "--roles", "api")...)
}

// What holds on one node holds across two: twins, repeats, races of PATCHes, and
// the places of lists. When the log goes away, the answer is 503.
func TestContractAcrossNodes(t *testing.T) {
	t.Parallel()
	first := startServer(t, "", append(slices.Clone(openFlags), "--retry-schedule", "1h,1h")...)
	second := first.join(t)
	a := first.account(t)
	b := second.as(t, first.token(t, t.Name(), "admin"))
	f := newRepeats(t, a)
	for _, p := range f.calls {
		answered := twins(t, p, a, b, a, b, a, b)
		p.isReplay(t, "on the first node", p.send(a, p.body), answered)
		p.isReplay(t, "on the second node", p.send(b, p.body), answered)
		if p.other != nil {
			p.send(b, p.other).fails(409, "idempotency_request_mismatch")
		}
	}
	f.once(t, a)

	// After a deletion on one node, the create is anew on the other, at once.
	keyed := func(c *caller) *caller { return c.with("Idempotency-Key: anew") }
	body := object{"name": "n", "url": "https://receiver.example/", "events": []string{"export.ready"}}
	made := keyed(a).post("/webhooks", body).is(201)
	for _, c := range []*caller{b, a, b} {
		c.delete("/webhooks/" + made.str("webhook_id")).is(200)
		anew := keyed(c).post("/webhooks", body).is(201)
		if anew.str("secret") == made.str("secret") || anew.header.Get("Idempotency-Replayed") != "" {
			t.Errorf("created after a deletion: %s", anew.body)
		}
		if again := keyed(a).post("/webhooks", body).is(201); !bytes.Equal(again.body, anew.body) {
			t.Errorf("the other node answers %s, want %s", again.body, anew.body)
		}
		made = anew
	}

	// PATCHes that race on both nodes are judged again, and none is lost.
	path := "/webhooks/" + made.str("webhook_id")
	changes := []object{{"name": "raced"}, {"metadata": object{"a": 1}}, {"index_ids": []string{"i"}}, {"events": []string{"media.created"}}}
	for range 5 {
		var all sync.WaitGroup
		for i, change := range changes {
			c := []*caller{a, b}[i%2]
			all.Go(func() {
				if got, err := c.try("PATCH", path, change); err != nil || got.status != http.StatusOK {
					t.Errorf("a PATCH that raced: %v, %+v", err, got)
				}
			})
		}
		all.Wait()
	}
	got := b.get(path).is(200)
	if got.str("version") != "21" || got.str("name") != "raced" || got.str("metadata.a") != "1" || got.str("index_ids.0") != "i" || got.str("events.0") != "media.created" {
		t.Errorf("after the races: %s", got.body)
	}
	a.with("If-Match: "+got.header.Get("ETag")).patch(path, object{"name": "x"}).is(200)
	b.with("If-Match: "+got.header.Get("ETag")).patch(path, object{"name": "y"}).fails(412, "precondition_failed")

	// A cursor of one node is good on the other.
	cursor := a.get("/webhooks?limit=1").is(200).header.Get("X-Next-Cursor")
	if rest := b.get("/webhooks?cursor=" + cursor).is(200); len(rest.list()) != 2 {
		t.Errorf("the rest of the list is %s", rest.body)
	}

	first.kill()
	eventually(t, "the second node to say that the log is away", func() error {
		got := b.get("/webhooks")
		if got.status != 503 {
			return fmt.Errorf("%d %s", got.status, got.body)
		}
		got.fails(503, "log_unavailable")
		if got.header.Get("Retry-After") == "" || got.num("error.retry_after") < 1 {
			t.Errorf("503 without Retry-After: %v %s", got.header, got.body)
		}
		return nil
	})
}

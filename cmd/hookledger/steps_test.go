package main

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"hookledger/consumers/sender/receivertest"
)

// What the tests do again and again.

// object is a JSON object to send.
type object = map[string]any

// receiver is a receiver of the test's own that keeps what it gets.
func receiver(t *testing.T, respond func(*receivertest.Request) receivertest.Answer) *receivertest.Receiver {
	t.Helper()
	r, err := receivertest.Start(receivertest.Options{Respond: respond, Keep: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// hook is a webhook that a test made.
type hook struct {
	id, secret string
	c          *caller
}

// webhook creates one for export.ready; fields change what is sent.
func (c *caller) webhook(url string, fields ...object) hook {
	c.t.Helper()
	body := object{"name": "exports", "url": url, "events": []string{"export.ready"}}
	for _, f := range fields {
		maps.Copy(body, f)
	}
	a := c.post("/webhooks", body).is(201)
	return hook{a.str("webhook_id"), a.str("secret"), c}
}

func (h hook) path() string { return "/webhooks/" + h.id }

// publish sends one export.ready event; fields change it. It returns the event's id.
func (c *caller) publish(fields ...object) string {
	c.t.Helper()
	body := object{"event": "export.ready", "data": object{"export_id": "exp_1"}}
	for _, f := range fields {
		maps.Copy(body, f)
	}
	return c.post("/events", body).is(202).str("events.0.id")
}

// deliveries waits until an event's history shows n deliveries that are so.
func (c *caller) deliveries(event string, n int, status string) []string {
	c.t.Helper()
	var found []string
	eventually(c.t, fmt.Sprintf("%d deliveries of %s to be %s", n, event, status), func() error {
		a := c.get("/events/" + event)
		if a.status == 404 {
			return fmt.Errorf("the event is not in the history yet")
		}
		if err := a.late(); err != nil {
			return err
		}
		a.is(200)
		found = nil
		list, _ := a.value("deliveries").([]any)
		for i := range list {
			if a.str(fmt.Sprintf("deliveries.%d.status", i)) == status {
				found = append(found, a.str(fmt.Sprintf("deliveries.%d.delivery_id", i)))
			}
		}
		if len(found) != n || len(list) != n {
			return fmt.Errorf("%s", a.body)
		}
		return nil
	})
	return found
}

// delivery is deliveries for the one that an event has.
func (c *caller) delivery(event, status string) string {
	c.t.Helper()
	return c.deliveries(event, 1, status)[0]
}

// becomes waits until a delivery is so, and returns it.
func (c *caller) becomes(delivery, status string) *answer {
	c.t.Helper()
	var a *answer
	eventually(c.t, delivery+" to be "+status, func() error {
		a = c.get("/webhooks/deliveries/" + delivery)
		if err := a.late(); err != nil {
			return err
		}
		if a.is(200).str("status") != status {
			return fmt.Errorf("it is %s", a.body)
		}
		return nil
	})
	return a
}

// received waits until a receiver has got n requests and returns all of them.
func received(t *testing.T, r *receivertest.Receiver, n int) []*receivertest.Request {
	t.Helper()
	eventually(t, fmt.Sprintf("%d requests", n), func() error {
		if got := len(r.Requests()); got < n {
			return fmt.Errorf("%d have arrived", got)
		}
		return nil
	})
	return r.Requests()
}

// within fails the test if a time is further than d from another.
func within(t testing.TB, what string, got, want time.Time, d time.Duration) {
	t.Helper()
	if diff := got.Sub(want).Abs(); diff > d {
		t.Errorf("%s is %s, %s from %s", what, got, diff, want)
	}
}

// quantile of durations, by rank.
func quantile(d []time.Duration, q float64) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[min(int(q*float64(len(d))), len(d)-1)]
}

package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"hookledger/consumers/router"
	"hookledger/consumers/sender/receivertest"
	"hookledger/ledger"
	"hookledger/ledger/ids"
)

var nodesTimes = flag.Int("nodes.times", 50, "how often TestNodesObey makes each change")

// A change that one node acknowledged is obeyed by all: an event that is
// published on another node right after it is matched, signed, held or passed
// over as the change says. What must not come is shown by what must: the same
// event at a webhook that gets everything, and then the history's word on all
// that was matched.
func TestNodesObey(t *testing.T) {
	c := startCluster(t, "--session-timeout", "6s")
	token := c.nodes[0].ok(t, "", "token --life 24h --account obey")
	o := &obedience{t: t, got: map[string][]*receivertest.Request{}, by: c.as(t, token), dice: rand.New(rand.NewPCG(1, 2))}
	r := receiver(t, func(q *receivertest.Request) receivertest.Answer {
		q = q.Clone()
		o.mu.Lock()
		defer o.mu.Unlock()
		key := q.Header("X-Webhook-ID")
		o.got[key] = append(o.got[key], q)
		return receivertest.Answer{}
	})
	o.url = r.URL()
	o.watch = o.by[0].webhook(o.url)
	for _, one := range []struct {
		name string
		do   func(*testing.T)
	}{
		{"create", o.create},
		{"pause and resume", o.pause},
		{"rotate", o.rotate},
		{"delete", o.remove},
		{"revoke", o.revoke},
	} {
		t.Run(one.name, func(t *testing.T) {
			o.t = t
			for n := range o.by {
				caller := *o.by[n]
				caller.t = t
				o.by[n] = &caller
			}
			began := time.Now()
			for range *nodesTimes {
				if one.do(t); t.Failed() {
					return
				}
			}
			if len(o.absent) > 0 {
				o.settled(c.nodes[0])
			}
			t.Logf("%d times in %s", *nodesTimes, time.Since(began).Round(time.Millisecond))
		})
	}
	t.Logf("%d requests received", r.Count())
}

// obedience is what the changes are held against.
type obedience struct {
	t     *testing.T
	url   string
	by    [3]*caller
	dice  *rand.Rand
	watch hook // the sentinel: it gets everything

	absent []pair // what must not have come
	last   string // the newest event of those

	mu  sync.Mutex
	got map[string][]*receivertest.Request // by webhook
}

// two are two different nodes, by chance.
func (o *obedience) two() (here, there *caller) {
	i := o.dice.IntN(3)
	return o.by[i], o.by[(i+1+o.dice.IntN(2))%3]
}

// requests are those of a webhook that carry an event.
func (o *obedience) requests(h hook, event string) []*receivertest.Request {
	o.mu.Lock()
	defer o.mu.Unlock()
	var found []*receivertest.Request
	for _, q := range o.got[h.id] {
		var body struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal(q.Body(), &body); err != nil {
			o.t.Errorf("%s: %v", q.Body(), err)
		}
		if body.ID == event {
			found = append(found, q)
		}
	}
	return found
}

// comes waits until a webhook has an event, and returns its request.
func (o *obedience) comes(h hook, event string) *receivertest.Request {
	o.t.Helper()
	var found []*receivertest.Request
	eventually(o.t, "event "+event+" to come to "+h.id, func() error {
		if found = o.requests(h, event); len(found) == 0 {
			return fmt.Errorf("it has not come")
		}
		return nil
	})
	if len(found) > 1 {
		o.t.Errorf("event %s came %d times to %s", event, len(found), h.id)
	}
	return found[0]
}

// never notes that an event must not come to a webhook, which settled judges.
func (o *obedience) never(h hook, event string) {
	o.t.Helper()
	o.comes(o.watch, event)
	o.absent = append(o.absent, pair{h.id, event})
}

// settled holds the log's end against what must never have come: once the router
// has committed all events, all that they became lies in `deliveries`; once the
// history has covered that, what it has no row of is not there, and without a
// request there is no try.
func (o *obedience) settled(s *server) {
	t, log := o.t, s.log(o.t)
	t.Helper()
	reached := func(what string, ends map[int32]int64, at func() (map[int32]int64, error)) {
		eventually(t, what, func() error {
			now, err := at()
			for p, end := range ends {
				if now[p] < end && err == nil {
					err = fmt.Errorf("partition %d is at %d of %d", p, now[p], end)
				}
			}
			return err
		})
	}
	ends, err := log.Ends(t.Context(), ledger.Events)
	if err != nil {
		t.Fatal(err)
	}
	reached("the router", ends, func() (map[int32]int64, error) { return log.Committed(t.Context(), router.Group, ledger.Events) })
	if ends, err = log.Ends(t.Context(), ledger.Deliveries); err != nil {
		t.Fatal(err)
	}
	j := &judge{t: t, s: s}
	reached("the history", ends, func() (map[int32]int64, error) {
		at := map[int32]int64{}
		for _, f := range j.ask("SELECT toString(part), toString(max(next_off)) FROM places WHERE topic = 'deliveries' GROUP BY part") {
			p, err1 := strconv.Atoi(f[0])
			next, err2 := strconv.ParseInt(f[1], 10, 64)
			if err := errors.Join(err1, err2); err != nil {
				return nil, err
			}
			at[int32(p)] = next
		}
		return at, nil
	})
	rows := map[pair]bool{}
	for _, f := range j.ask("SELECT hex(webhook_id), event_id FROM deliveries FINAL") {
		rows[pair{j.text(ids.Webhook, f[0]), f[1]}] = true
	}
	for _, p := range o.absent {
		if rows[p] {
			t.Errorf("event %s was matched to %s, which must not have it", p.event, p.webhook)
		}
	}
	if !rows[pair{o.watch.id, o.last}] {
		t.Errorf("event %s, which the sentinel got, has no delivery: the history says nothing", o.last)
	}
	o.absent = nil
}

func (o *obedience) create(t *testing.T) {
	here, there := o.two()
	h := here.webhook(o.url)
	q := o.comes(h, there.publish())
	if err := q.Verify(h.secret); err != nil {
		t.Error(err)
	}
	there.delete(h.path()).is(200)
}

func (o *obedience) pause(t *testing.T) {
	here, there := o.two()
	h := here.webhook(o.url)
	here.patch(h.path(), object{"status": "paused"}).is(200)
	event := there.publish()
	o.comes(o.watch, event)
	there, here = here, there
	asked := time.Now()
	here.patch(h.path(), object{"status": "active"}).is(200)
	next := there.publish()
	first := o.comes(h, event)
	o.comes(h, next)
	if first.Received.Before(asked) {
		t.Errorf("event %s came to %s, which was paused", event, h.id)
	}
	here.delete(h.path()).is(200)
}

func (o *obedience) rotate(t *testing.T) {
	here, there := o.two()
	h := here.webhook(o.url)
	secret := there.post(h.path()+"/rotate-secret", nil).is(200).str("new_secret")
	q := o.comes(h, here.publish())
	if err := q.Verify(secret); err != nil {
		t.Errorf("an event published after the rotation: %v", err)
	}
	if q.Verify(h.secret) == nil {
		t.Error("an event published after the rotation is signed with the old secret")
	}
	there.delete(h.path()).is(200)
}

func (o *obedience) remove(*testing.T) {
	here, there := o.two()
	h := here.webhook(o.url)
	here.delete(h.path()).is(200)
	o.last = there.publish()
	o.never(h, o.last)
}

func (o *obedience) revoke(t *testing.T) {
	here, there := o.two()
	made := here.post("/api-keys", object{"name": "short-lived", "scopes": []string{"read"}}).is(201)
	key := there.server.as(t, made.str("key"))
	key.get("/webhooks").is(200)
	here.post("/api-keys/"+made.str("key_id")+"/revoke", nil).is(200)
	key.get("/webhooks").fails(401, "authentication_invalid")
}

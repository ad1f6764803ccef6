package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hookledger/consumers/sender/receivertest"
)

// load is who publishes and who changes the configuration while the server is
// killed and started again. Every call is repeated until it is answered; what
// was asked for twice must be done once.
type load struct {
	t        *testing.T
	w        *world
	c        *caller
	base     atomic.Pointer[string] // nil while there is no server
	receiver string
	// nodes picks a node for each call, where there are several; base is not used then.
	nodes func() *string
	// insists: a call whose fate is not known is repeated, not looked up. A node that
	// hung may still carry out what it was asked for.
	insists bool
	// stop ends the load: calls under way are still seen to their end.
	stop context.Context
}

var (
	crashNames   = []string{"export.ready", "media.created", "import_job.failed"}
	crashIndexes = []string{"", "", "a", "b"}
)

// reply is an answer that settles a call.
type reply struct {
	status int
	a      *answer
	at     span
	died   bool // the server went away in the middle: what it did not do it never will
}

// once makes one call; ok is false when its fate is not known.
func (l *load) once(operation, method, path, key string, body any) (r reply, ok bool) {
	where := l.base.Load
	if l.nodes != nil {
		where = l.nodes
	}
	base := where()
	for ; base == nil; base = where() {
		if l.t.Context().Err() != nil {
			return r, false
		}
		time.Sleep(5 * time.Millisecond)
	}
	c := *l.c
	c.server = &server{base: *base}
	caller := &c
	if key != "" {
		caller = caller.with("Idempotency-Key: " + key)
	}
	r.at.from = time.Now()
	a, err := caller.try(method, path, body)
	r.at.to = time.Now()
	ok = err == nil && a.status != http.StatusServiceUnavailable
	l.w.called(operation, !ok)
	if ok {
		r.status, r.a = a.status, a
	}
	r.died = err != nil
	return r, ok
}

// settled makes a call until it is answered. The span begins with the first try.
func (l *load) settled(operation, method, path, key string, body any) reply {
	began := time.Now()
	for {
		r, ok := l.once(operation, method, path, key, body)
		if ok {
			r.at.from = began
			return r
		}
		if l.t.Context().Err() != nil {
			return reply{}
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// publisher publishes until the load stops: by ids of its own, or by
// Idempotency-Key, one or several at a time.
func (l *load) publisher(n int, r *rand.Rand) {
	for i := 0; l.stop.Err() == nil; i++ {
		var events []*published
		var bodies []object
		byKey := r.IntN(2) == 0
		for j := range 1 + r.IntN(4) {
			e := &published{name: pick(r, crashNames), index: pick(r, crashIndexes)}
			body := object{"event": e.name, "data": object{"publisher": n, "i": i, "j": j, "pad": strings.Repeat("x", r.IntN(400))}}
			if !byKey {
				e.id = fmt.Sprintf("ev-%d-%d-%d", n, i, j)
				body["id"] = e.id
			}
			if e.index != "" {
				body["index_id"] = e.index
			}
			if r.IntN(3) == 0 {
				body["ordering_key"] = fmt.Sprintf("key-%d", r.IntN(5))
			}
			events, bodies = append(events, e), append(bodies, body)
		}
		key := ""
		if byKey {
			key = fmt.Sprintf("publisher-%d-%d", n, i)
		}
		got := l.settled("publish", "POST", "/events", key, bodies)
		if got.status != http.StatusAccepted {
			if l.t.Context().Err() == nil {
				l.t.Errorf("publishing was answered %d: %s", got.status, got.a.body)
			}
			return
		}
		for j, e := range events {
			id := got.a.str(fmt.Sprintf("events.%d.id", j))
			if e.id != "" && id != e.id {
				l.t.Errorf("event %s was acknowledged as %s", e.id, id)
			}
			e.id, e.at = id, got.at
		}
		l.w.publish(events...)
		time.Sleep(time.Duration(r.IntN(15)) * time.Millisecond)
	}
}

// owner creates webhooks and changes them; nobody else does.
func (l *load) owner(n int, r *rand.Rand) {
	var mine []*subscriber
	for i := 0; l.stop.Err() == nil || len(mine) < 2; i++ {
		switch roll := r.IntN(100); {
		case len(mine) < 3:
			mine = append(mine, l.create(fmt.Sprintf("owner-%d-%d", n, i), r))
		case roll < 5:
			at := r.IntN(len(mine))
			l.remove(mine[at])
			mine = append(mine[:at], mine[at+1:]...)
		case roll < 35:
			s := pick(r, mine)
			l.pause(s, fmt.Sprintf("pause-%d-%d", n, i), r)
		case roll < 55:
			l.rotate(pick(r, mine), fmt.Sprintf("rotate-%d-%d", n, i), r)
		case roll < 70: // the first webhook is the one whose filter changes
			l.refilter(mine[0], fmt.Sprintf("filter-%d-%d", n, i), r)
		default:
			l.rename(pick(r, mine), fmt.Sprintf("rename-%d-%d", n, i), r)
		}
		if l.t.Failed() {
			return
		}
		time.Sleep(time.Duration(r.IntN(60)) * time.Millisecond)
	}
	for i, s := range mine {
		if s.paused {
			l.resume(s, fmt.Sprintf("last-%d-%d", n, i), r)
		}
	}
}

func wants(r *rand.Rand) subscription {
	s := subscription{events: []string{crashNames[0]}}
	for _, name := range crashNames[1:] {
		if r.IntN(2) == 0 {
			s.events = append(s.events, name)
		}
	}
	if r.IntN(2) == 0 {
		s.index = []string{pick(r, []string{"a", "b", "c"})}
	}
	return s
}

func (l *load) create(name string, r *rand.Rand) *subscriber {
	s := &subscriber{name: name, metadata: fmt.Sprintf(`{"n":%d}`, r.IntN(100))}
	w := wants(r)
	body := object{"name": name, "url": l.receiver + "/" + name, "events": w.events, "index_ids": w.index, "metadata": json.RawMessage(s.metadata)}
	got := l.settled("create", "POST", "/webhooks", name, body)
	if got.status != http.StatusCreated {
		l.unexpected("create", got)
		return s
	}
	w.at, s.made = got.at, got.at
	s.id, s.wants = got.a.str("webhook_id"), []subscription{w}
	s.secrets = []signedBy{{got.a.str("secret"), got.at}}
	l.w.add(s)
	return s
}

func (l *load) unexpected(what string, got reply) {
	if l.t.Context().Err() == nil {
		l.t.Errorf("%s was answered %d: %s", what, got.status, got.a.body)
	}
}

// change is a PATCH. When its fate is not known it is repeated with its key, or
// looked up: a look at the webhook tells.
func (l *load) change(s *subscriber, key string, r *rand.Rand, body object, done func(*answer) bool) (span, bool) {
	path := "/webhooks/" + s.id
	began := time.Now()
	for {
		got, ok := l.once("patch", "PATCH", path, key, body)
		if got.died && !l.insists && r.IntN(2) == 0 {
			look := l.settled("look", "GET", path, "", nil)
			if look.status == http.StatusOK && done(look.a) {
				return span{began, look.at.to}, true
			}
			if look.status == http.StatusOK {
				return span{}, false // it never happened
			}
			got, ok = look, true
		}
		switch {
		case ok && got.status == http.StatusOK:
			return span{began, got.at.to}, true
		case ok:
			l.unexpected("patch", got)
			return span{}, false
		case l.t.Context().Err() != nil:
			return span{}, false
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (l *load) pause(s *subscriber, key string, r *rand.Rand) {
	if s.paused {
		l.resume(s, key, r)
		return
	}
	at, ok := l.change(s, key, r, object{"status": "paused"}, func(a *answer) bool { return a.str("status") == "paused" })
	if ok {
		s.paused = true
		s.pauses = append(s.pauses, pause{from: at})
	}
}

func (l *load) resume(s *subscriber, key string, r *rand.Rand) {
	for try := range 100 {
		at, ok := l.change(s, fmt.Sprintf("%s-%d", key, try), r, object{"status": "active"}, func(a *answer) bool { return a.str("status") == "active" })
		if ok {
			s.paused = false
			s.pauses[len(s.pauses)-1].until = at
			return
		}
	}
}

func (l *load) refilter(s *subscriber, key string, r *rand.Rand) {
	w := wants(r)
	at, ok := l.change(s, key, r, object{"events": w.events, "index_ids": w.index, "name": key}, func(a *answer) bool { return a.str("name") == key })
	if ok {
		w.at, s.name = at, key
		s.wants = append(s.wants, w)
	}
}

func (l *load) rename(s *subscriber, key string, r *rand.Rand) {
	metadata := fmt.Sprintf(`{"n":%d}`, r.IntN(100))
	_, ok := l.change(s, key, r, object{"name": key, "metadata": json.RawMessage(metadata)}, func(a *answer) bool { return a.str("name") == key })
	if ok {
		s.name, s.metadata = key, metadata
	}
}

func (l *load) rotate(s *subscriber, key string, r *rand.Rand) {
	got := l.settled("rotate", "POST", "/webhooks/"+s.id+"/rotate-secret", key, object{"overlap_seconds": r.IntN(2)})
	if got.status != http.StatusOK {
		l.unexpected("rotate", got)
		return
	}
	s.secrets = append(s.secrets, signedBy{got.a.str("new_secret"), got.at})
}

// remove deletes: that it is gone already is the answer to a repeat.
func (l *load) remove(s *subscriber) {
	got := l.settled("delete", "DELETE", "/webhooks/"+s.id, "", nil)
	if got.status != http.StatusOK && got.status != http.StatusNotFound {
		l.unexpected("delete", got)
		return
	}
	s.gone = got.at
}

// retrier asks for deliveries to be tried now, whatever became of them.
func (l *load) retrier(r *rand.Rand) {
	for i := 0; l.stop.Err() == nil; i++ {
		time.Sleep(time.Duration(r.IntN(100)) * time.Millisecond)
		l.w.mu.Lock()
		var id string
		if n := len(l.w.requests); n > 0 {
			if g := l.w.requests[n-1-r.IntN(min(n, 50))]; g.answer != http.StatusOK {
				id = g.delivery
			}
		}
		l.w.mu.Unlock()
		if id == "" {
			continue
		}
		got := l.settled("retry", "POST", "/webhooks/deliveries/"+url.PathEscape(id)+"/retry", fmt.Sprintf("retry-%d", i), nil)
		switch got.status {
		case http.StatusOK, http.StatusNotFound, http.StatusConflict: // not yet in the history, or done already
		default:
			l.unexpected("retry", got)
		}
	}
}

// respond is a receiver that mostly works.
func (l *load) respond(r *rand.Rand) func(*receivertest.Request) receivertest.Answer {
	rolls := make(chan int, 256)
	go func() { // one source of chance, many connections
		defer close(rolls)
		for l.t.Context().Err() == nil {
			select {
			case rolls <- r.IntN(1000):
			case <-l.t.Context().Done():
			}
		}
	}()
	return func(q *receivertest.Request) receivertest.Answer {
		a, status := receivertest.Answer{}, http.StatusOK
		switch roll := <-rolls; {
		case roll < 60:
			a.Status, status = http.StatusInternalServerError, http.StatusInternalServerError
		case roll < 80:
			a.Silent, a.Then, status = true, receivertest.Reset, 0
		case roll < 84:
			a.Silent, a.Then, status = true, receivertest.Hang, 0
		case roll < 130:
			a.Delay = time.Duration(roll-83) * 10 * time.Millisecond
		}
		l.w.arrived(q, status)
		return a
	}
}

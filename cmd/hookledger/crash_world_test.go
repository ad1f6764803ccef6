package main

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"hookledger/consumers/sender/receivertest"
)

// What the crash test knows of the world, all from outside: what it was
// answered, and what its receiver got.

// span is from when something was asked for until it was acknowledged. It took
// effect at some moment in between; what happened meanwhile raced with it.
type span struct{ from, to time.Time }

// subscription is what a webhook wants to hear of, since when.
type subscription struct {
	events, index []string
	at            span
}

func (s subscription) matches(e *published) bool {
	if !slices.Contains(s.events, e.name) {
		return false
	}
	return e.index == "" || len(s.index) == 0 || slices.Contains(s.index, e.index)
}

type signedBy struct {
	secret string
	at     span
}

type pause struct{ from, until span }

// subscriber is a webhook as it was acknowledged.
type subscriber struct {
	id       string
	made     span
	gone     span // zero while it is there
	wants    []subscription
	secrets  []signedBy
	pauses   []pause
	name     string
	paused   bool
	metadata string
}

// published is an acknowledged event.
type published struct {
	id, name, index string
	at              span
}

// verdict on an event and a webhook.
type verdict int

const (
	never verdict = iota
	raced
	always
)

// should says whether an event belongs to a webhook. The router matches an event
// at some time after it was asked for, so each version of the webhook that stood
// then or later may be what it was matched by.
func (s *subscriber) should(e *published) verdict {
	gone := !s.gone.from.IsZero()
	if gone && s.gone.to.Before(e.at.from) {
		return never
	}
	some, all := false, true
	for i, w := range s.wants {
		if i+1 < len(s.wants) && s.wants[i+1].at.to.Before(e.at.from) {
			continue // replaced before
		}
		if w.matches(e) {
			some = true
		} else {
			all = false
		}
	}
	switch {
	case !some:
		return never
	case all && !gone && s.made.to.Before(e.at.from):
		return always
	default:
		return raced
	}
}

// signed checks a request's signature against the secrets that could have signed
// it then. A try that began before a rotation may arrive after it.
func (s *subscriber) signed(q *receivertest.Request) error {
	err := fmt.Errorf("no secret of webhook %s stood at %s", s.id, q.Received)
	for i, by := range s.secrets {
		if q.Received.Before(by.at.from) || i+1 < len(s.secrets) && q.Received.After(s.secrets[i+1].at.to.Add(crashGrace)) {
			continue
		}
		if err = q.Verify(by.secret); err == nil {
			return nil
		}
	}
	return err
}

// got is a request that the receiver has read whole.
type got struct {
	*receivertest.Request
	attempt, delivery, webhook string
	answer                     int // its status; 0 for none
}

// world is all of it.
type world struct {
	mu          sync.Mutex
	subscribers []*subscriber
	events      []*published
	requests    []*got
	kills       []time.Time
	ambiguous   map[string]int // answers that never came, by operation
	calls       map[string]int
}

func newWorld() *world {
	return &world{ambiguous: map[string]int{}, calls: map[string]int{}}
}

// arrived notes a request and what it is answered.
func (w *world) arrived(q *receivertest.Request, answer int) {
	g := &got{
		Request: q.Clone(), attempt: q.Header("X-Delivery-Attempt-ID"), delivery: q.Header("X-Delivery-ID"),
		webhook: q.Header("X-Webhook-ID"), answer: answer,
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests = append(w.requests, g)
}

func (w *world) called(operation string, ambiguous bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls[operation]++
	if ambiguous {
		w.ambiguous[operation]++
	}
}

func (w *world) add(s *subscriber) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.subscribers = append(w.subscribers, s)
}

func (w *world) publish(e ...*published) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e...)
}

// published is how many events were acknowledged so far.
func (w *world) published() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.events)
}

func (w *world) counts() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := ""
	for _, op := range slices.Sorted(maps.Keys(w.calls)) {
		text += fmt.Sprintf(" %s %d (%d ambiguous)", op, w.calls[op], w.ambiguous[op])
	}
	return text
}

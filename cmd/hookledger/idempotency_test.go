package main

import (
	"bytes"
	"testing"

	"hookledger/consumers/sender/receivertest"
)

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

package router

import (
	"context"
	"crypto/rand"
	"fmt"
	"testing"

	"hookledger/ledger"
	"hookledger/ledger/ids"
	"hookledger/projections/subscriptions"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// configured runs the subscriptions of a node on a log of its own.
func (s *stage) configured() *subscriptions.Subscriptions {
	s.t.Helper()
	l, err := ledger.Open(s.t.Context(), s.opts)
	if err != nil {
		s.t.Fatal(err)
	}
	node := subscriptions.NewNode(l, subscriptions.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- node.Run(ctx) }()
	s.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Error(err)
		}
		l.Close()
	})
	return node
}

// A webhook is created on one node; the router is on another. The event that is
// published as soon as the create is answered goes to it, and the one that is
// published as soon as the delete is answered does not.
func TestWhatWasAnsweredIsMatched(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	there, here := s.configured(), s.configured()
	s.start(s.router(func(o *Options) { o.Subscriptions = here }))
	command := func(f *facts.ConfigFact) {
		t.Helper()
		f.Account = "a"
		if v, err := there.Command(t.Context(), f); err != nil || v.Kind != subscriptions.Applied {
			t.Fatalf("%v, %v", v.Kind, err)
		}
	}
	var want []string
	for i := range 15 {
		id, err := ids.Random(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		id[0] = byte(i)
		command(&facts.ConfigFact{Change: &facts.ConfigFact_WebhookCreated{WebhookCreated: &facts.WebhookCreated{
			Webhook: &facts.Webhook{
				WebhookId: id[:], Name: "n", Url: "https://example.com/", Events: []string{"export.ready"},
				Status: facts.WebhookStatus_WEBHOOK_STATUS_ACTIVE, CreatedMs: 1, UpdatedMs: 1, Version: 1,
			},
			Secret: &facts.Sealed{KeyId: "k", Box: []byte("s")},
		}}})
		s.produce(0, noon, ev(fmt.Sprint("created-", i), `{}`))
		want = append(want, fmt.Sprint("created-", i, " ", i))
		s.routed() // what comes later may be seen as well
		command(&facts.ConfigFact{Change: &facts.ConfigFact_WebhookDeleted{WebhookDeleted: &facts.WebhookDeleted{WebhookId: id[:]}}})
		s.produce(1, noon, ev(fmt.Sprint("deleted-", i), `{}`))
		s.routed()
	}
	s.want(want...)
}

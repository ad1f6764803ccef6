package subscriptions

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"hookledger/deploy/embedded/broker/brokertest"
	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// TestThreeNodes: commands race on a real broker; each race has one winner,
// every node sees what any acknowledged, and all end equal.
func TestThreeNodes(t *testing.T) {
	b, prefix := brokertest.Start(t), brokertest.Prefix(t)
	ctx := testContext(t)
	var nodes []*Subscriptions
	for range 3 {
		s, _ := running(t, openLog(t, b, prefix, nil), Options{})
		nodes = append(nodes, s)
	}
	var wg sync.WaitGroup
	accounts := []string{"a", "b", "globex", "acme"}
	for n := range 24 {
		wg.Go(func() {
			s, account := nodes[n%3], accounts[n%len(accounts)]
			for i := range 10 {
				f := newFact(uint64(1000*n+i+1), nil)
				f.Account = account
				v, err := s.Command(ctx, f)
				if err != nil || v.Kind != Applied {
					t.Errorf("create: %v, %v", v, err)
					return
				}
				other := nodes[(n+1)%3]
				if err := other.Barrier(ctx); err != nil {
					t.Error(err)
					return
				}
				if _, ok := other.Webhook(account, v.WebhookID); !ok {
					t.Error("acknowledged on one node, not there on another after its barrier")
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}

	// One key, many creates, everywhere at once.
	var applied, repeated atomic.Int64
	var first, answer atomic.Int64
	for n := range 12 {
		wg.Go(func() {
			f := with(idem(1, 1), newFact(uint64(100_000+n), nil))
			f.Account = "a"
			switch v, err := nodes[n%3].Command(ctx, f); {
			case err != nil:
				t.Error(err)
			case v.Kind == Applied:
				applied.Add(1)
				first.Store(v.Offset)
			case v.Kind == Repeat:
				repeated.Add(1)
				answer.Store(v.First)
			default:
				t.Errorf("verdict %v", v.Kind)
			}
		})
	}
	wg.Wait()
	if applied.Load() != 1 || repeated.Load() != 11 || first.Load() != answer.Load() {
		t.Errorf("%d applied, %d repeated, first at %d, answered from %d", applied.Load(), repeated.Load(), first.Load(), answer.Load())
	}
	fact, err := nodes[0].Fact(ctx, "a", answer.Load())
	if err != nil || fact.GetWebhookCreated().GetWebhook().GetVersion() != 1 {
		t.Errorf("the first fact: %v, %v", fact, err)
	}
	if _, err := nodes[0].Fact(ctx, "b", answer.Load()); err == nil && testPartition("a") == testPartition("b") {
		t.Error("another account reads the fact")
	}

	// One version, many updates: one wins; the others learn the current version and go on from it.
	id := ids.ID(fact.GetWebhookCreated().GetWebhook().GetWebhookId())
	for n := range 12 {
		wg.Go(func() {
			s := nodes[n%3]
			for {
				w, ok := s.Webhook("a", id)
				if !ok {
					if err := s.Barrier(ctx); err != nil {
						t.Error(err)
						return
					}
					continue
				}
				f := w.Fact()
				f.Version++
				f.Name += "+"
				v, err := s.Command(ctx, &facts.ConfigFact{Account: "a", Change: &facts.ConfigFact_WebhookUpdated{
					WebhookUpdated: &facts.WebhookUpdated{ExpectedVersion: w.Version, Webhook: f},
				}})
				if err != nil {
					t.Error(err)
					return
				}
				if v.Kind == Applied {
					return
				}
				if v.Kind != Conflict || v.Webhook == nil || v.Version <= w.Version {
					t.Errorf("lost the race with %+v", v)
					return
				}
			}
		})
	}
	wg.Wait()
	for _, s := range nodes {
		if err := s.Barrier(ctx); err != nil {
			t.Fatal(err)
		}
		if w, _ := s.Webhook("a", id); w == nil || w.Version != 13 || strings.Count(w.Name, "+") != 12 {
			t.Errorf("after 12 updates: %+v", w)
		}
		same(t, nodes[0], s)
	}
}

package subscriptions

import (
	"fmt"
	"slices"
	"testing"

	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// TestFiltering is CONTRACT's rule, line by line.
func TestFiltering(t *testing.T) {
	b := newBench(t)
	for n, indexes := range map[uint64][]string{1: nil, 2: {}, 3: {"i1"}, 4: {"i1", "i2", "i1"}, 5: {"i2"}} {
		b.want(Applied, b.apply("a", newFact(n, func(w *facts.Webhook) {
			w.Events = []string{"export.ready", "export.ready", "export.failed"}
			w.IndexIds, w.IndexIdsSet = indexes, indexes != nil
		})))
	}
	b.want(Applied, b.apply("a", newFact(6, func(w *facts.Webhook) { w.Events = []string{"media.created"} })))
	b.want(Applied, b.apply("a", b.update("a", 1, func(w *facts.Webhook) { w.Status = paused })))
	b.want(Applied, b.apply("a", disable(3, 1)))
	check := func(event, index string, want ...uint64) {
		t.Helper()
		var got []uint64
		for _, w := range b.Match(nil, "a", event, index) {
			for n := range uint64(8) {
				if testID(n) == w.ID {
					got = append(got, n)
				}
			}
			if !w.Matches(event, index) {
				t.Errorf("Match and Matches differ on %s, %q", event, index)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s, %q goes to %v, want %v", event, index, got, want)
		}
	}
	check("export.ready", "", 1, 2, 3, 4, 5)
	check("export.ready", "i1", 1, 2, 3, 4)
	check("export.ready", "i2", 1, 2, 4, 5)
	check("export.ready", "i3", 1, 2)
	check("export.failed", "i2", 1, 2, 4, 5)
	check("media.created", "i3", 6)
	check("media.failed", "")
	b.apply("a", b.update("a", 4, func(w *facts.Webhook) { w.Events, w.IndexIds = []string{"export.failed"}, []string{"i3"} }))
	check("export.ready", "i2", 1, 2, 5)
	check("export.failed", "i3", 1, 2, 4)
	check("export.failed", "i1", 1, 2, 3)
	if got := b.Match(nil, "b", "export.ready", ""); len(got) != 0 {
		t.Errorf("another account's event goes to %d webhooks", len(got))
	}
	w, _ := b.Webhook("a", testID(2))
	if !w.Fact().GetIndexIdsSet() || len(w.Fact().GetIndexIds()) != 0 {
		t.Error("an empty array of indexes became null")
	}
	prefix := []*Webhook{w}
	if got := b.Match(prefix, "a", "media.created", ""); len(got) != 2 || got[0] != w {
		t.Error("Match does not append")
	}
}

// crowd is 10,000 webhooks: 10 accounts of 10, 1 of 9,000 with 1,000 indexes
// or none, the rest of one account each.
func crowd(b testing.TB) *Fold {
	t := newBench(b)
	add := func(n int, account string, indexes []string) {
		id := testID(uint64(n+1) * 0x9E3779B97F4A7C15)
		f := newFact(1, func(w *facts.Webhook) {
			w.WebhookId, w.IndexIds = id[:], indexes
			w.Events = []string{"export.ready", "export.failed", "media.created"}
		})
		p := testPartition(account)
		if v, err := t.Apply(p, t.Next(p), t.now, t.fact(account, f)); err != nil || v.Kind != Applied {
			b.Fatal(v, err)
		}
	}
	for n := range 10_000 {
		switch {
		case n < 100:
			add(n, fmt.Sprint("small-", n%10), nil)
		case n < 9_100 && n%10 == 0:
			add(n, "large-open", nil)
		case n < 9_100:
			add(n, "large", []string{fmt.Sprint("index-", n%1000)})
		default:
			add(n, fmt.Sprint("one-", n), nil)
		}
	}
	return t.Fold
}

// BenchmarkMatch is what the router asks for each event.
func BenchmarkMatch(b *testing.B) {
	f := crowd(b)
	for name, c := range map[string]struct{ account, index string }{
		"one of one":      {"one-9500", ""},
		"10 of 10":        {"small-3", "index-1"},
		"9 of 8100":       {"large", "index-7"},
		"900 of 900":      {"large-open", ""},
		"none, no tenant": {"nobody", ""},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				dst := make([]*Webhook, 0, 1000)
				for pb.Next() {
					dst = f.Match(dst[:0], c.account, "export.ready", c.index)
				}
			})
		})
	}
}

// BenchmarkApply is one fact of 10,000 webhooks of one account: what a start reads.
func BenchmarkApply(b *testing.B) {
	t := newBench(b)
	b.ReportAllocs()
	for n := range b.N {
		id := testID(uint64(n+1) * 0x9E3779B97F4A7C15)
		f := t.fact("a", newFact(1, func(w *facts.Webhook) { w.WebhookId = id[:]; w.Name = "x" }))
		p := testPartition("a")
		if _, err := t.Apply(p, t.Next(p), t.now, f); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkByID is what the dispatcher asks for each send.
func BenchmarkByID(b *testing.B) {
	f := crowd(b)
	list, _ := f.Webhooks("large", Newest, 1000)
	b.ReportAllocs()
	for n := range b.N {
		if _, ok := f.Webhook("large", list[n%len(list)].ID); !ok {
			b.Fatal("not there")
		}
	}
}

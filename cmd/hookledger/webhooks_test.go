package main

import (
	"slices"
	"strings"
	"testing"

	"hookledger/consumers/sender/receivertest"
)

// An event with an index goes to webhooks of that index or of all; one without
// goes to every webhook of its name.
func TestIndexFilter(t *testing.T) {
	c := common.get(t).account(t)
	r := receiver(t, nil)
	hooks := map[string]string{}
	for name, index := range map[string]any{"null": nil, "empty": []string{}, "a": []string{"a"}, "a,b": []string{"a", "b"}} {
		hooks[c.webhook(r.URL()+"/"+name, object{"index_ids": index}).id] = name
	}
	hooks[c.webhook(r.URL(), object{"events": []string{"media.created"}}).id] = "other name"
	for _, tc := range []struct {
		index any
		want  []string
	}{
		{nil, []string{"a", "a,b", "empty", "null"}},
		{"a", []string{"a", "a,b", "empty", "null"}},
		{"b", []string{"a,b", "empty", "null"}},
		{"c", []string{"empty", "null"}},
	} {
		var got []string
		for _, id := range c.deliveries(c.publish(object{"index_id": tc.index}), len(tc.want), "delivered") {
			got = append(got, hooks[c.get("/webhooks/deliveries/"+id).is(200).str("webhook_id")])
		}
		slices.Sort(got)
		if !slices.Equal(got, tc.want) {
			t.Errorf("index %v went to %v, want %v", tc.index, got, tc.want)
		}
	}
}

// While a webhook is paused nothing is sent and nothing lost; after the resume
// everything is started in the order of publication.
func TestPause(t *testing.T) {
	c := common.get(t).account(t)
	r, sentinel := receiver(t, nil), receiver(t, nil)
	h := c.webhook(r.URL(), object{"events": []string{"media.created"}})
	c.webhook(sentinel.URL())
	if got := c.patch(h.path(), object{"status": "paused"}).is(200); got.str("status") != "paused" {
		t.Errorf("paused: %s", got.body)
	}
	var want []string
	for n := range 8 {
		want = append(want, c.publish(object{"event": "media.created", "ordering_key": "k", "data": object{"n": n}}))
	}
	held := c.delivery(want[len(want)-1], "pending")
	c.delivery(c.publish(), "delivered") // to the other webhook, afterwards
	if r.Count() != 0 {
		t.Fatalf("a paused webhook got %d requests", r.Count())
	}
	if got := c.get(h.path() + "/deliveries?status=pending").is(200); len(got.list()) != len(want) {
		t.Errorf("%d deliveries are pending, want %d", len(got.list()), len(want))
	}
	if got := c.get("/webhooks/deliveries/" + held).is(200); got.str("attempts") != "0" || got.value("payload") == nil {
		t.Errorf("a held delivery is %s", got.body)
	}

	c.patch(h.path(), object{"status": "active"}).is(200)
	got := received(t, r, len(want))
	for _, id := range want {
		c.delivery(id, "delivered")
	}
	// An attempt's id counts up as attempts start.
	slices.SortFunc(got, func(a, b *receivertest.Request) int {
		return strings.Compare(a.Header("X-Delivery-Attempt-ID"), b.Header("X-Delivery-Attempt-ID"))
	})
	for i, q := range got {
		if !strings.Contains(string(q.Body()), want[i]) {
			t.Errorf("the attempt started as number %d is %s, want event %s", i, q.Body(), want[i])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d requests for %d events", len(got), len(want))
	}
}

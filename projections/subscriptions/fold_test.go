package subscriptions

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"hookledger/ledger"
	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

const (
	active   = facts.WebhookStatus_WEBHOOK_STATUS_ACTIVE
	paused   = facts.WebhookStatus_WEBHOOK_STATUS_PAUSED
	disabled = facts.WebhookStatus_WEBHOOK_STATUS_DISABLED

	testPartitions = 2
	hour           = int64(3_600_000)
	start          = int64(1_800_000_000_000)
)

func testPartition(account string) int32 { return ledger.PartitionOf([]byte(account), testPartitions) }

// bench is a fold with a log of its own and a clock for the records.
type bench struct {
	testing.TB
	*Fold
	now   int64
	facts uint64
}

func newBench(t testing.TB) *bench {
	return &bench{TB: t, Fold: New(testPartitions, testPartition), now: start}
}

func testID(n uint64) (id ids.ID) {
	binary.BigEndian.PutUint64(id[8:], n)
	return id
}

// fact completes a fact: id, rules, account, time.
func (b *bench) fact(account string, f *facts.ConfigFact) *facts.ConfigFact {
	b.facts++
	id := testID(1<<32 + b.facts)
	f.FactId, f.Rules, f.Account, f.AtMs = id[:], Rules, account, b.now
	return f
}

// apply appends a fact and returns its verdict, and checks that Precheck foresaw it.
func (b *bench) apply(account string, f *facts.ConfigFact) Verdict {
	b.Helper()
	f = b.fact(account, f)
	p := testPartition(account)
	foreseen := b.Precheck(f)
	v, err := b.Apply(p, b.Next(p), b.now, f)
	if err != nil {
		b.Fatal(err)
	}
	if foreseen.Kind != v.Kind || foreseen.First != v.First || foreseen.Version != v.Version {
		b.Errorf("foreseen %+v, then %+v", foreseen, v)
	}
	return v
}

func (b *bench) want(k Kind, v Verdict) Verdict {
	b.Helper()
	if v.Kind != k {
		b.Fatalf("verdict %v (%s), want %v", v.Kind, v.Reason, k)
	}
	return v
}

func idem(key, body byte) *facts.Idempotency {
	k, r := keyHash{key}, keyHash{body}
	return &facts.Idempotency{KeyHash: k[:], RequestHash: r[:]}
}

func newFact(n uint64, change func(*facts.Webhook)) *facts.ConfigFact {
	id := testID(n)
	w := &facts.Webhook{
		WebhookId: id[:], Name: fmt.Sprint("webhook ", n), Url: "https://example.com/1", Events: []string{"export.ready"},
		Status: active, CreatedMs: start, UpdatedMs: start, Version: 1,
	}
	if change != nil {
		change(w)
	}
	return &facts.ConfigFact{Change: &facts.ConfigFact_WebhookCreated{WebhookCreated: &facts.WebhookCreated{
		Webhook: w, Secret: &facts.Sealed{KeyId: "s-1", Box: []byte("first")},
	}}}
}

// update is the change of the webhook as it now stands.
func (b *bench) update(account string, n uint64, change func(*facts.Webhook)) *facts.ConfigFact {
	b.Helper()
	w, ok := b.Webhook(account, testID(n))
	if !ok {
		b.Fatalf("webhook %d is not there", n)
	}
	f := w.Fact()
	change(f)
	f.Version++
	return &facts.ConfigFact{Change: &facts.ConfigFact_WebhookUpdated{WebhookUpdated: &facts.WebhookUpdated{
		ExpectedVersion: w.Version, Webhook: f,
	}}}
}

func disable(n, version uint64) *facts.ConfigFact {
	id := testID(n)
	return &facts.ConfigFact{Change: &facts.ConfigFact_WebhookDisabled{WebhookDisabled: &facts.WebhookDisabled{
		WebhookId: id[:], ExpectedVersion: version, Reason: "gone",
	}}}
}

func rotate(n, version uint64, box string, until int64) *facts.ConfigFact {
	id := testID(n)
	return &facts.ConfigFact{Change: &facts.ConfigFact_SecretRotated{SecretRotated: &facts.SecretRotated{
		WebhookId: id[:], ExpectedVersion: version, Secret: &facts.Sealed{KeyId: "s-1", Box: []byte(box)}, OverlapUntilMs: until,
	}}}
}

func remove(n, version uint64) *facts.ConfigFact {
	id := testID(n)
	return &facts.ConfigFact{Change: &facts.ConfigFact_WebhookDeleted{WebhookDeleted: &facts.WebhookDeleted{
		WebhookId: id[:], ExpectedVersion: version,
	}}}
}

func with(i *facts.Idempotency, f *facts.ConfigFact) *facts.ConfigFact {
	f.Idempotency = i
	return f
}

func TestCreateIsRepeatedUntilItsKeyAges(t *testing.T) {
	b := newBench(t)
	first := b.want(Applied, b.apply("a", with(idem(1, 1), newFact(1, nil))))
	again := b.want(Repeat, b.apply("a", with(idem(1, 1), newFact(2, nil))))
	if again.First != first.Offset {
		t.Errorf("the repeat names offset %d, want %d", again.First, first.Offset)
	}
	b.want(Mismatch, b.apply("a", with(idem(1, 2), newFact(2, nil))))
	b.now += 24*hour - 1
	b.want(Repeat, b.apply("a", with(idem(1, 1), newFact(2, nil))))
	b.now -= 20 * hour // a clock that goes back takes nothing back
	b.want(Repeat, b.apply("a", with(idem(1, 1), newFact(2, nil))))
	b.now += 20*hour + 1
	b.want(Applied, b.apply("a", with(idem(1, 1), newFact(2, nil))))
	if list, _ := b.Webhooks("a", Newest, 10); len(list) != 2 {
		t.Errorf("%d webhooks, want 2", len(list))
	}
}

func TestAnIdlePartitionDoesNotKeepKeysForEver(t *testing.T) {
	b := newBench(t)
	b.apply("a", with(idem(1, 1), newFact(1, nil)))
	b.now += 24 * hour // no record came in between; Precheck (inside apply) must foresee it
	b.want(Applied, b.apply("a", with(idem(1, 2), newFact(2, nil))))
}

func TestARejectedFactTakesNoKey(t *testing.T) {
	b := newBench(t)
	b.apply("a", newFact(1, nil))
	stale := b.update("a", 1, func(w *facts.Webhook) { w.Name = "stale" })
	b.apply("a", b.update("a", 1, func(w *facts.Webhook) { w.Name = "new" }))
	v := b.want(Conflict, b.apply("a", with(idem(1, 1), stale)))
	if v.Version != 2 || v.Webhook.Name != "new" {
		t.Errorf("conflict with version %d, %q", v.Version, v.Webhook.Name)
	}
	b.want(Applied, b.apply("a", with(idem(1, 2), b.update("a", 1, func(w *facts.Webhook) { w.Name = "newer" }))))
}

func TestDeletionFreesTheKeysOfItsWebhook(t *testing.T) {
	b := newBench(t)
	b.apply("a", with(idem(1, 1), newFact(1, nil)))
	b.apply("a", with(idem(2, 1), newFact(2, nil)))
	b.apply("a", with(idem(3, 1), b.update("a", 1, func(w *facts.Webhook) { w.Name = "x" })))
	b.want(Conflict, b.apply("a", remove(1, 1)))
	deleted := b.want(Applied, b.apply("a", remove(1, 0)))
	if deleted.WebhookID != testID(1) || deleted.Webhook != nil {
		t.Errorf("deleted %+v", deleted)
	}
	if tomb, ok := b.Tombstone(testID(1)); !ok || tomb.Account != "a" || tomb.DeletedMs != b.now || tomb.Offset != deleted.Offset {
		t.Errorf("tombstone %+v, %v", tomb, ok)
	}
	if v := b.want(NotFound, b.apply("a", remove(1, 0))); !v.Deleted {
		t.Error("NotFound does not say that it was there")
	}
	b.want(Invalid, b.apply("a", newFact(1, nil))) // its id is never used again
	b.want(Applied, b.apply("a", with(idem(1, 1), newFact(3, nil))))
	b.want(Repeat, b.apply("a", with(idem(2, 1), newFact(4, nil))))
	b.want(Applied, b.apply("a", with(idem(3, 1), b.update("a", 2, func(w *facts.Webhook) { w.Name = "x" }))))
	if n := len(b.Match(nil, "a", "export.ready", "")); n != 2 {
		t.Errorf("%d webhooks match, want 2", n)
	}
}

func TestAnotherAccountIsNotFound(t *testing.T) {
	b := newBench(t)
	other := "b"
	for testPartition(other) != testPartition("a") {
		other += "b"
	}
	b.apply("a", newFact(1, nil))
	if v := b.want(NotFound, b.apply(other, remove(1, 0))); v.Deleted {
		t.Error("it tells another account of a deletion")
	}
	b.want(NotFound, b.apply(other, rotate(1, 1, "x", 0)))
	if _, ok := b.Webhook(other, testID(1)); ok {
		t.Error("another account reads it")
	}
	b.apply("a", remove(1, 0))
	if v := b.want(NotFound, b.apply(other, remove(1, 0))); v.Deleted {
		t.Error("it tells another account of a deletion")
	}
}

func TestMetadataKeepsThePlaceWhereItWasSet(t *testing.T) {
	b := newBench(t)
	set := func(text string) func(*facts.Webhook) {
		return func(w *facts.Webhook) { w.Metadata = []byte(text) }
	}
	offset := func() int64 { w, _ := b.Webhook("a", testID(1)); return w.MetadataOffset }
	v := b.apply("a", newFact(1, set("{}")))
	if offset() != v.Offset {
		t.Errorf("at %d, want %d", offset(), v.Offset)
	}
	b.apply("a", b.update("a", 1, func(w *facts.Webhook) { w.Name = "x" }))
	b.apply("a", rotate(1, 2, "second", 0))
	b.apply("a", b.update("a", 1, set("{}")))
	if offset() != v.Offset {
		t.Errorf("after other changes at %d, want %d", offset(), v.Offset)
	}
	v = b.apply("a", b.update("a", 1, set(`{"a":1}`)))
	if offset() != v.Offset {
		t.Errorf("after a change at %d, want %d", offset(), v.Offset)
	}
	b.apply("a", b.update("a", 1, set("")))
	if offset() != NoMetadata {
		t.Errorf("when null at %d, want %d", offset(), NoMetadata)
	}
}

func TestDisablingIsVoidAfterANewURLOrAResume(t *testing.T) {
	b := newBench(t)
	b.apply("a", newFact(1, nil))
	b.apply("a", b.update("a", 1, func(w *facts.Webhook) { w.Name = "only a name" }))
	v := b.want(Applied, b.apply("a", disable(1, 1)))
	if v.Webhook.Status != disabled || v.Webhook.DisabledReason != "gone" || v.Version != 3 {
		t.Errorf("disabled: %+v", v.Webhook)
	}
	b.want(Conflict, b.apply("a", disable(1, 3)))
	b.apply("a", b.update("a", 1, func(w *facts.Webhook) { w.Name = "still disabled" }))
	if w, _ := b.Webhook("a", testID(1)); w.DisabledReason != "gone" {
		t.Error("a new name took the reason away")
	}
	b.apply("a", b.update("a", 1, func(w *facts.Webhook) { w.Status = active }))
	if w, _ := b.Webhook("a", testID(1)); w.DisabledReason != "" {
		t.Error("a resume left the reason")
	}
	b.want(Conflict, b.apply("a", disable(1, 4)))
	b.apply("a", b.update("a", 1, func(w *facts.Webhook) { w.Url = "https://example.com/2" }))
	b.want(Conflict, b.apply("a", disable(1, 5)))
	b.want(Conflict, b.apply("a", disable(1, 7)))
	b.apply("a", b.update("a", 1, func(w *facts.Webhook) { w.Status = paused }))
	b.want(Applied, b.apply("a", disable(1, 6)))
	b.want(Invalid, b.apply("a", func() *facts.ConfigFact {
		b.apply("a", b.update("a", 1, func(w *facts.Webhook) { w.Status = active }))
		return b.update("a", 1, func(w *facts.Webhook) { w.Status = disabled })
	}()))
}

func TestSecretsInForce(t *testing.T) {
	b := newBench(t)
	signing := func(at int64) (boxes []string) {
		w, _ := b.Webhook("a", testID(1))
		for _, s := range w.SecretsAt(at) {
			boxes = append(boxes, string(s.Box))
		}
		return boxes
	}
	check := func(at int64, want ...string) {
		t.Helper()
		if got := signing(at); !slices.Equal(got, want) {
			t.Errorf("sign with %v, want %v", got, want)
		}
	}
	b.apply("a", newFact(1, nil))
	check(b.now, "first")
	b.apply("a", rotate(1, 1, "second", b.now+hour))
	b.want(Conflict, b.apply("a", rotate(1, 1, "lost the race", 0)))
	check(b.now, "second", "first")
	check(b.now+hour, "second")
	b.now += hour / 2
	b.apply("a", rotate(1, 2, "third", b.now+hour))
	check(b.now, "third", "second", "first")
	check(b.now+hour*3/4, "third", "second")
	b.now += hour
	b.apply("a", rotate(1, 3, "fourth", b.now+hour))
	check(b.now, "fourth", "third")
	b.apply("a", rotate(1, 4, "after a leak", 0))
	check(b.now, "after a leak")
	for v := uint64(5); v < 15; v++ {
		b.apply("a", rotate(1, v, "many", b.now+hour))
	}
	if n := len(signing(b.now)); n != 1+MaxFormer {
		t.Errorf("%d secrets sign, want %d", n, 1+MaxFormer)
	}
	if n := b.SealedWith()["s-1"]; n != 1+MaxFormer {
		t.Errorf("%d secrets are sealed with s-1, want %d", n, 1+MaxFormer)
	}
}

func TestLimitTravelsInTheFact(t *testing.T) {
	b := newBench(t)
	limited := func(n uint64, limit uint32) *facts.ConfigFact {
		f := newFact(n, nil)
		f.GetWebhookCreated().Limit = limit
		return f
	}
	b.want(Applied, b.apply("a", limited(1, 1)))
	b.want(Limit, b.apply("a", limited(2, 1)))
	b.want(Applied, b.apply("a", limited(2, 2)))
	b.apply("a", remove(1, 0))
	b.want(Applied, b.apply("a", limited(3, 2)))
	b.want(Applied, b.apply("other", limited(4, 1)))
}

func TestListsGoNewestFirstAcrossPages(t *testing.T) {
	b := newBench(t)
	for n := range uint64(10) {
		b.apply("a", newFact(n+1, nil))
	}
	var names []string
	for before := Newest; before != Last; {
		var list []*Webhook
		list, before = b.Webhooks("a", before, 3)
		for _, w := range list {
			names = append(names, w.Name)
		}
		if len(names) == 3 { // neither a deletion nor a creation disturbs the pages to come
			b.apply("a", remove(8, 0))
			b.apply("a", newFact(11, nil))
		}
	}
	if want := "[webhook 10 webhook 9 webhook 8 webhook 7 webhook 6 webhook 5 webhook 4 webhook 3 webhook 2 webhook 1]"; fmt.Sprint(names) != want {
		t.Errorf("pages %v", names)
	}
	if list, next := b.Webhooks("nobody", Newest, 3); len(list) != 0 || next != Last {
		t.Errorf("nobody has %d webhooks", len(list))
	}
}

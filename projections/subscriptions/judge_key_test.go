package subscriptions

import (
	"fmt"
	"testing"

	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

func TestCalls(t *testing.T) {
	b := newBench(t)
	b.apply("a", newFact(1, nil))
	id := testID(1)
	started := func(key, body byte) *facts.ConfigFact {
		return with(idem(key, body), &facts.ConfigFact{Change: &facts.ConfigFact_CallStarted{
			CallStarted: &facts.CallStarted{Operation: "test", WebhookId: id[:]},
		}})
	}
	answered := func(call *facts.ConfigFact, status uint32) *facts.ConfigFact {
		return &facts.ConfigFact{Change: &facts.ConfigFact_CallAnswered{
			CallAnswered: &facts.CallAnswered{StartedId: call.GetFactId(), Status: status},
		}}
	}
	call := started(1, 1)
	b.want(Applied, b.apply("a", call))
	b.want(InProgress, b.apply("a", started(1, 1)))
	b.want(Mismatch, b.apply("a", started(1, 2)))
	v := b.want(Applied, b.apply("a", answered(call, 200)))
	b.now += 2 * ClaimLife
	if again := b.want(Repeat, b.apply("a", started(1, 1))); again.First != v.Offset {
		t.Errorf("a repeat is answered by %d, want %d", again.First, v.Offset)
	}
	b.want(NotFound, b.apply("a", answered(call, 200)))

	slow := started(2, 1)
	b.want(Applied, b.apply("a", slow))
	b.now += ClaimLife
	quick := started(2, 1)
	b.want(Applied, b.apply("a", quick)) // the claim has lapsed
	b.want(NotFound, b.apply("a", answered(slow, 500)))
	v = b.want(Applied, b.apply("a", answered(quick, 200)))
	if again := b.want(Repeat, b.apply("a", started(2, 1))); again.First != v.Offset {
		t.Errorf("a repeat is answered by %d, want %d", again.First, v.Offset)
	}

	late := started(3, 1)
	b.want(Applied, b.apply("a", late))
	b.now += 10 * ClaimLife
	b.want(Applied, b.apply("a", answered(late, 200))) // nobody else came
	b.want(Repeat, b.apply("a", started(3, 1)))

	none := started(4, 1)
	b.want(Applied, b.apply("a", none))
	b.want(Applied, b.apply("a", answered(none, 0)))
	b.want(Applied, b.apply("a", started(4, 2))) // given back

	b.apply("a", remove(1, 0))
	if v := b.want(NotFound, b.apply("a", started(1, 1))); !v.Deleted {
		t.Error("does not say that the webhook was deleted")
	}
}

func TestAPIKeys(t *testing.T) {
	b := newBench(t)
	key := func(n byte) *facts.ApiKey {
		hash := [HashSize]byte{n}
		return &facts.ApiKey{KeyId: fmt.Sprint("key", n), KeyHash: hash[:], Scopes: []string{"read"}, CreatedMs: b.now, MasterId: "m"}
	}
	create := func(k *facts.ApiKey, limit uint32) *facts.ConfigFact {
		return &facts.ConfigFact{Change: &facts.ConfigFact_ApiKeyCreated{ApiKeyCreated: &facts.ApiKeyCreated{Key: k, Limit: limit}}}
	}
	replace := func(old byte, k *facts.ApiKey) *facts.ConfigFact {
		return &facts.ConfigFact{Change: &facts.ConfigFact_ApiKeyRotated{ApiKeyRotated: &facts.ApiKeyRotated{OldKeyId: fmt.Sprint("key", old), Key: k}}}
	}
	revoke := func(n byte) *facts.ConfigFact {
		return &facts.ConfigFact{Change: &facts.ConfigFact_ApiKeyRevoked{ApiKeyRevoked: &facts.ApiKeyRevoked{KeyId: fmt.Sprint("key", n)}}}
	}
	drop := func(n byte) *facts.ConfigFact {
		return &facts.ConfigFact{Change: &facts.ConfigFact_ApiKeyDeleted{ApiKeyDeleted: &facts.ApiKeyDeleted{KeyId: fmt.Sprint("key", n)}}}
	}
	usable := func(n byte) bool {
		k, ok := b.KeyByHash([HashSize]byte{n})
		return ok && k.Account == "a" && k.Usable(b.now)
	}
	b.want(Applied, b.apply("a", with(idem(1, 1), create(key(1), 2))))
	b.want(Repeat, b.apply("a", with(idem(1, 1), create(key(9), 2))))
	b.want(Invalid, b.apply("a", create(key(1), 9)))
	b.want(Applied, b.apply("a", create(key(2), 2)))
	if v := b.want(Limit, b.apply("a", create(key(3), 2))); v.Allowed != 2 {
		t.Errorf("limit %d, want 2", v.Allowed)
	}
	b.want(Applied, b.apply("a", replace(2, key(4)))) // not held to the limit
	if usable(2) || !usable(4) || !usable(1) {
		t.Error("after the rotation the old key works, or the new one does not")
	}
	b.want(Conflict, b.apply("a", replace(2, key(5))))
	b.now++
	b.want(Applied, b.apply("a", revoke(4)))
	v := b.want(Applied, b.apply("a", revoke(4)))
	if usable(4) || v.Key.RevokedMs != b.now {
		t.Error("revoked twice, and not at the first time")
	}
	b.want(Applied, b.apply("a", create(key(5), 2)))
	list, _ := b.APIKeys("a", Newest, 10)
	var names []string
	for _, k := range list {
		names = append(names, k.ID)
	}
	if got := fmt.Sprint(names); got != "[key5 key4 key2 key1]" {
		t.Errorf("list %v", got)
	}
	b.want(Applied, b.apply("a", drop(1)))
	if _, ok := b.APIKey("a", "key1"); ok || usable(1) {
		t.Error("a deleted key is there")
	}
	if v := b.want(NotFound, b.apply("a", drop(1))); !v.Deleted {
		t.Error("does not say that it was there")
	}
	b.want(Invalid, b.apply("a", create(key(1), 9)))
	b.want(Applied, b.apply("a", with(idem(1, 1), create(key(6), 9))))
	b.want(NotFound, b.apply("z", revoke(6)))
	expiring := key(7)
	expiring.ExpiresMs = b.now + 1
	b.want(Applied, b.apply("a", create(expiring, 9)))
	if !usable(7) {
		t.Error("expired before its time")
	}
	if b.now++; usable(7) {
		t.Error("usable after its time")
	}
}

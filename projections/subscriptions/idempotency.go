package subscriptions

import (
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// Times of idempotency keys, in milliseconds of record time.
const (
	// KeyLife is how long a key is remembered, from its fact, or from the answer of a call.
	KeyLife int64 = 24 * 60 * 60 * 1000
	// ClaimLife is how long a call that is not answered keeps its key.
	ClaimLife int64 = 60 * 1000
)

type keyHash [16]byte

// used is an idempotency key in use.
type used struct {
	request keyHash
	// first is the offset of the fact that answers a repeat.
	first int64
	// since is the record time of that fact.
	since int64
	// started is the fact_id of the call that claims the key and has no answer yet; zero otherwise.
	started keyHash
	owner   keyOwner
}

// keyOwner is whose key it is, and the webhook or API key, if any, with which it goes.
type keyOwner struct {
	account string
	webhook *entry
	apiKey  string
}

// live says whether the key still holds at record time now.
func (u *used) live(now int64) bool {
	if u.started != (keyHash{}) {
		return now-u.since < ClaimLife
	}
	return now-u.since < KeyLife
}

// keyBook holds the idempotency keys of a partition.
type keyBook struct {
	byHash map[keyHash]*used
	// calls finds the claim of a CallStarted by its fact_id.
	calls map[keyHash]keyHash
	// aging holds every taking of a key in order of since; record time never
	// falls, so the oldest is first. What was replaced or dropped meanwhile is
	// skipped when it comes up.
	aging []taking
}

type taking struct {
	hash keyHash
	used *used
}

func newKeyBook() keyBook {
	return keyBook{byHash: make(map[keyHash]*used), calls: make(map[keyHash]keyHash)}
}

// find returns a key that holds at record time now.
func (b *keyBook) find(hash keyHash, now int64) *used {
	if u := b.byHash[hash]; u != nil && u.live(now) {
		return u
	}
	return nil
}

// take remembers a key; what held it before has lapsed.
func (b *keyBook) take(hash keyHash, u *used) {
	b.drop(hash)
	b.byHash[hash] = u
	b.aging = append(b.aging, taking{hash, u})
	if u.started != (keyHash{}) {
		b.calls[u.started] = hash
	}
	if e := u.owner.webhook; e != nil {
		if e.keys == nil {
			e.keys = make(map[keyHash]struct{})
		}
		e.keys[hash] = struct{}{}
	}
}

// call returns the unanswered claim of a CallStarted, lapsed or not; nil once
// another call has taken its key, or after KeyLife.
func (b *keyBook) call(started keyHash, now int64) (keyHash, *used) {
	hash, ok := b.calls[started]
	if !ok || now-b.byHash[hash].since >= KeyLife {
		return hash, nil
	}
	return hash, b.byHash[hash]
}

// answer turns a claim into a key whose repeat is answered by the fact at offset.
func (b *keyBook) answer(hash keyHash, u *used, offset, now int64) {
	b.take(hash, &used{request: u.request, first: offset, since: now, owner: u.owner})
}

func (b *keyBook) drop(hash keyHash) {
	u := b.byHash[hash]
	if u == nil {
		return
	}
	delete(b.byHash, hash)
	if u.started != (keyHash{}) {
		delete(b.calls, u.started)
	}
	if e := u.owner.webhook; e != nil {
		delete(e.keys, hash)
	}
}

// dropAPIKey drops the keys that belong to an API key. There are few of those
// and deletions are rare, so it looks through all.
func (b *keyBook) dropAPIKey(id string) {
	for hash, u := range b.byHash {
		if u.owner.apiKey == id {
			b.drop(hash)
		}
	}
}

// expire forgets what is older than KeyLife. An unanswered claim stays as long,
// though it holds its key for ClaimLife only, so that a late answer finds it.
func (b *keyBook) expire(now int64) {
	n := 0
	for _, t := range b.aging {
		if now-t.used.since < KeyLife {
			break
		}
		if b.byHash[t.hash] == t.used {
			b.drop(t.hash)
		}
		n++
	}
	clear(b.aging[:n]) // so that what they point to can go
	b.aging = b.aging[n:]
}

// idempotent says whether a change takes its idempotency key: those behind a
// POST or PATCH of a customer.
func idempotent(f *facts.ConfigFact) bool {
	switch f.GetChange().(type) {
	case *facts.ConfigFact_WebhookCreated, *facts.ConfigFact_WebhookUpdated, *facts.ConfigFact_SecretRotated,
		*facts.ConfigFact_ApiKeyCreated, *facts.ConfigFact_ApiKeyRotated, *facts.ConfigFact_ApiKeyRevoked,
		*facts.ConfigFact_CallStarted:
		return f.GetIdempotency() != nil
	default:
		return false
	}
}

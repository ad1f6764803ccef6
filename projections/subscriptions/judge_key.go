package subscriptions

import (
	"cmp"
	"slices"

	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// findKey returns the API key that the fact is about, or the verdict that there is none.
func (j *judgement) findKey(id string) (*APIKey, Verdict) {
	if k := j.part.keys[id]; k != nil && k.Account == j.fact.GetAccount() {
		return k, j.verdict(Applied)
	}
	return nil, j.verdict(NotFound)
}

// newKey is the API key that the fact makes, or the reason why it can't.
func (j *judgement) newKey(f *facts.ApiKey) (*APIKey, string) {
	k := newAPIKey(j.fact.GetAccount(), f, j.offset)
	if _, gone := j.part.goneKeys[k.ID]; gone || j.part.keys[k.ID] != nil || j.part.byHash[k.Hash] != nil {
		return nil, "the API key's id or hash is taken"
	}
	return k, ""
}

func (j *judgement) apiKeyCreated(c *facts.ApiKeyCreated) (Verdict, effect) {
	k, taken := j.newKey(c.GetKey())
	if taken != "" {
		return j.invalid(taken), nil
	}
	limit := c.GetLimit()
	if limit == 0 {
		limit = DefaultAPIKeyLimit
	}
	if a := j.fold.accounts[k.Account]; a != nil && a.activeKeys >= int(limit) {
		v := j.verdict(Limit)
		v.Allowed = limit
		return v, nil
	}
	v := j.verdict(Applied)
	v.Key = k
	return v, func() keyOwner { return j.addKey(k) }
}

// apiKeyRotated makes the new key and stops the old one, in one fact. It is not
// held to the limit: it adds no active key, and a leaked one must always be replaceable.
func (j *judgement) apiKeyRotated(c *facts.ApiKeyRotated) (Verdict, effect) {
	old, v := j.findKey(c.GetOldKeyId())
	if old == nil {
		return v, nil
	}
	if old.RevokedMs != 0 {
		v.Kind, v.Key, v.Reason = Conflict, old, "the API key is revoked already"
		return v, nil
	}
	k, taken := j.newKey(c.GetKey())
	if taken != "" {
		return j.invalid(taken), nil
	}
	v.Key = k
	return v, func() keyOwner {
		j.stopKey(old)
		return j.addKey(k)
	}
}

// apiKeyRevoked applies to a revoked key too, and changes nothing then.
func (j *judgement) apiKeyRevoked(c *facts.ApiKeyRevoked) (Verdict, effect) {
	k, v := j.findKey(c.GetKeyId())
	if k == nil {
		return v, nil
	}
	stopped := k
	if k.RevokedMs == 0 {
		stopped = k.stopped(j.fact.GetAtMs())
	}
	v.Key = stopped
	return v, func() keyOwner {
		if k.RevokedMs == 0 {
			j.putKey(stopped)
		}
		return keyOwner{account: k.Account, apiKey: k.ID}
	}
}

func (j *judgement) apiKeyDeleted(c *facts.ApiKeyDeleted) (Verdict, effect) {
	k, v := j.findKey(c.GetKeyId())
	if k == nil {
		v.Deleted = j.part.goneKeys[c.GetKeyId()] == j.fact.GetAccount()
		return v, nil
	}
	return v, func() keyOwner {
		a := j.fold.accounts[k.Account]
		i, _ := slices.BinarySearchFunc(a.keys, k.CreatedOffset, byCreation)
		a.keys = slices.Delete(a.keys, i, i+1)
		if k.RevokedMs == 0 {
			a.activeKeys--
		}
		delete(j.part.keys, k.ID)
		delete(j.part.byHash, k.Hash)
		j.part.goneKeys[k.ID] = a.name
		j.part.book.dropAPIKey(k.ID)
		return keyOwner{}
	}
}

func byCreation(k *APIKey, at int64) int { return cmp.Compare(k.CreatedOffset, at) }

func (j *judgement) addKey(k *APIKey) keyOwner {
	a := j.fold.account(k.Account)
	k.Account = a.name
	a.keys = append(a.keys, k)
	a.activeKeys++
	j.part.keys[k.ID] = k
	j.part.byHash[k.Hash] = k
	return keyOwner{account: a.name, apiKey: k.ID}
}

func (k *APIKey) stopped(atMs int64) *APIKey {
	s := *k
	s.RevokedMs = atMs
	return &s
}

func (j *judgement) stopKey(k *APIKey) { j.putKey(k.stopped(j.fact.GetAtMs())) }

// putKey puts the revoked state of a key in the place of the active one.
func (j *judgement) putKey(k *APIKey) {
	a := j.fold.accounts[k.Account]
	i, _ := slices.BinarySearchFunc(a.keys, k.CreatedOffset, byCreation)
	a.keys[i] = k
	a.activeKeys--
	j.part.keys[k.ID] = k
	j.part.byHash[k.Hash] = k
}

// callStarted claims an idempotency key for a call whose effect is not in config.
func (j *judgement) callStarted(c *facts.CallStarted) (Verdict, effect) {
	if len(c.GetWebhookId()) == 0 {
		return j.verdict(Applied), func() keyOwner { return keyOwner{account: j.fact.GetAccount()} }
	}
	e, v := j.find(c.GetWebhookId())
	if e == nil {
		return v, nil
	}
	v.Version = e.now.Version
	return v, func() keyOwner { return keyOwner{account: e.account.name, webhook: e} }
}

// callAnswered settles a claim, also one that has lapsed, unless somebody else
// has claimed the key since.
func (j *judgement) callAnswered(c *facts.CallAnswered) (Verdict, effect) {
	hash, u := j.part.book.call(keyHash(c.GetStartedId()), j.now)
	if u == nil || u.owner.account != j.fact.GetAccount() {
		return j.verdict(NotFound), nil
	}
	return j.verdict(Applied), func() keyOwner {
		if c.GetStatus() == 0 {
			j.part.book.drop(hash)
		} else {
			j.part.book.answer(hash, u, j.offset, j.now)
		}
		return keyOwner{}
	}
}

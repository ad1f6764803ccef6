package subscriptions

import (
	"bytes"
	"cmp"
	"maps"
	"slices"

	"hookledger/ledger/ids"
)

// savedPart is the whole state of a partition in plain values, in one order:
// two folds of the same records have equal ones.
type savedPart struct {
	Next, Time int64
	Last       keyHash
	Webhooks   []savedWebhook // in order of creation
	Deleted    []Tombstone    // in order of deletion
	Keys       []*APIKey      // in order of creation
	GoneKeys   map[string]string
	Used       []savedKey // in order of age, then of hash
}

type savedWebhook struct {
	Webhook *Webhook
	Routed  uint64
}

type savedKey struct {
	Hash, Request, Started keyHash
	First, Since           int64
	Account, APIKey        string
	Webhook                ids.ID
}

// save copies out the state of a partition. Partitions are independent, so
// that each is locked for itself, and for no longer than copying takes.
func (f *Fold) save(partition int) savedPart {
	f.mu.RLock()
	p := f.parts[partition]
	s := savedPart{Next: p.next, Time: p.time, Last: p.last, GoneKeys: maps.Clone(p.goneKeys)}
	for _, e := range p.webhooks {
		s.Webhooks = append(s.Webhooks, savedWebhook{e.now, e.now.routed})
	}
	for _, t := range p.deleted {
		s.Deleted = append(s.Deleted, t)
	}
	for _, k := range p.keys {
		s.Keys = append(s.Keys, k)
	}
	for hash, u := range p.book.byHash {
		k := savedKey{
			Hash: hash, Request: u.request, Started: u.started, First: u.first, Since: u.since,
			Account: u.owner.account, APIKey: u.owner.apiKey,
		}
		if u.owner.webhook != nil {
			k.Webhook = u.owner.webhook.id
		}
		s.Used = append(s.Used, k)
	}
	f.mu.RUnlock()

	slices.SortFunc(s.Webhooks, func(a, b savedWebhook) int { return cmp.Compare(a.Webhook.CreatedOffset, b.Webhook.CreatedOffset) })
	slices.SortFunc(s.Deleted, func(a, b Tombstone) int { return cmp.Compare(a.Offset, b.Offset) })
	slices.SortFunc(s.Keys, func(a, b *APIKey) int { return cmp.Compare(a.CreatedOffset, b.CreatedOffset) })
	slices.SortFunc(s.Used, func(a, b savedKey) int {
		return cmp.Or(cmp.Compare(a.Since, b.Since), bytes.Compare(a.Hash[:], b.Hash[:]))
	})
	return s
}

// restore puts a saved state into a partition that has had no records.
func (f *Fold) restore(partition int, s savedPart) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.parts[partition]
	p.next, p.time, p.last = s.Next, s.Time, s.Last
	maps.Copy(p.goneKeys, s.GoneKeys)
	for _, saved := range s.Webhooks {
		w := saved.Webhook
		w.routed = saved.Routed
		a := f.account(w.Account)
		e := &entry{id: w.ID, account: a, now: w}
		p.webhooks[w.ID] = e
		a.webhooks = append(a.webhooks, e)
		a.index.add(e, w)
	}
	for _, t := range s.Deleted {
		p.deleted[t.ID] = t
	}
	for _, k := range s.Keys {
		a := f.account(k.Account)
		a.keys = append(a.keys, k)
		if k.RevokedMs == 0 {
			a.activeKeys++
		}
		p.keys[k.ID] = k
		p.byHash[k.Hash] = k
	}
	for _, k := range s.Used {
		u := &used{request: k.Request, first: k.First, since: k.Since, started: k.Started}
		u.owner = keyOwner{account: k.Account, webhook: p.webhooks[k.Webhook], apiKey: k.APIKey}
		p.book.take(k.Hash, u)
	}
}

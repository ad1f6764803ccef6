package subscriptions

import (
	"math"
	"slices"

	"hookledger/ledger/ids"
)

// Newest is the cursor of a list's first page, and Last the one after its last.
const (
	Newest int64 = math.MaxInt64
	Last   int64 = -1
)

// Match appends to dst the webhooks that an event goes to, in order of id,
// whatever their status. indexID "" is none. It allocates only to grow dst.
func (f *Fold) Match(dst []*Webhook, account, event, indexID string) []*Webhook {
	f.mu.RLock()
	defer f.mu.RUnlock()
	a := f.accounts[account]
	if a == nil {
		return dst
	}
	return a.index.match(dst, event, indexID)
}

// Webhook returns a living webhook of an account.
func (f *Fold) Webhook(account string, id ids.ID) (*Webhook, bool) {
	w, ok := f.ByID(id)
	if !ok || w.Account != account {
		return nil, false
	}
	return w, true
}

// ByID returns a living webhook, whosever it is.
func (f *Fold) ByID(id ids.ID) (*Webhook, bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, p := range f.parts {
		if e := p.webhooks[id]; e != nil {
			return e.now, true
		}
	}
	return nil, false
}

// Tombstone returns what is known of a deleted webhook, whosever it was.
func (f *Fold) Tombstone(id ids.ID) (Tombstone, bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, p := range f.parts {
		if t, ok := p.deleted[id]; ok {
			return t, true
		}
	}
	return Tombstone{}, false
}

// Webhooks returns up to limit webhooks of an account, the newest first, and
// the cursor of the next page, Last if there is none. before is Newest or a
// cursor; one stays good whatever is created or deleted.
func (f *Fold) Webhooks(account string, before int64, limit int) ([]*Webhook, int64) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	a := f.accounts[account]
	if a == nil || limit <= 0 {
		return nil, Last
	}
	entries, next := page(a.webhooks, before, limit, func(e *entry) int64 { return e.now.CreatedOffset })
	list := make([]*Webhook, len(entries))
	for i, e := range entries {
		list[len(list)-1-i] = e.now
	}
	return list, next
}

// APIKeys returns up to limit API keys of an account, revoked ones too; as Webhooks.
func (f *Fold) APIKeys(account string, before int64, limit int) ([]*APIKey, int64) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	a := f.accounts[account]
	if a == nil || limit <= 0 {
		return nil, Last
	}
	keys, next := page(a.keys, before, limit, func(k *APIKey) int64 { return k.CreatedOffset })
	keys = slices.Clone(keys)
	slices.Reverse(keys)
	return keys, next
}

// page is the last limit elements of list, which is in ascending order, that
// come before a cursor.
func page[T any](list []T, before int64, limit int, at func(T) int64) ([]T, int64) {
	end, _ := slices.BinarySearchFunc(list, before, func(e T, before int64) int {
		if at(e) < before {
			return -1
		}
		return 1
	})
	start := max(0, end-limit)
	if start == 0 {
		return list[:end], Last
	}
	return list[start:end], at(list[start])
}

// APIKey returns an API key of an account, revoked or not, that was not deleted.
func (f *Fold) APIKey(account, id string) (*APIKey, bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, p := range f.parts {
		if k := p.keys[id]; k != nil && k.Account == account {
			return k, true
		}
	}
	return nil, false
}

// KeyByHash returns the API key with this SHA-256, revoked or not; ask its
// Usable. Its time does not depend on how many keys there are.
func (f *Fold) KeyByHash(hash [HashSize]byte) (*APIKey, bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, p := range f.parts {
		if k := p.byHash[hash]; k != nil {
			return k, true
		}
	}
	return nil, false
}

// Count is how many webhooks and API keys live, for gauges.
func (f *Fold) Count() (webhooks, apiKeys int) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, p := range f.parts {
		webhooks += len(p.webhooks)
		apiKeys += len(p.keys)
	}
	return webhooks, apiKeys
}

// SealedWith counts the signing secrets, current and former, by the key that
// sealed them: which keys a key file must have, and which may go.
func (f *Fold) SealedWith() map[string]int {
	f.mu.RLock()
	defer f.mu.RUnlock()
	count := make(map[string]int)
	for _, p := range f.parts {
		for _, e := range p.webhooks {
			count[e.now.Secret.KeyID]++
			for _, s := range e.now.Former {
				count[s.Sealed.KeyID]++
			}
		}
	}
	return count
}

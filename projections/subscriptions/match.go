package subscriptions

import (
	"bytes"
	"slices"

	"hookledger/ledger/ids"
)

// entry is one living webhook: the place that lists point to, so that a change
// that moves no list is one store.
type entry struct {
	id      ids.ID
	account *account
	now     *Webhook
	// keys are the idempotency keys that go when the webhook goes.
	keys map[keyHash]struct{}
}

// entries is a list in order of webhook id, without repetition.
type entries []*entry

func compareID(e *entry, id ids.ID) int { return bytes.Compare(e.id[:], id[:]) }

func (l *entries) add(e *entry) {
	if i, found := slices.BinarySearchFunc(*l, e.id, compareID); !found {
		*l = slices.Insert(*l, i, e)
	}
}

func (l *entries) remove(e *entry) {
	if i, found := slices.BinarySearchFunc(*l, e.id, compareID); found {
		*l = slices.Delete(*l, i, i+1)
	}
}

// subscribers are the webhooks of one account that listen to one event name.
// An event with an index goes to open and byIndex[index], which have no webhook
// in common; one without goes to all. Three lists, so that no match looks at a
// webhook that it does not return.
type subscribers struct {
	all     entries
	open    entries // index_ids null or empty
	byIndex map[string]*entries
}

func (s *subscribers) add(e *entry, indexIDs []string) {
	s.all.add(e)
	if len(indexIDs) == 0 {
		s.open.add(e)
		return
	}
	if s.byIndex == nil {
		s.byIndex = make(map[string]*entries)
	}
	for _, id := range indexIDs {
		l := s.byIndex[id]
		if l == nil {
			l = new(entries)
			s.byIndex[id] = l
		}
		l.add(e)
	}
}

func (s *subscribers) remove(e *entry, indexIDs []string) {
	s.all.remove(e)
	if len(indexIDs) == 0 {
		s.open.remove(e)
		return
	}
	for _, id := range indexIDs {
		if l := s.byIndex[id]; l != nil {
			if l.remove(e); len(*l) == 0 {
				delete(s.byIndex, id)
			}
		}
	}
}

// index is the subscribers of one account by event name.
type index map[string]*subscribers

func (x index) add(e *entry, w *Webhook) {
	for _, name := range w.Events {
		s := x[name]
		if s == nil {
			s = new(subscribers)
			x[name] = s
		}
		s.add(e, w.IndexIDs)
	}
}

func (x index) remove(e *entry, w *Webhook) {
	for _, name := range w.Events {
		if s := x[name]; s != nil {
			if s.remove(e, w.IndexIDs); len(s.all) == 0 {
				delete(x, name)
			}
		}
	}
}

// match appends to dst the webhooks that an event goes to, in order of id.
func (x index) match(dst []*Webhook, event, indexID string) []*Webhook {
	s := x[event]
	if s == nil {
		return dst
	}
	if indexID == "" {
		return appendNow(dst, s.all)
	}
	var only entries
	if l := s.byIndex[indexID]; l != nil {
		only = *l
	}
	open := s.open
	for len(open) > 0 && len(only) > 0 {
		if compareID(open[0], only[0].id) < 0 {
			dst, open = append(dst, open[0].now), open[1:]
		} else {
			dst, only = append(dst, only[0].now), only[1:]
		}
	}
	return appendNow(appendNow(dst, open), only)
}

func appendNow(dst []*Webhook, l entries) []*Webhook {
	for _, e := range l {
		dst = append(dst, e.now)
	}
	return dst
}

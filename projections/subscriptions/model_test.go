package subscriptions

import (
	"slices"

	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// model says the rules again, as simply as they can be said: lists that are
// searched, nothing indexed, nothing forgotten.
type model struct {
	time  int64
	hooks []*modelHook
	keys  []*modelKey
	used  []*modelUsed
}

type modelHook struct {
	account, name, url, reason string
	id                         string
	events, indexes            []string
	status                     facts.WebhookStatus
	metadata                   string
	metadataAt                 int64
	version, routed            uint64
	secrets                    []string
	until                      []int64
	deleted                    bool
}

type modelKey struct {
	account, id      string
	revoked, deleted bool
}

// modelUsed is one use of an idempotency key.
type modelUsed struct {
	key, request, claim, account string
	first, since                 int64
	hook                         *modelHook
	apiKey                       string
	gone                         bool
}

func (m *model) lookUp(key string) *modelUsed {
	for _, u := range slices.Backward(m.used) {
		if u.key == key && !u.gone && (u.claim == "" && m.time < u.since+KeyLife || u.claim != "" && m.time < u.since+ClaimLife) {
			return u
		}
	}
	return nil
}

func (m *model) apply(offset, at int64, f *facts.ConfigFact) (v Verdict) {
	m.time = max(m.time, at)
	use := &modelUsed{first: offset, since: m.time, account: f.GetAccount()}
	if i := f.GetIdempotency(); i != nil {
		use.key, use.request = string(i.GetKeyHash()), string(i.GetRequestHash())
		switch u := m.lookUp(use.key); {
		case u == nil:
		case u.request != use.request:
			return Verdict{Kind: Mismatch}
		case u.claim != "":
			return Verdict{Kind: InProgress}
		default:
			return Verdict{Kind: Repeat, First: u.first}
		}
		defer func() {
			if v.Kind == Applied {
				m.used = append(m.used, use)
			}
		}()
	}
	var hook *modelHook
	var deleted bool
	find := func(id []byte) bool {
		for _, h := range m.hooks {
			if h.id == string(id) && h.account == f.GetAccount() {
				hook, deleted = h, h.deleted
			}
		}
		use.hook = hook
		return hook != nil && !deleted
	}
	findKey := func(id string) *modelKey {
		for _, k := range m.keys {
			if k.id == id && k.account == f.GetAccount() {
				deleted = k.deleted
				if !deleted {
					return k
				}
			}
		}
		return nil
	}
	count := func() (hooks, keys int) {
		for _, h := range m.hooks {
			if h.account == f.GetAccount() && !h.deleted {
				hooks++
			}
		}
		for _, k := range m.keys {
			if k.account == f.GetAccount() && !k.deleted && !k.revoked {
				keys++
			}
		}
		return hooks, keys
	}
	notFound := func() Verdict { return Verdict{Kind: NotFound, Deleted: deleted} }
	stale := func() Verdict { return Verdict{Kind: Conflict, Version: hook.version} }
	switch c := f.GetChange().(type) {
	case *facts.ConfigFact_WebhookCreated:
		limit := c.WebhookCreated.GetLimit()
		if n, _ := count(); n >= int(limit) {
			return Verdict{Kind: Limit, Allowed: limit}
		}
		hook = &modelHook{account: f.GetAccount(), id: string(c.WebhookCreated.GetWebhook().GetWebhookId()), routed: 1, metadataAt: NoMetadata}
		hook.set(c.WebhookCreated.GetWebhook(), offset)
		hook.secrets = []string{string(c.WebhookCreated.GetSecret().GetBox())}
		m.hooks = append(m.hooks, hook)
		use.hook = hook
	case *facts.ConfigFact_WebhookUpdated:
		w := c.WebhookUpdated.GetWebhook()
		if !find(w.GetWebhookId()) {
			return notFound()
		}
		if c.WebhookUpdated.GetExpectedVersion() != hook.version {
			return stale()
		}
		if w.GetUrl() != hook.url || w.GetStatus() == active && hook.status != active {
			hook.routed = hook.version + 1
		}
		hook.set(w, offset)
	case *facts.ConfigFact_WebhookDisabled:
		if !find(c.WebhookDisabled.GetWebhookId()) {
			return notFound()
		}
		judged := c.WebhookDisabled.GetExpectedVersion()
		if judged < hook.routed || judged > hook.version || hook.status == disabled {
			return stale()
		}
		hook.status, hook.reason = disabled, c.WebhookDisabled.GetReason()
		hook.version++
	case *facts.ConfigFact_SecretRotated:
		if !find(c.SecretRotated.GetWebhookId()) {
			return notFound()
		}
		if c.SecretRotated.GetExpectedVersion() != hook.version {
			return stale()
		}
		secrets, until := []string{string(c.SecretRotated.GetSecret().GetBox())}, []int64(nil)
		if end := c.SecretRotated.GetOverlapUntilMs(); end > 0 {
			secrets, until = append(secrets, hook.secrets[0]), append(until, end)
			for i, end := range hook.until {
				if end > m.time && len(until) < MaxFormer {
					secrets, until = append(secrets, hook.secrets[i+1]), append(until, end)
				}
			}
		}
		hook.secrets, hook.until = secrets, until
		hook.version++
	case *facts.ConfigFact_WebhookDeleted:
		if !find(c.WebhookDeleted.GetWebhookId()) {
			return notFound()
		}
		if e := c.WebhookDeleted.GetExpectedVersion(); e != 0 && e != hook.version {
			return stale()
		}
		hook.deleted = true
		for _, u := range m.used {
			u.gone = u.gone || u.hook == hook
		}
	case *facts.ConfigFact_ApiKeyCreated:
		limit := c.ApiKeyCreated.GetLimit()
		if _, n := count(); n >= int(limit) {
			return Verdict{Kind: Limit, Allowed: limit}
		}
		use.apiKey = c.ApiKeyCreated.GetKey().GetKeyId()
		m.keys = append(m.keys, &modelKey{account: f.GetAccount(), id: use.apiKey})
		return Verdict{Kind: Applied}
	case *facts.ConfigFact_ApiKeyRotated:
		k := findKey(c.ApiKeyRotated.GetOldKeyId())
		if k == nil {
			return Verdict{Kind: NotFound}
		}
		if k.revoked {
			return Verdict{Kind: Conflict}
		}
		k.revoked = true
		use.apiKey = c.ApiKeyRotated.GetKey().GetKeyId()
		m.keys = append(m.keys, &modelKey{account: f.GetAccount(), id: use.apiKey})
		return Verdict{Kind: Applied}
	case *facts.ConfigFact_ApiKeyRevoked:
		k := findKey(c.ApiKeyRevoked.GetKeyId())
		if k == nil {
			return Verdict{Kind: NotFound}
		}
		k.revoked, use.apiKey = true, k.id
		return Verdict{Kind: Applied}
	case *facts.ConfigFact_ApiKeyDeleted:
		k := findKey(c.ApiKeyDeleted.GetKeyId())
		if k == nil {
			return notFound()
		}
		k.deleted = true
		for _, u := range m.used {
			u.gone = u.gone || u.apiKey == k.id
		}
		return Verdict{Kind: Applied}
	case *facts.ConfigFact_CallStarted:
		if !find(c.CallStarted.GetWebhookId()) {
			return notFound()
		}
		use.claim = string(f.GetFactId())
	case *facts.ConfigFact_CallAnswered:
		for i, u := range m.used {
			taken := slices.ContainsFunc(m.used[i+1:], func(o *modelUsed) bool { return o.key == u.key })
			if u.claim != string(c.CallAnswered.GetStartedId()) || u.gone || u.account != f.GetAccount() ||
				taken || m.time >= u.since+KeyLife {
				continue
			}
			answer := *u
			u.gone = true
			if c.CallAnswered.GetStatus() != 0 {
				answer.claim, answer.first, answer.since = "", offset, m.time
				m.used = append(m.used, &answer)
			}
			return Verdict{Kind: Applied}
		}
		return Verdict{Kind: NotFound}
	}
	return Verdict{Kind: Applied, Version: hook.version}
}

func (h *modelHook) set(w *facts.Webhook, offset int64) {
	h.name, h.url, h.events, h.indexes = w.GetName(), w.GetUrl(), w.GetEvents(), w.GetIndexIds()
	h.status, h.version = w.GetStatus(), w.GetVersion()
	if h.status != disabled {
		h.reason = ""
	}
	if string(w.GetMetadata()) != h.metadata {
		h.metadata, h.metadataAt = string(w.GetMetadata()), offset
		if h.metadata == "" {
			h.metadataAt = NoMetadata
		}
	}
}

// matches is the contract's rule, word by word.
func (h *modelHook) matches(event, index string) bool {
	switch {
	case h.deleted || !slices.Contains(h.events, event):
		return false
	case index == "":
		return true
	default:
		return len(h.indexes) == 0 || slices.Contains(h.indexes, index)
	}
}

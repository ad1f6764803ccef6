package subscriptions

import (
	"bytes"
	"cmp"
	"slices"

	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// find returns the webhook that the fact is about, or the verdict that there is none.
func (j *judgement) find(id []byte) (*entry, Verdict) {
	e := j.part.webhooks[ids.ID(id)]
	if e != nil && e.account.name == j.fact.GetAccount() {
		v := j.verdict(Applied)
		v.WebhookID = e.id
		return e, v
	}
	v := j.verdict(NotFound)
	v.WebhookID = ids.ID(id)
	t, gone := j.part.deleted[v.WebhookID]
	v.Deleted = gone && t.Account == j.fact.GetAccount()
	return nil, v
}

func conflict(v Verdict, w *Webhook, reason string) (Verdict, effect) {
	v.Kind, v.Version, v.Webhook, v.Reason = Conflict, w.Version, w, reason
	return v, nil
}

const movedOn = "the webhook has been changed since"

func (j *judgement) webhookCreated(c *facts.WebhookCreated) (Verdict, effect) {
	w := newWebhook(j.fact.GetAccount(), c.GetWebhook())
	if _, gone := j.part.deleted[w.ID]; gone || j.part.webhooks[w.ID] != nil {
		return j.invalid("the webhook's id is taken"), nil
	}
	limit := c.GetLimit()
	if limit == 0 {
		limit = DefaultWebhookLimit
	}
	if a := j.fold.accounts[w.Account]; a != nil && len(a.webhooks) >= int(limit) {
		v := j.verdict(Limit)
		v.Allowed = limit
		return v, nil
	}
	w.Partition, w.CreatedOffset, w.routed = j.part.id, j.offset, w.Version
	w.Secret = Sealed{KeyID: c.GetSecret().GetKeyId(), Box: c.GetSecret().GetBox()}
	if w.Metadata != nil {
		w.MetadataOffset = j.offset
	}
	v := j.verdict(Applied)
	v.WebhookID, v.Version, v.Webhook = w.ID, w.Version, w
	return v, func() keyOwner {
		a := j.fold.account(w.Account)
		w.Account = a.name // one copy of the name
		e := &entry{id: w.ID, account: a, now: w}
		j.part.webhooks[w.ID] = e
		a.webhooks = append(a.webhooks, e)
		a.index.add(e, w)
		return keyOwner{account: a.name, webhook: e}
	}
}

// changed is the applied verdict of a change of a webhook, with the effect that puts w in its place.
func changed(v Verdict, e *entry, w *Webhook) (Verdict, effect) {
	v.Version, v.Webhook = w.Version, w
	return v, func() keyOwner {
		if !slices.Equal(e.now.Events, w.Events) || !slices.Equal(e.now.IndexIDs, w.IndexIDs) {
			e.account.index.remove(e, e.now)
			e.account.index.add(e, w)
		}
		e.now = w
		return keyOwner{account: e.account.name, webhook: e}
	}
}

func (j *judgement) webhookUpdated(c *facts.WebhookUpdated) (Verdict, effect) {
	e, v := j.find(c.GetWebhook().GetWebhookId())
	if e == nil {
		return v, nil
	}
	was := e.now
	if c.GetExpectedVersion() != was.Version {
		return conflict(v, was, movedOn)
	}
	w := newWebhook(was.Account, c.GetWebhook())
	switch {
	case w.CreatedMs != was.CreatedMs:
		return j.invalid("an update changes created_ms"), nil
	case w.Status != facts.WebhookStatus_WEBHOOK_STATUS_DISABLED:
		w.DisabledReason = ""
	case was.Status != facts.WebhookStatus_WEBHOOK_STATUS_DISABLED:
		return j.invalid("an update disables the webhook"), nil
	default:
		w.DisabledReason = was.DisabledReason
	}
	w.Partition, w.CreatedOffset = was.Partition, was.CreatedOffset
	w.Secret, w.Former = was.Secret, was.Former
	switch {
	case bytes.Equal(w.Metadata, was.Metadata):
		w.MetadataOffset = was.MetadataOffset
	case w.Metadata != nil:
		w.MetadataOffset = j.offset
	}
	resumed := was.Status != facts.WebhookStatus_WEBHOOK_STATUS_ACTIVE && w.Status == facts.WebhookStatus_WEBHOOK_STATUS_ACTIVE
	w.routed = was.routed
	if resumed || w.URL != was.URL {
		w.routed = w.Version
	}
	return changed(v, e, w)
}

// webhookDisabled applies unless the URL was changed or the webhook resumed
// after the version that was judged: a new name does not make a dead receiver live.
func (j *judgement) webhookDisabled(c *facts.WebhookDisabled) (Verdict, effect) {
	e, v := j.find(c.GetWebhookId())
	if e == nil {
		return v, nil
	}
	was := e.now
	switch {
	case was.Status == facts.WebhookStatus_WEBHOOK_STATUS_DISABLED:
		return conflict(v, was, "the webhook is disabled already")
	case c.GetExpectedVersion() < was.routed || c.GetExpectedVersion() > was.Version:
		return conflict(v, was, "the webhook has a newer URL, or was resumed, since it was judged")
	}
	w := *was
	w.Status, w.DisabledReason = facts.WebhookStatus_WEBHOOK_STATUS_DISABLED, c.GetReason()
	w.UpdatedMs, w.Version = j.fact.GetAtMs(), was.Version+1
	return changed(v, e, &w)
}

func (j *judgement) secretRotated(c *facts.SecretRotated) (Verdict, effect) {
	e, v := j.find(c.GetWebhookId())
	if e == nil {
		return v, nil
	}
	if c.GetExpectedVersion() != e.now.Version {
		return conflict(v, e.now, movedOn)
	}
	w := *e.now
	w.replaceSecret(c.GetSecret(), c.GetOverlapUntilMs(), j.now)
	w.UpdatedMs, w.Version = j.fact.GetAtMs(), e.now.Version+1
	return changed(v, e, &w)
}

func (j *judgement) webhookDeleted(c *facts.WebhookDeleted) (Verdict, effect) {
	e, v := j.find(c.GetWebhookId())
	if e == nil {
		return v, nil
	}
	if c.GetExpectedVersion() != 0 && c.GetExpectedVersion() != e.now.Version {
		return conflict(v, e.now, movedOn)
	}
	v.Version = e.now.Version
	return v, func() keyOwner {
		a := e.account
		a.index.remove(e, e.now)
		i, _ := slices.BinarySearchFunc(a.webhooks, e.now.CreatedOffset, func(o *entry, at int64) int {
			return cmp.Compare(o.now.CreatedOffset, at)
		})
		a.webhooks = slices.Delete(a.webhooks, i, i+1)
		for hash := range e.keys {
			j.part.book.drop(hash)
		}
		delete(j.part.webhooks, e.id)
		j.part.deleted[e.id] = Tombstone{ID: e.id, Account: a.name, DeletedMs: j.fact.GetAtMs(), Offset: j.offset}
		return keyOwner{}
	}
}

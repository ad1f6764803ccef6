package subscriptions

import (
	"bytes"
	"fmt"

	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// judgement is one fact before the fold. Judging reads only; what an Applied
// fact changes is done by the effect, which names whose its idempotency key is.
type judgement struct {
	fold   *Fold
	part   *part
	fact   *facts.ConfigFact
	offset int64
	now    int64
}

type effect func() keyOwner

// judge is the rules, version 1. In this order: does the fact contradict
// itself, is it a repeat, is there what it is about, is its version the current
// one, is there room.
func (j *judgement) judge() (Verdict, effect) {
	if reason := j.malformed(); reason != "" {
		return j.invalid(reason), nil
	}
	if idempotent(j.fact) {
		if v, repeated := j.repeat(); repeated {
			return v, nil
		}
	}
	switch c := j.fact.GetChange().(type) {
	case *facts.ConfigFact_WebhookCreated:
		return j.webhookCreated(c.WebhookCreated)
	case *facts.ConfigFact_WebhookUpdated:
		return j.webhookUpdated(c.WebhookUpdated)
	case *facts.ConfigFact_WebhookDisabled:
		return j.webhookDisabled(c.WebhookDisabled)
	case *facts.ConfigFact_SecretRotated:
		return j.secretRotated(c.SecretRotated)
	case *facts.ConfigFact_WebhookDeleted:
		return j.webhookDeleted(c.WebhookDeleted)
	case *facts.ConfigFact_ApiKeyCreated:
		return j.apiKeyCreated(c.ApiKeyCreated)
	case *facts.ConfigFact_ApiKeyRotated:
		return j.apiKeyRotated(c.ApiKeyRotated)
	case *facts.ConfigFact_ApiKeyRevoked:
		return j.apiKeyRevoked(c.ApiKeyRevoked)
	case *facts.ConfigFact_ApiKeyDeleted:
		return j.apiKeyDeleted(c.ApiKeyDeleted)
	case *facts.ConfigFact_CallStarted:
		return j.callStarted(c.CallStarted)
	case *facts.ConfigFact_CallAnswered:
		return j.callAnswered(c.CallAnswered)
	}
	return j.invalid("no change"), nil // admit lets none through; Precheck may be asked
}

func (j *judgement) verdict(k Kind) Verdict {
	return Verdict{Kind: k, Partition: j.part.id, Offset: j.offset}
}

func (j *judgement) invalid(reason string) Verdict {
	v := j.verdict(Invalid)
	v.Reason = reason
	return v
}

// repeat judges the fact by its idempotency key.
func (j *judgement) repeat() (Verdict, bool) {
	key := j.fact.GetIdempotency()
	u := j.part.book.find(keyHash(key.GetKeyHash()), j.now)
	switch {
	case u == nil:
		return Verdict{}, false
	case u.request != keyHash(key.GetRequestHash()):
		return j.verdict(Mismatch), true
	case u.started != keyHash{}:
		return j.verdict(InProgress), true
	}
	v := j.verdict(Repeat)
	v.First = u.first
	return v, true
}

// used is the fact's idempotency key once it is taken.
func (j *judgement) used(owner keyOwner) *used {
	u := &used{
		request: keyHash(j.fact.GetIdempotency().GetRequestHash()),
		first:   j.offset, since: j.now, owner: owner,
	}
	if j.fact.GetCallStarted() != nil {
		u.started = keyHash(j.fact.GetFactId())
	}
	return u
}

// malformed says how the fact contradicts itself, "" if it does not.
func (j *judgement) malformed() string {
	f := j.fact
	switch {
	case len(f.GetFactId()) != ids.Size || keyHash(f.GetFactId()) == keyHash{}:
		return "no fact id"
	case f.GetRules() == 0:
		return "no version of the rules"
	case f.GetAccount() == "":
		return "no account"
	case j.fold.partitionOf(f.GetAccount()) != j.part.id:
		return "the account belongs to another partition"
	case f.GetAtMs() <= 0:
		return "no time"
	}
	if i := f.GetIdempotency(); i != nil && (len(i.GetKeyHash()) != len(keyHash{}) || len(i.GetRequestHash()) != len(keyHash{})) {
		return "an idempotency key without its hashes"
	}
	return malformedChange(f)
}

func malformedChange(f *facts.ConfigFact) string {
	switch c := f.GetChange().(type) {
	case *facts.ConfigFact_WebhookCreated:
		w := c.WebhookCreated.GetWebhook()
		if w.GetVersion() != 1 || w.GetStatus() == facts.WebhookStatus_WEBHOOK_STATUS_DISABLED {
			return "a new webhook has version 1 and is not disabled"
		}
		return either(malformedWebhook(w), malformedSecret(c.WebhookCreated.GetSecret()))
	case *facts.ConfigFact_WebhookUpdated:
		w := c.WebhookUpdated.GetWebhook()
		if w.GetVersion() != c.WebhookUpdated.GetExpectedVersion()+1 {
			return "the version after an update is the expected one and one more"
		}
		return malformedWebhook(w)
	case *facts.ConfigFact_WebhookDisabled:
		return malformedID(c.WebhookDisabled.GetWebhookId())
	case *facts.ConfigFact_SecretRotated:
		return either(malformedID(c.SecretRotated.GetWebhookId()), malformedSecret(c.SecretRotated.GetSecret()))
	case *facts.ConfigFact_WebhookDeleted:
		return malformedID(c.WebhookDeleted.GetWebhookId())
	case *facts.ConfigFact_ApiKeyCreated:
		return malformedKey(c.ApiKeyCreated.GetKey())
	case *facts.ConfigFact_ApiKeyRotated:
		return malformedKey(c.ApiKeyRotated.GetKey())
	case *facts.ConfigFact_CallStarted:
		if f.GetIdempotency() == nil {
			return "a call that claims no idempotency key"
		}
		if id := c.CallStarted.GetWebhookId(); len(id) != 0 {
			return malformedID(id)
		}
	case *facts.ConfigFact_CallAnswered:
		return malformedID(c.CallAnswered.GetStartedId())
	}
	return ""
}

func malformedWebhook(w *facts.Webhook) string {
	switch w.GetStatus() {
	case facts.WebhookStatus_WEBHOOK_STATUS_ACTIVE, facts.WebhookStatus_WEBHOOK_STATUS_PAUSED,
		facts.WebhookStatus_WEBHOOK_STATUS_DISABLED:
		return malformedID(w.GetWebhookId())
	default:
		return fmt.Sprintf("unknown status %d", w.GetStatus())
	}
}

func malformedSecret(s *facts.Sealed) string {
	if s.GetKeyId() == "" || len(s.GetBox()) == 0 {
		return "no secret"
	}
	return ""
}

func malformedKey(k *facts.ApiKey) string {
	if k.GetKeyId() == "" || len(k.GetKeyHash()) != HashSize {
		return "an API key without id or hash"
	}
	return ""
}

func malformedID(id []byte) string {
	if len(id) != ids.Size || bytes.Count(id, []byte{0}) == ids.Size {
		return "no id"
	}
	return ""
}

func either(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

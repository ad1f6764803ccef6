package subscriptions

import (
	"errors"
	"testing"

	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

func TestRecordsThatStopTheFold(t *testing.T) {
	b := newBench(t)
	b.apply("a", newFact(1, nil))
	p := testPartition("a")
	newer := b.fact("a", newFact(2, nil))
	newer.Rules = Rules + 1
	good := b.fact("a", newFact(2, nil))
	for name, c := range map[string]struct {
		partition int32
		offset    int64
		fact      *facts.ConfigFact
		want      error
	}{
		"newer rules":       {p, 1, newer, ErrNewerRules},
		"no known change":   {p, 1, b.fact("a", &facts.ConfigFact{}), ErrUnknownChange},
		"a gap":             {p, 2, good, ErrOrder},
		"again":             {p, 0, good, ErrOrder},
		"no such partition": {testPartitions, 0, good, ErrOrder},
	} {
		_, err := b.Apply(c.partition, c.offset, b.now, c.fact)
		var record *RecordError
		if !errors.Is(err, c.want) || !errors.As(err, &record) || record.Offset != c.offset {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if b.Next(p) != 1 {
		t.Errorf("the fold went on to %d", b.Next(p))
	}
}

func TestFactsThatContradictThemselves(t *testing.T) {
	b := newBench(t)
	b.apply("a", newFact(1, nil))
	p := testPartition("a")
	misplaced := "m"
	for testPartition(misplaced) == p {
		misplaced += "m"
	}
	for name, spoil := range map[string]func(f *facts.ConfigFact){
		"no fact id":         func(f *facts.ConfigFact) { f.FactId = nil },
		"no rules":           func(f *facts.ConfigFact) { f.Rules = 0 },
		"no account":         func(f *facts.ConfigFact) { f.Account = "" },
		"another partition":  func(f *facts.ConfigFact) { f.Account = misplaced },
		"no time":            func(f *facts.ConfigFact) { f.AtMs = 0 },
		"half a key":         func(f *facts.ConfigFact) { f.Idempotency = &facts.Idempotency{KeyHash: []byte{1}} },
		"no webhook":         func(f *facts.ConfigFact) { f.GetWebhookCreated().Webhook = nil },
		"zero id":            func(f *facts.ConfigFact) { f.GetWebhookCreated().GetWebhook().WebhookId = make([]byte, 16) },
		"a taken id":         func(f *facts.ConfigFact) { id := testID(1); f.GetWebhookCreated().GetWebhook().WebhookId = id[:] },
		"another version":    func(f *facts.ConfigFact) { f.GetWebhookCreated().GetWebhook().Version = 2 },
		"no status":          func(f *facts.ConfigFact) { f.GetWebhookCreated().GetWebhook().Status = 0 },
		"no secret":          func(f *facts.ConfigFact) { f.GetWebhookCreated().Secret = nil },
		"nil change inside":  func(f *facts.ConfigFact) { f.Change = &facts.ConfigFact_WebhookUpdated{} },
		"a call without key": func(f *facts.ConfigFact) { f.Change = &facts.ConfigFact_CallStarted{} },
		"an answer to none":  func(f *facts.ConfigFact) { f.Change = &facts.ConfigFact_CallAnswered{} },
		"a key without hash": func(f *facts.ConfigFact) { f.Change = &facts.ConfigFact_ApiKeyCreated{} },
		"rotated to nothing": func(f *facts.ConfigFact) { f.Change = &facts.ConfigFact_ApiKeyRotated{} },
		"deleted nothing":    func(f *facts.ConfigFact) { f.Change = &facts.ConfigFact_WebhookDeleted{} },
		"disabled nothing":   func(f *facts.ConfigFact) { f.Change = &facts.ConfigFact_WebhookDisabled{} },
		"rotated no webhook": func(f *facts.ConfigFact) { f.Change = &facts.ConfigFact_SecretRotated{} },
		"changes created_ms": func(f *facts.ConfigFact) {
			u := b.update("a", 1, func(w *facts.Webhook) { w.CreatedMs++ })
			f.Change = u.GetChange()
		},
	} {
		f := b.fact("a", newFact(2, nil))
		spoil(f)
		v, err := b.Apply(p, b.Next(p), b.now, f)
		if err != nil || v.Kind != Invalid || v.Reason == "" {
			t.Errorf("%s: %v (%s), %v; want invalid", name, v.Kind, v.Reason, err)
		}
	}
	if n, keys := b.Count(); n != 1 || keys != 0 {
		t.Errorf("%d webhooks and %d keys after all that", n, keys)
	}
}

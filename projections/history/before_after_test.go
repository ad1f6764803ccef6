package history_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"hookledger/ledger/ids"
	"hookledger/projections/history"
	"hookledger/projections/subscriptions"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// shown is a webhook as the view config_changes writes it.
type shown struct {
	Name           string          `json:"name"`
	URL            string          `json:"url"`
	Events         []string        `json:"events"`
	IndexIDs       []string        `json:"index_ids"`
	Status         string          `json:"status"`
	DisabledReason *string         `json:"disabled_reason"`
	Metadata       json.RawMessage `json:"metadata"`
	SecretNumber   int             `json:"secret_number"`
	Version        uint64          `json:"version"`
}

func showWebhook(w *subscriptions.Webhook, secrets int) string {
	if w == nil {
		return ""
	}
	s := shown{
		Name: w.Name, URL: w.URL, Events: w.Events, IndexIDs: w.IndexIDs, SecretNumber: secrets, Version: w.Version, Metadata: w.Metadata,
		Status: map[facts.WebhookStatus]string{1: "active", 2: "paused", 3: "disabled"}[w.Status],
	}
	if w.IndexIDsSet && s.IndexIDs == nil {
		s.IndexIDs = []string{}
	}
	if w.DisabledReason != "" {
		s.DisabledReason = &w.DisabledReason
	}
	text, _ := json.Marshal(s)
	return string(text)
}

// What the view says was there before and after each record is what the fold of
// the log says, whatever was applied or refused.
func TestBeforeAndAfterAreThoseOfTheFold(t *testing.T) {
	h, read, audit := audited(t)
	r := rand.New(rand.NewPCG(21, 22))
	fold := subscriptions.New(1, func(string) int32 { return 0 })
	type state struct{ subject, verdict, before, after string }
	var want []state
	var b history.Batch
	secrets := make(map[ids.ID]int)
	for off := range int64(600) {
		hook := webhook(1 + r.IntN(6) + int(off/150)*6) // some are deleted: new ones come
		was, _ := fold.ByID(hook)
		account := []string{"acme", "acme", "acme", "other"}[r.IntN(4)]
		id := attemptID(9, 1, uint64(off+1))
		at := noon.Add(time.Duration(off) * time.Hour)
		f := &facts.ConfigFact{FactId: id[:], Rules: 1, Account: account, AtMs: at.UnixMilli(), RequestId: fmt.Sprint("req_", off), Actor: &facts.Actor{Kind: 2, Id: "me"}}
		w := &facts.Webhook{
			WebhookId: hook[:], Name: "first", Url: "https://a/ü\"<&>", Events: []string{"export.ready", "media.created"}, Status: 1, Version: 1,
			CreatedMs: 7, UpdatedMs: 7, Metadata: [][]byte{nil, []byte(`{"a": 1.0}`)}[r.IntN(2)],
		}
		expected := uint64(r.IntN(3))
		if was != nil {
			w = was.Fact()
			if r.IntN(4) > 0 {
				expected = was.Version
			}
			w.Version = expected + 1
			switch r.IntN(5) {
			case 0:
				w.Url = fmt.Sprint("https://b/", off)
			case 1:
				w.IndexIds, w.IndexIdsSet = [][]string{nil, {"x", "y"}}[r.IntN(2)], r.IntN(2) == 0
			case 2:
				w.Metadata = fmt.Appendf(nil, `{"n":%d}`, off)
			case 3:
				w.Status = facts.WebhookStatus(1 + r.IntN(3))
			case 4:
				w.Events = []string{"export.failed"}
			}
		}
		sealed := &facts.Sealed{KeyId: "k", Box: []byte("never shown")}
		switch n := r.IntN(20); {
		case was == nil && n < 15 || n == 0:
			f.Change = &facts.ConfigFact_WebhookCreated{WebhookCreated: &facts.WebhookCreated{Webhook: w, Secret: sealed}}
		case n < 12:
			f.Change = &facts.ConfigFact_WebhookUpdated{WebhookUpdated: &facts.WebhookUpdated{ExpectedVersion: expected, Webhook: w, Fields: []string{"url"}}}
		case n < 15:
			f.Change = &facts.ConfigFact_WebhookDisabled{WebhookDisabled: &facts.WebhookDisabled{WebhookId: hook[:], ExpectedVersion: expected, Reason: "gone"}}
		case n < 19:
			f.Change = &facts.ConfigFact_SecretRotated{SecretRotated: &facts.SecretRotated{WebhookId: hook[:], ExpectedVersion: expected, Secret: sealed}}
		default:
			f.Change = &facts.ConfigFact_WebhookDeleted{WebhookDeleted: &facts.WebhookDeleted{WebhookId: hook[:], ExpectedVersion: expected}}
		}
		own, _ := fold.Webhook(account, hook) // another account's webhook is not shown to this one
		before := showWebhook(own, secrets[hook])
		verdict, err := fold.Apply(0, off, at.UnixMilli(), f)
		must(t, err)
		if verdict.Kind == subscriptions.Applied && (f.GetWebhookCreated() != nil || f.GetSecretRotated() != nil) {
			secrets[hook]++
		}
		now, _ := fold.Webhook(account, hook)
		want = append(want, state{hook.Text(ids.Webhook), verdict.Kind.String(), before, showWebhook(now, secrets[hook])})
		b.Changes = append(b.Changes, history.FoldConfig(&kgo.Record{Offset: off, Timestamp: at}, f, verdict.Kind))
	}
	insert(t, h, &b)
	insert(t, h, &b)
	rows, err := read.Query(t.Context(), "SELECT subject_id, verdict, before, after FROM "+audit+".config_changes ORDER BY log_offset")
	must(t, err)
	defer rows.Close()
	applied := 0
	for i := 0; rows.Next(); i++ {
		var got state
		must(t, rows.Scan(&got.subject, &got.verdict, &got.before, &got.after))
		if got.verdict == "not_found" {
			got.verdict = "not found"
		}
		for _, text := range []*string{&got.before, &got.after} {
			if *text != "" {
				var s shown
				must(t, json.Unmarshal([]byte(*text), &s))
				again, err := json.Marshal(s)
				must(t, err)
				*text = string(again)
			}
		}
		if got.verdict == "applied" {
			applied++
		}
		if diff := gocmp.Diff(want[i], got, gocmp.AllowUnexported(state{})); diff != "" {
			t.Fatalf("record %d (-fold +view):\n%s", i, diff)
		}
	}
	must(t, rows.Err())
	if applied < 200 {
		t.Errorf("only %d of 600 were applied", applied)
	}
}

package history

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"hookledger/ledger/ids"
	"hookledger/projections/subscriptions"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// FoldConfig makes the row of a record of config, with what the fold said about
// it. It keeps no secret: neither a sealed one nor the hash of a key.
func FoldConfig(r *kgo.Record, f *facts.ConfigFact, verdict subscriptions.Kind) ConfigRow {
	row := ConfigRow{
		Account: f.GetAccount(), Verdict: int8(verdict), FactID: ids.ID(f.GetFactId()), Rules: f.GetRules(),
		ActorKind: int8(f.GetActor().GetKind()), ActorID: f.GetActor().GetId(), RequestID: f.GetRequestId(),
		AtMs: clampMillis(f.GetAtMs()), RecordMs: clampMillis(r.Timestamp.UnixMilli()),
		Part: uint16(r.Partition), Off: uint64(r.Offset), RecordHash: RecordHash(r),
	}
	if facts.ActorKind_name[int32(row.ActorKind)] == "" {
		row.ActorKind = 0
	}
	var state any
	switch c := f.GetChange().(type) {
	case *facts.ConfigFact_WebhookCreated:
		row.Change, state = 10, row.setWebhook(c.WebhookCreated.GetWebhook())
	case *facts.ConfigFact_WebhookUpdated:
		row.Change, state = 11, row.setWebhook(c.WebhookUpdated.GetWebhook())
		row.ExpectedVersion, row.Fields = c.WebhookUpdated.GetExpectedVersion(), c.WebhookUpdated.GetFields()
	case *facts.ConfigFact_WebhookDisabled:
		row.Change, row.SubjectID = 12, webhookText(c.WebhookDisabled.GetWebhookId())
		row.ExpectedVersion = c.WebhookDisabled.GetExpectedVersion()
		state = map[string]any{"reason": c.WebhookDisabled.GetReason()}
	case *facts.ConfigFact_SecretRotated:
		row.Change, row.SubjectID = 13, webhookText(c.SecretRotated.GetWebhookId())
		row.ExpectedVersion = c.SecretRotated.GetExpectedVersion()
		state = map[string]any{"overlap_until_ms": c.SecretRotated.GetOverlapUntilMs()}
	case *facts.ConfigFact_WebhookDeleted:
		row.Change, row.SubjectID = 14, webhookText(c.WebhookDeleted.GetWebhookId())
		row.ExpectedVersion = c.WebhookDeleted.GetExpectedVersion()
	case *facts.ConfigFact_ApiKeyCreated:
		row.Change, row.SubjectID = 20, keyText(c.ApiKeyCreated.GetKey().GetKeyId())
		state = keyState(c.ApiKeyCreated.GetKey(), "")
	case *facts.ConfigFact_ApiKeyRotated:
		row.Change, row.SubjectID = 21, keyText(c.ApiKeyRotated.GetOldKeyId())
		state = keyState(c.ApiKeyRotated.GetKey(), c.ApiKeyRotated.GetOldKeyId())
	case *facts.ConfigFact_ApiKeyRevoked:
		row.Change, row.SubjectID = 22, keyText(c.ApiKeyRevoked.GetKeyId())
	case *facts.ConfigFact_ApiKeyDeleted:
		row.Change, row.SubjectID = 23, keyText(c.ApiKeyDeleted.GetKeyId())
	case *facts.ConfigFact_CallStarted:
		row.Change, row.SubjectID = 30, c.CallStarted.GetTarget()
		state = map[string]any{"operation": c.CallStarted.GetOperation()}
	case *facts.ConfigFact_CallAnswered:
		row.Change = 31
		started, status := ids.ID{}, c.CallAnswered.GetStatus()
		copy(started[:], c.CallAnswered.GetStartedId())
		state = map[string]any{"started_fact_id": fmt.Sprintf("%X", started), "status": status}
	}
	row.State = stateJSON(state)
	return row
}

// webhookState is a webhook as the audit trail shows it: the API's names.
type webhookState struct {
	WebhookID      string   `json:"webhook_id"`
	Name           string   `json:"name"`
	URL            string   `json:"url"`
	Events         []string `json:"events"`
	IndexIDs       []string `json:"index_ids"`
	Status         string   `json:"status"`
	DisabledReason string   `json:"disabled_reason,omitempty"`
	CreatedMs      int64    `json:"created_ms"`
	UpdatedMs      int64    `json:"updated_ms"`
	Version        uint64   `json:"version"`
}

func (row *ConfigRow) setWebhook(w *facts.Webhook) webhookState {
	row.SubjectID, row.Version, row.Metadata = webhookText(w.GetWebhookId()), w.GetVersion(), w.GetMetadata()
	s := webhookState{
		WebhookID: row.SubjectID, Name: w.GetName(), URL: w.GetUrl(), Events: w.GetEvents(), IndexIDs: w.GetIndexIds(),
		DisabledReason: w.GetDisabledReason(), CreatedMs: w.GetCreatedMs(), UpdatedMs: w.GetUpdatedMs(), Version: w.GetVersion(),
	}
	switch w.GetStatus() {
	case facts.WebhookStatus_WEBHOOK_STATUS_ACTIVE:
		s.Status = "active"
	case facts.WebhookStatus_WEBHOOK_STATUS_PAUSED:
		s.Status = "paused"
	case facts.WebhookStatus_WEBHOOK_STATUS_DISABLED:
		s.Status = "disabled"
	case facts.WebhookStatus_WEBHOOK_STATUS_UNSPECIFIED:
	}
	if w.GetIndexIdsSet() && s.IndexIDs == nil {
		s.IndexIDs = []string{}
	}
	return s
}

// keyState is an API key as the audit trail shows it, without its hash.
func keyState(k *facts.ApiKey, replaces string) any {
	state := map[string]any{
		"key_id": keyText(k.GetKeyId()), "key_prefix": k.GetKeyPrefix(), "name": k.GetName(), "scopes": k.GetScopes(),
		"created_ms": k.GetCreatedMs(), "expires_ms": k.GetExpiresMs(),
	}
	if replaces != "" {
		state["replaces"] = keyText(replaces)
	}
	return state
}

func webhookText(id []byte) string {
	if len(id) != ids.Size {
		return ""
	}
	return ids.ID(id).Text(ids.Webhook)
}

// keyText is a key's id as the API shows it; facts carry it so.
func keyText(id string) string {
	if id == "" || strings.HasPrefix(id, string(ids.Key)) {
		return id
	}
	return string(ids.Key) + id
}

func stateJSON(state any) string {
	if state == nil {
		return ""
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(state); err != nil { // strings and numbers can't fail
		panic(fmt.Sprintf("encode a %T for the audit trail: %v", state, err))
	}
	return string(bytes.TrimRight(b.Bytes(), "\n"))
}

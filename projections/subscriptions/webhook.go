package subscriptions

import (
	"bytes"
	"slices"
	"unique"

	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// MaxFormer bounds how many former secrets sign beside the current one.
const MaxFormer = 4

// NoMetadata is the MetadataOffset of a webhook whose metadata is null.
const NoMetadata int64 = -1

// Webhook is a webhook's state after one of its changes. It never changes.
type Webhook struct {
	ID      ids.ID
	Account string
	Name    string
	URL     string
	// Events as given, in that order.
	Events []string
	// IndexIDs as given; empty means every index. IndexIDsSet tells an empty array from null.
	IndexIDs       []string
	IndexIDsSet    bool
	Status         facts.WebhookStatus
	DisabledReason string
	// Metadata is the JSON object as given; nil is null.
	Metadata []byte
	// Partition of `config` that the account belongs to, and the offset there of
	// the fact that set the metadata now in force, or NoMetadata: the frozen
	// input of a delivery.
	Partition      int32
	MetadataOffset int64
	CreatedMs      int64
	UpdatedMs      int64
	// CreatedOffset is the offset of its WebhookCreated: the order of lists.
	CreatedOffset int64
	// Version counts the applied changes from 1.
	Version uint64
	// Secret signs, and so do the Former ones until their time.
	Secret Sealed
	Former []FormerSecret

	// routed is the version of the newest change of URL or resume: a
	// WebhookDisabled that judged an older one is void.
	routed uint64
}

// Sealed is an encrypted signing secret; ledger/secrets opens it.
type Sealed struct {
	KeyID string
	Box   []byte
}

// Fact is the sealed secret as facts carry it.
func (s Sealed) Fact() *facts.Sealed { return &facts.Sealed{KeyId: s.KeyID, Box: bytes.Clone(s.Box)} }

// FormerSecret is one that a rotation replaced, and that signs too until UntilMs.
type FormerSecret struct {
	Sealed  Sealed
	UntilMs int64
}

// SecretsAt are the secrets that sign at a time, the current one first, the
// newest former one next.
func (w *Webhook) SecretsAt(nowMs int64) []Sealed {
	in := make([]Sealed, 1, 1+len(w.Former))
	in[0] = w.Secret
	for _, f := range w.Former {
		if nowMs < f.UntilMs {
			in = append(in, f.Sealed)
		}
	}
	return in
}

// Matches says whether an event with this name and index ("" is none) goes to
// the webhook. Fold.Match answers the same for a whole account.
func (w *Webhook) Matches(event, indexID string) bool {
	return slices.Contains(w.Events, event) &&
		(indexID == "" || len(w.IndexIDs) == 0 || slices.Contains(w.IndexIDs, indexID))
}

// Fact is the webhook as facts carry it, a copy to change: the next
// WebhookUpdated is Fact() with the fields set, UpdatedMs, and Version raised by one.
func (w *Webhook) Fact() *facts.Webhook {
	return &facts.Webhook{
		WebhookId: bytes.Clone(w.ID[:]), Name: w.Name, Url: w.URL,
		Events: slices.Clone(w.Events), IndexIds: slices.Clone(w.IndexIDs), IndexIdsSet: w.IndexIDsSet,
		Status: w.Status, Metadata: bytes.Clone(w.Metadata),
		CreatedMs: w.CreatedMs, UpdatedMs: w.UpdatedMs, Version: w.Version, DisabledReason: w.DisabledReason,
	}
}

// Tombstone is what stays known of a deleted webhook.
type Tombstone struct {
	ID      ids.ID
	Account string
	// DeletedMs is the clock of the node that deleted it.
	DeletedMs int64
	// Offset of its WebhookDeleted.
	Offset int64
}

// newWebhook reads the webhook of a fact. The fact is kept, not copied.
func newWebhook(account string, f *facts.Webhook) *Webhook {
	w := &Webhook{
		ID: ids.ID(f.GetWebhookId()), Account: account, Name: f.GetName(), URL: f.GetUrl(),
		Events: f.GetEvents(), IndexIDs: f.GetIndexIds(), IndexIDsSet: f.GetIndexIdsSet(),
		Status: f.GetStatus(), DisabledReason: f.GetDisabledReason(), Metadata: f.GetMetadata(),
		MetadataOffset: NoMetadata, CreatedMs: f.GetCreatedMs(), UpdatedMs: f.GetUpdatedMs(), Version: f.GetVersion(),
	}
	if len(w.Metadata) == 0 {
		w.Metadata = nil
	}
	if len(w.IndexIDs) > 0 {
		w.IndexIDsSet = true
	} else {
		w.IndexIDs = nil
	}
	// Names of events repeat in every webhook: one copy of each is enough.
	w.Events = slices.Clone(w.Events)
	for i, e := range w.Events {
		w.Events[i] = unique.Make(e).Value()
	}
	return w
}

// replaceSecret is the webhook's secrets after a rotation at record time now.
func (w *Webhook) replaceSecret(s *facts.Sealed, overlapUntilMs, nowMs int64) {
	former := w.Former
	w.Former = nil
	if overlapUntilMs > 0 {
		w.Former = append(w.Former, FormerSecret{w.Secret, overlapUntilMs})
		for _, f := range former {
			if f.UntilMs > nowMs && len(w.Former) < MaxFormer {
				w.Former = append(w.Former, f)
			}
		}
	}
	w.Secret = Sealed{KeyID: s.GetKeyId(), Box: s.GetBox()}
}

package subscriptions

import (
	"slices"

	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// HashSize is the length of an API key's hash.
const HashSize = 32

// APIKey is what is known of an API key: never the key. It never changes.
type APIKey struct {
	ID, Prefix, Name string
	Account          string
	Scopes           []string
	CreatedMs        int64
	// ExpiresMs is 0 for never; see Usable.
	ExpiresMs int64
	// RevokedMs is 0 while it was neither revoked nor rotated away.
	RevokedMs int64
	Hash      [HashSize]byte
	MasterID  string
	// CreatedOffset is the offset of the fact that made it: the order of lists.
	CreatedOffset int64
}

// Usable says whether the key opens anything at a time. Revocation is the
// log's; expiry is judged by the clock of the request.
func (k *APIKey) Usable(nowMs int64) bool {
	return k.RevokedMs == 0 && (k.ExpiresMs == 0 || nowMs < k.ExpiresMs)
}

// Fact is the key as facts carry it, a copy.
func (k *APIKey) Fact() *facts.ApiKey {
	return &facts.ApiKey{
		KeyId: k.ID, KeyPrefix: k.Prefix, Name: k.Name, Scopes: slices.Clone(k.Scopes),
		CreatedMs: k.CreatedMs, ExpiresMs: k.ExpiresMs, KeyHash: slices.Clone(k.Hash[:]),
		RevokedMs: k.RevokedMs, MasterId: k.MasterID,
	}
}

func newAPIKey(account string, f *facts.ApiKey, offset int64) *APIKey {
	return &APIKey{
		ID: f.GetKeyId(), Prefix: f.GetKeyPrefix(), Name: f.GetName(), Account: account, Scopes: f.GetScopes(),
		CreatedMs: f.GetCreatedMs(), ExpiresMs: f.GetExpiresMs(), RevokedMs: 0,
		Hash: [HashSize]byte(f.GetKeyHash()), MasterID: f.GetMasterId(), CreatedOffset: offset,
	}
}

package api

import (
	"net/http"
	"slices"
	"time"

	"hookledger/ledger/ids"
	"hookledger/projections/subscriptions"
	"hookledger/schemas/api"
	"hookledger/schemas/api/apierr"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// ListAPIKeys lists the account's keys, newest first.
func (s *server) ListAPIKeys(w http.ResponseWriter, r *http.Request, params api.ListAPIKeysParams) {
	of := listing{name: "api-keys", account: who(r.Context()).account}
	before, limit, err := s.offsetPage(of, params.Limit, params.Cursor)
	if err != nil {
		api.WriteError(w, r, err)
		return
	}
	list, next := s.Config.APIKeys(of.account, before, limit)
	out := make([]api.APIKey, len(list))
	for i, k := range list {
		out[i] = renderKey(k.Fact(), s.Now(), s.lastUsed.of(k.ID))
	}
	api.NextPage(w, r, s.cursor(of, offsetPlace(next)))
	api.WriteJSON(w, r, http.StatusOK, out)
}

// CreateAPIKey makes a key. It is derived from its id, so that a repeat can be
// answered with it again though it lies nowhere.
func (s *server) CreateAPIKey(w http.ResponseWriter, r *http.Request, params api.CreateAPIKeyParams) {
	var in api.APIKeyCreate
	if err := api.Decode(r.Context(), &in); err != nil {
		api.WriteError(w, r, err)
		return
	}
	fact := s.command(r, params.IdempotencyKey)
	scopes := make([]string, 0, len(in.Scopes))
	for i, sc := range in.Scopes {
		if !who(r.Context()).scope.Allows(sc) {
			api.WriteError(w, r, apierr.Forbidden(string(sc), string(who(r.Context()).scope)))
			return
		}
		if !slices.Contains(in.Scopes[:i], sc) {
			scopes = append(scopes, string(sc))
		}
	}
	if len(scopes) == 0 {
		scopes = []string{string(api.ScopeRead)}
	}
	expires := int64(0)
	if in.ExpiresInDays != nil {
		expires = fact.GetAtMs() + int64(*in.ExpiresInDays)*24*time.Hour.Milliseconds()
	}
	key, err := s.newKey(in.Name, scopes, fact.GetAtMs(), expires)
	if err != nil {
		api.WriteError(w, r, err)
		return
	}
	fact.Change = &facts.ConfigFact_ApiKeyCreated{ApiKeyCreated: &facts.ApiKeyCreated{Key: key}}
	s.keyChange(w, r, fact, "", func(stands *facts.ConfigFact) (int, any, error) {
		out, err := s.renderWithValue(stands.GetApiKeyCreated().GetKey())
		return http.StatusCreated, out, err
	})
}

// GetAPIKey answers one key.
func (s *server) GetAPIKey(w http.ResponseWriter, r *http.Request, keyID api.KeyID, params api.GetAPIKeyParams) {
	k, ok := s.Config.APIKey(who(r.Context()).account, keyID)
	if !ok {
		api.WriteError(w, r, apierr.NoAPIKey(keyID))
		return
	}
	answer(w, r, params.IfNoneMatch, renderKey(k.Fact(), s.Now(), s.lastUsed.of(keyID)))
}

// DeleteAPIKey removes a key; it stops working.
func (s *server) DeleteAPIKey(w http.ResponseWriter, r *http.Request, keyID api.KeyID) {
	fact := s.command(r, nil)
	fact.Change = &facts.ConfigFact_ApiKeyDeleted{ApiKeyDeleted: &facts.ApiKeyDeleted{KeyId: keyID}}
	s.keyChange(w, r, fact, keyID, func(*facts.ConfigFact) (int, any, error) {
		return http.StatusOK, api.Message{Message: "API key " + keyID + " is deleted"}, nil
	})
}

// RevokeAPIKey stops a key and keeps it on the record.
func (s *server) RevokeAPIKey(w http.ResponseWriter, r *http.Request, keyID api.KeyID, params api.RevokeAPIKeyParams) {
	fact := s.command(r, params.IdempotencyKey)
	used := s.lastUsed.of(keyID)
	revoked := &facts.ApiKeyRevoked{KeyId: keyID}
	if fact.GetIdempotency() != nil {
		revoked.LastUsedMs = millisOf(used)
	}
	fact.Change = &facts.ConfigFact_ApiKeyRevoked{ApiKeyRevoked: revoked}
	s.keyChange(w, r, fact, keyID, func(stands *facts.ConfigFact) (int, any, error) {
		k, ok := s.Config.APIKey(fact.GetAccount(), keyID)
		if !ok {
			return 0, nil, apierr.NoAPIKey(keyID)
		}
		if stands.GetIdempotency() != nil { // what the first answer showed
			used = timeOf(stands.GetApiKeyRevoked().GetLastUsedMs())
		}
		return http.StatusOK, renderKey(k.Fact(), s.Now(), used), nil
	})
}

// RotateAPIKey makes a key like the old one, which stops working.
func (s *server) RotateAPIKey(w http.ResponseWriter, r *http.Request, keyID api.KeyID, params api.RotateAPIKeyParams) {
	// A repeat is answered though the old key was deleted since: the fold says
	// which it is, and knows nothing of a key that is not there.
	old, ok := s.Config.APIKey(who(r.Context()).account, keyID)
	if !ok {
		old = &subscriptions.APIKey{}
	}
	fact := s.command(r, params.IdempotencyKey)
	expires := int64(0)
	if old.ExpiresMs != 0 { // as long as the old one had when it was made
		expires = fact.GetAtMs() + old.ExpiresMs - old.CreatedMs
	}
	key, err := s.newKey(old.Name, old.Scopes, fact.GetAtMs(), expires)
	if err != nil {
		api.WriteError(w, r, err)
		return
	}
	fact.Change = &facts.ConfigFact_ApiKeyRotated{ApiKeyRotated: &facts.ApiKeyRotated{OldKeyId: keyID, Key: key}}
	s.keyChange(w, r, fact, keyID, func(stands *facts.ConfigFact) (int, any, error) {
		out, err := s.renderWithValue(stands.GetApiKeyRotated().GetKey())
		return http.StatusOK, api.APIKeyRotated{OldKeyID: stands.GetApiKeyRotated().GetOldKeyId(), NewKey: out}, err
	})
}

// keyChange appends a fact about an API key, and answers what the fact that stands says.
func (s *server) keyChange(w http.ResponseWriter, r *http.Request, fact *facts.ConfigFact, keyID string, answer func(*facts.ConfigFact) (int, any, error)) {
	ctx, cancel := s.bounded(r)
	defer cancel()
	verdict, err := s.Config.Command(ctx, fact)
	if err != nil {
		api.WriteError(w, r, unavailable(err))
		return
	}
	switch verdict.Kind {
	case subscriptions.Applied:
	case subscriptions.Repeat:
		fact, err = s.first(ctx, w, fact, verdict)
	case subscriptions.NotFound:
		err = apierr.NoAPIKey(keyID)
	case subscriptions.Conflict:
		err = apierr.KeyInactive(keyID)
	case subscriptions.Limit:
		err = apierr.TooManyAPIKeys(int(verdict.Allowed))
	default:
		err = refusal(verdict, "")
	}
	var status int
	var out any
	if err == nil {
		status, out, err = answer(fact)
	}
	if err != nil {
		api.WriteError(w, r, err)
		return
	}
	api.WriteJSON(w, r, status, out)
}

// newKey is the record of a new API key.
func (s *server) newKey(name string, scopes []string, created, expires int64) (*facts.ApiKey, error) {
	id, err := ids.Random(s.Random)
	if err != nil {
		return nil, err
	}
	value, master := s.Secrets.NewAPIKey(id.Text(ids.Key))
	hash := value.Hash()
	return &facts.ApiKey{
		KeyId: id.Text(ids.Key), KeyPrefix: value.Prefix(), Name: name, Scopes: scopes,
		CreatedMs: created, ExpiresMs: expires, KeyHash: hash[:], MasterId: master,
	}, nil
}

// renderKey is a key as the API shows it at a time, used last at another.
func renderKey(k *facts.ApiKey, now, used time.Time) api.APIKey {
	out := api.APIKey{
		KeyID: k.GetKeyId(), KeyPrefix: k.GetKeyPrefix(), Name: k.GetName(), CreatedAt: millis(k.GetCreatedMs()),
		LastUsedAt: api.NewTime(used),
		IsActive:   k.GetRevokedMs() == 0 && (k.GetExpiresMs() == 0 || k.GetExpiresMs() > now.UnixMilli()),
	}
	for _, sc := range k.GetScopes() {
		out.Scopes = append(out.Scopes, api.Scope(sc))
	}
	if k.GetExpiresMs() != 0 {
		out.ExpiresAt = api.NewTime(time.UnixMilli(k.GetExpiresMs()))
	}
	if k.GetRevokedMs() != 0 {
		out.RevokedAt = api.NewTime(time.UnixMilli(k.GetRevokedMs()))
	}
	return out
}

// renderWithValue is a key as it was made, with its value: so a repeat shows the same.
func (s *server) renderWithValue(k *facts.ApiKey) (api.APIKeyWithValue, error) {
	value, err := s.Secrets.APIKey(k.GetMasterId(), k.GetKeyId())
	if err != nil {
		return api.APIKeyWithValue{}, apierr.Internal(err)
	}
	return api.APIKeyWithValue{APIKey: renderKey(k, time.UnixMilli(k.GetCreatedMs()), time.Time{}), Key: value.Reveal()}, nil
}

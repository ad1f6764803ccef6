package api

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"hookledger/ledger/ids"
	"hookledger/ledger/secrets"
	"hookledger/schemas/api"
	"hookledger/schemas/api/apierr"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// principal is who asks.
type principal struct {
	account string
	actor   *facts.Actor
	scope   api.Scope
}

type principalKey struct{}

// who is the principal of an authorised request.
func who(ctx context.Context) principal {
	p, _ := ctx.Value(principalKey{}).(principal)
	return p
}

// authorize passes the barrier and finds out who asks, and whether they ask too
// much. The barrier comes first, so that a key that was revoked on any node is not
// found.
func (s *server) authorize(answer http.Header, r *http.Request, op api.Operation) (context.Context, error) {
	ctx := r.Context()
	if op.Credential == api.CredentialNone {
		return ctx, nil
	}
	source := s.limits.source(r)
	credential, err := credentialOf(r)
	if err != nil {
		return nil, s.limits.failed(source, err)
	}
	if err := s.limits.mayTry(source, credential); err != nil {
		return nil, err
	}
	if err := s.Config.Barrier(ctx); err != nil {
		return nil, apierr.NoLog(time.Second, err)
	}
	var p principal
	if strings.HasPrefix(credential, secrets.APIKeyPrefix) {
		p, err = s.byKey(credential)
	} else {
		p, err = s.byToken(credential)
	}
	if err != nil {
		return nil, s.limits.failed(source, err)
	}
	s.limits.proved(source, credential)
	if err := s.limits.admit(ctx, answer, p); err != nil {
		return nil, err
	}
	if op.Credential == api.CredentialJWT && p.actor.GetKind() == facts.ActorKind_ACTOR_KIND_API_KEY {
		return nil, apierr.NeedJWT()
	}
	if !p.scope.Allows(op.Scope) {
		return nil, apierr.Forbidden(string(op.Scope), string(p.scope))
	}
	return context.WithValue(ctx, principalKey{}, p), nil
}

// credentialOf reads X-API-Key, or Authorization: Bearer.
func credentialOf(r *http.Request) (string, error) {
	if key := strings.TrimSpace(r.Header.Get("X-API-Key")); key != "" {
		return key, nil
	}
	header := r.Header.Get("Authorization")
	if header == "" {
		return "", apierr.Unauthenticated()
	}
	scheme, value, _ := strings.Cut(header, " ")
	if value = strings.TrimSpace(value); !strings.EqualFold(scheme, "Bearer") || value == "" {
		return "", apierr.BadCredential(errors.New("the header Authorization is not `Bearer` and a credential"))
	}
	return value, nil
}

func (s *server) byKey(value string) (principal, error) {
	text, ok := secrets.ParseAPIKey(value)
	if !ok {
		return principal{}, apierr.BadCredential(errors.New("not an API key"))
	}
	key, ok := s.Config.KeyByHash(text.Hash())
	if !ok {
		return principal{}, apierr.BadCredential(errors.New("no such API key"))
	}
	now := s.Now()
	if !key.Usable(now.UnixMilli()) {
		return principal{}, apierr.BadCredential(errors.New("API key " + key.ID + " is revoked or expired"))
	}
	s.lastUsed.note(key.ID, now)
	return principal{
		account: key.Account, scope: greatest(key.Scopes),
		actor: &facts.Actor{Kind: facts.ActorKind_ACTOR_KIND_API_KEY, Id: key.ID},
	}, nil
}

func (s *server) byToken(value string) (principal, error) {
	claims, err := s.Secrets.VerifyToken(value, s.Now())
	if err != nil {
		return principal{}, apierr.BadCredential(err)
	}
	return principal{
		account: claims.Account, scope: greatest(claims.Scopes),
		actor: &facts.Actor{Kind: facts.ActorKind_ACTOR_KIND_TOKEN, Id: claims.Subject},
	}, nil
}

// greatest is the highest scope of the ladder in a list.
func greatest(scopes []string) api.Scope {
	best := api.ScopeNone
	for _, sc := range scopes {
		if api.Scope(sc).Allows(best) {
			best = api.Scope(sc)
		}
	}
	return best
}

// lastUsed remembers when this node saw an API key last.
type lastUsed struct {
	mu sync.Mutex
	at map[string]time.Time
}

func newLastUsed() *lastUsed { return &lastUsed{at: make(map[string]time.Time)} }

// note is called only for keys that exist, so the map is no larger than their number.
func (l *lastUsed) note(key string, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at[key] = at
}

func (l *lastUsed) of(key string) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.at[key]
}

// command is a fact of config as this request would append it.
func (s *server) command(r *http.Request, key *api.IdempotencyKey) *facts.ConfigFact {
	p := who(r.Context())
	f := &facts.ConfigFact{
		Account: p.account, Actor: p.actor, RequestId: api.RequestID(r.Context()), AtMs: s.Now().UnixMilli(),
	}
	if key != nil && *key != "" {
		f.Idempotency = idempotency(r, p.account, *key)
	}
	return f
}

// idempotency are the hashes of a key and of the request that it came with.
func idempotency(r *http.Request, account, key string) *facts.Idempotency {
	k := ids.FromKey(account, key, -1)
	h := sha256.New()
	h.Write([]byte(r.Method + " " + r.URL.EscapedPath() + "\n"))
	h.Write(api.Body(r.Context()))
	return &facts.Idempotency{KeyHash: k[:], RequestHash: h.Sum(nil)[:16]}
}

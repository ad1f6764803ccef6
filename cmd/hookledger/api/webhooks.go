package api

import (
	"encoding/binary"
	"fmt"
	"net/http"
	"time"

	"hookledger/ledger/ids"
	"hookledger/projections/subscriptions"
	"hookledger/schemas/api"
	"hookledger/schemas/api/apierr"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// maxRaces is how often a change without If-Match is judged again on the newer version.
const maxRaces = 5

// ListEventNames is the catalogue.
func (s *server) ListEventNames(w http.ResponseWriter, r *http.Request) {
	api.WriteJSON(w, r, http.StatusOK, s.Spec.Catalogue().Names())
}

// ListWebhooks lists the account's webhooks, newest first.
func (s *server) ListWebhooks(w http.ResponseWriter, r *http.Request, params api.ListWebhooksParams) {
	of := listing{name: "webhooks", account: who(r.Context()).account}
	before, limit, err := s.offsetPage(of, params.Limit, params.Cursor)
	if err != nil {
		api.WriteError(w, r, err)
		return
	}
	list, next := s.Config.Webhooks(of.account, before, limit)
	stats := s.stats.of(r.Context(), of.account, list...)
	out := make([]api.Webhook, len(list))
	for i, hook := range list {
		out[i] = render(hook, stats[hook.ID])
	}
	api.NextPage(w, r, s.cursor(of, offsetPlace(next)))
	api.WriteJSON(w, r, http.StatusOK, out)
}

// CreateWebhook appends the webhook with a fresh secret.
func (s *server) CreateWebhook(w http.ResponseWriter, r *http.Request, params api.CreateWebhookParams) {
	var in api.WebhookCreate
	if err := api.Decode(r.Context(), &in); err != nil {
		api.WriteError(w, r, err)
		return
	}
	if err := s.checkURL(in.URL); err != nil {
		api.WriteError(w, r, err)
		return
	}
	id, err := ids.Random(s.Random)
	if err != nil {
		api.WriteError(w, r, err)
		return
	}
	secret, sealed, err := s.newSecret(id)
	if err != nil {
		api.WriteError(w, r, err)
		return
	}
	fact := s.command(r, params.IdempotencyKey)
	fact.Change = &facts.ConfigFact_WebhookCreated{WebhookCreated: &facts.WebhookCreated{
		Webhook: &facts.Webhook{
			WebhookId: id[:], Name: in.Name, Url: in.URL, Events: in.Events,
			IndexIds: in.IndexIDs, IndexIdsSet: in.IndexIDs != nil, Metadata: object(in.Metadata),
			Status:    facts.WebhookStatus_WEBHOOK_STATUS_ACTIVE,
			CreatedMs: fact.GetAtMs(), UpdatedMs: fact.GetAtMs(), Version: 1,
		},
		Secret: sealed,
	}}
	ctx, cancel := s.bounded(r)
	defer cancel()
	verdict, err := s.Config.Command(ctx, fact)
	if err != nil {
		api.WriteError(w, r, unavailable(err))
		return
	}
	created := fact
	switch verdict.Kind {
	case subscriptions.Applied:
	case subscriptions.Limit:
		api.WriteError(w, r, apierr.TooManyWebhooks(int(verdict.Allowed)))
		return
	case subscriptions.Repeat:
		if created, err = s.first(ctx, w, fact, verdict); err == nil {
			secret, err = s.openSecret(created.GetWebhookCreated().GetSecret(), ids.ID(created.GetWebhookCreated().GetWebhook().GetWebhookId()))
		}
		if err != nil {
			api.WriteError(w, r, err)
			return
		}
	default:
		api.WriteError(w, r, refusal(verdict, ""))
		return
	}
	hook := created.GetWebhookCreated().GetWebhook()
	out := api.WebhookWithSecret{Webhook: renderFact(hook, webhookStats{}), Secret: secret.Reveal()}
	w.Header().Set("ETag", etag(hook.GetVersion(), webhookStats{}))
	w.Header().Set("Location", "/api/v2/webhooks/"+out.WebhookID)
	api.WriteJSON(w, r, http.StatusCreated, out)
}

// GetWebhook answers one webhook.
func (s *server) GetWebhook(w http.ResponseWriter, r *http.Request, webhookID api.WebhookID, params api.GetWebhookParams) {
	hook, err := s.webhook(r, webhookID)
	if err != nil {
		api.WriteError(w, r, err)
		return
	}
	stats := s.stats.of(r.Context(), hook.Account, hook)[hook.ID]
	tag := etag(hook.Version, stats)
	w.Header().Set("ETag", tag)
	if params.IfNoneMatch != nil && api.MatchETag(*params.IfNoneMatch, tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	api.WriteJSON(w, r, http.StatusOK, render(hook, stats))
}

// UpdateWebhook applies the fields that were given to the version that is
// current, and again on a newer one if it lost a race.
func (s *server) UpdateWebhook(w http.ResponseWriter, r *http.Request, webhookID api.WebhookID, params api.UpdateWebhookParams) {
	var in api.WebhookPatch
	if err := api.Decode(r.Context(), &in); err != nil {
		api.WriteError(w, r, err)
		return
	}
	if in.URL != nil {
		if err := s.checkURL(*in.URL); err != nil {
			api.WriteError(w, r, err)
			return
		}
	}
	var stats webhookStats
	s.change(w, r, webhookID, params.IfMatch, func(hook *subscriptions.Webhook) (*facts.ConfigFact, error) {
		fact := s.command(r, params.IdempotencyKey)
		after, fields := patched(hook, &in)
		after.UpdatedMs, after.Version = fact.GetAtMs(), hook.Version+1
		updated := &facts.WebhookUpdated{ExpectedVersion: hook.Version, Webhook: after, Fields: fields}
		stats = s.stats.of(r.Context(), hook.Account, hook)[hook.ID]
		if fact.GetIdempotency() != nil {
			updated.Figures = stats.fact()
		}
		fact.Change = &facts.ConfigFact_WebhookUpdated{WebhookUpdated: updated}
		return fact, nil
	}, func(fact *facts.ConfigFact) (any, error) {
		updated := fact.GetWebhookUpdated()
		if f := updated.GetFigures(); f != nil { // what the first answer showed
			stats = statsOf(f)
		}
		w.Header().Set("ETag", etag(updated.GetWebhook().GetVersion(), stats))
		return renderFact(updated.GetWebhook(), stats), nil
	})
}

// patched is the webhook after a PATCH, and the names of the fields that it set.
func patched(hook *subscriptions.Webhook, in *api.WebhookPatch) (*facts.Webhook, []string) {
	after := hook.Fact()
	var fields []string
	if in.Name != nil {
		after.Name, fields = *in.Name, append(fields, "name")
	}
	if in.URL != nil {
		after.Url, fields = *in.URL, append(fields, "url")
	}
	if in.Events != nil {
		after.Events, fields = *in.Events, append(fields, "events")
	}
	if in.IndexIDs.Set {
		after.IndexIds, after.IndexIdsSet = in.IndexIDs.Value, !in.IndexIDs.Null
		fields = append(fields, "index_ids")
	}
	if in.Status != nil {
		after.Status = facts.WebhookStatus_WEBHOOK_STATUS_ACTIVE
		if *in.Status == api.WebhookStatusPaused {
			after.Status = facts.WebhookStatus_WEBHOOK_STATUS_PAUSED
		}
		after.DisabledReason = ""
		fields = append(fields, "status")
	}
	if in.Metadata.Set {
		after.Metadata, fields = object(in.Metadata), append(fields, "metadata")
	}
	return after, fields
}

// RotateWebhookSecret gives the webhook a new secret.
func (s *server) RotateWebhookSecret(w http.ResponseWriter, r *http.Request, webhookID api.WebhookID, params api.RotateWebhookSecretParams) {
	var in api.RotateSecret
	if err := api.Decode(r.Context(), &in); err != nil {
		api.WriteError(w, r, err)
		return
	}
	s.change(w, r, webhookID, params.IfMatch, func(hook *subscriptions.Webhook) (*facts.ConfigFact, error) {
		_, sealed, err := s.newSecret(hook.ID)
		if err != nil {
			return nil, err
		}
		fact := s.command(r, params.IdempotencyKey)
		rotated := &facts.SecretRotated{WebhookId: hook.ID[:], ExpectedVersion: hook.Version, Secret: sealed}
		if in.OverlapSeconds != nil && *in.OverlapSeconds > 0 {
			rotated.OverlapUntilMs = fact.GetAtMs() + int64(*in.OverlapSeconds)*time.Second.Milliseconds()
		}
		fact.Change = &facts.ConfigFact_SecretRotated{SecretRotated: rotated}
		return fact, nil
	}, func(fact *facts.ConfigFact) (any, error) {
		id := ids.ID(fact.GetSecretRotated().GetWebhookId())
		w.Header().Set("ETag", etag(fact.GetSecretRotated().GetExpectedVersion()+1, webhookStats{}))
		secret, err := s.openSecret(fact.GetSecretRotated().GetSecret(), id)
		if err != nil {
			return nil, err
		}
		return api.RotatedSecret{WebhookID: id.Text(ids.Webhook), NewSecret: secret.Reveal()}, nil
	})
}

// DeleteWebhook deletes whatever version is current, or that of If-Match.
func (s *server) DeleteWebhook(w http.ResponseWriter, r *http.Request, webhookID api.WebhookID, params api.DeleteWebhookParams) {
	s.change(w, r, webhookID, params.IfMatch, func(hook *subscriptions.Webhook) (*facts.ConfigFact, error) {
		fact := s.command(r, nil)
		deleted := &facts.WebhookDeleted{WebhookId: hook.ID[:]}
		if params.IfMatch != nil {
			deleted.ExpectedVersion = hook.Version
		}
		fact.Change = &facts.ConfigFact_WebhookDeleted{WebhookDeleted: deleted}
		return fact, nil
	}, func(*facts.ConfigFact) (any, error) {
		return api.Message{Message: "webhook " + webhookID + " is deleted; its deliveries stay readable by their ids"}, nil
	})
}

// change appends a fact about a webhook that expects its current version, and
// answers what the fact that stands says.
func (s *server) change(
	w http.ResponseWriter, r *http.Request, webhookID string, ifMatch *string,
	fact func(*subscriptions.Webhook) (*facts.ConfigFact, error), answer func(*facts.ConfigFact) (any, error),
) {
	stands, err := s.judged(w, r, webhookID, ifMatch, fact)
	if err != nil {
		api.WriteError(w, r, err)
		return
	}
	out, err := answer(stands)
	if err != nil {
		api.WriteError(w, r, err)
		return
	}
	api.WriteJSON(w, r, http.StatusOK, out)
}

func (s *server) judged(
	w http.ResponseWriter, r *http.Request, webhookID string, ifMatch *string,
	change func(*subscriptions.Webhook) (*facts.ConfigFact, error),
) (*facts.ConfigFact, error) {
	ctx, cancel := s.bounded(r)
	defer cancel()
	for range maxRaces {
		hook, err := s.webhook(r, webhookID)
		if err != nil {
			return nil, err
		}
		fact, err := change(hook)
		if err != nil {
			return nil, err
		}
		// A repeat is answered again though the version has moved on, so the
		// condition of If-Match is the fact's: only a fact that would apply is held to it.
		if ifMatch != nil && !api.MatchVersion(*ifMatch, int64(hook.Version)) {
			if v := s.Config.Precheck(fact); v.Kind == subscriptions.Repeat {
				return s.first(ctx, w, fact, v)
			}
			return nil, apierr.StaleVersion(int64(hook.Version))
		}
		verdict, err := s.Config.Command(ctx, fact)
		if err != nil {
			return nil, unavailable(err)
		}
		switch verdict.Kind {
		case subscriptions.Applied:
			return fact, nil
		case subscriptions.Repeat:
			return s.first(ctx, w, fact, verdict)
		case subscriptions.Conflict:
			if ifMatch != nil && *ifMatch != "*" {
				return nil, apierr.StaleVersion(int64(verdict.Version))
			}
		default:
			return nil, refusal(verdict, webhookID)
		}
	}
	return nil, apierr.LostRace(webhookID)
}

// webhook is the account's webhook by its text id.
func (s *server) webhook(r *http.Request, text string) (*subscriptions.Webhook, error) {
	id, err := ids.Parse(ids.Webhook, text)
	if err != nil {
		return nil, apierr.NoWebhook(text)
	}
	hook, ok := s.Config.Webhook(who(r.Context()).account, id)
	if !ok {
		return nil, apierr.NoWebhook(text)
	}
	return hook, nil
}

// checkURL is the egress guard's judgement as the answer 422.
func (s *server) checkURL(url string) error {
	if err := s.Guard.CheckURL(url); err != nil {
		return apierr.Invalid(apierr.Field{In: "body", Field: "/url", Message: err.Error()})
	}
	return nil
}

// refusal is the answer for a verdict that is no success.
func refusal(v subscriptions.Verdict, webhookID string) error {
	switch v.Kind {
	case subscriptions.Mismatch:
		return apierr.KeyReused()
	case subscriptions.InProgress:
		return apierr.KeyInProgress()
	case subscriptions.NotFound:
		return apierr.NoWebhook(webhookID)
	case subscriptions.Conflict:
		return apierr.LostRace(webhookID)
	case subscriptions.Applied, subscriptions.Repeat, subscriptions.Limit, subscriptions.Invalid:
	}
	return apierr.Internal(fmt.Errorf("a fact was judged %s: %s", v.Kind, v.Reason))
}

// etag is the entity tag of a webhook as it is answered with these figures.
func etag(version uint64, stats webhookStats) string {
	return api.VersionTag(int64(version), fmt.Sprint(stats.FailureCount, stats.LastSuccessAt.UnixMilli(), stats.LastFailureAt.UnixMilli()))
}

// offsetPlace and offsetPage page through lists that are ordered by the offset
// of the creating fact.
func offsetPlace(next int64) []byte {
	if next == subscriptions.Last {
		return nil
	}
	return binary.BigEndian.AppendUint64(nil, uint64(next))
}

// everything is the limit of lists that are short by nature.
const everything = 1 << 20

func (s *server) offsetPage(of listing, limit *int, cursor *api.Cursor) (before int64, n int, err error) {
	n = everything
	if limit != nil {
		n = *limit
	}
	place, err := s.place(of, cursor, 8)
	if place == nil {
		return subscriptions.Newest, n, err
	}
	return int64(binary.BigEndian.Uint64(place)), n, nil
}

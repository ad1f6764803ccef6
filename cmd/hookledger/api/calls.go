package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"hookledger/ledger"
	"hookledger/ledger/ids"
	"hookledger/projections/subscriptions"
	"hookledger/schemas/api"
	"hookledger/schemas/api/apierr"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// call is what runs under an idempotency key though its effect is not in
// config: it is claimed before, and its answer recorded after.
type call struct {
	operation, target string
	webhook           []byte
	gone              func(target string) *apierr.Error
	run               func(ctx context.Context) (status int, answer any, err error)
}

// perform runs a call; a repeat gets the recorded answer. A call that failed
// without an effect gives its claim back, so that it can be made again. One of
// which that is not known keeps it: a repeat is 409 until the claim lapses.
func (s *server) perform(w http.ResponseWriter, r *http.Request, key *api.IdempotencyKey, c call) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), s.Timeout+30*time.Second)
	defer cancel()
	var started *facts.ConfigFact
	if key != nil && *key != "" {
		started = s.command(r, key)
		started.Change = &facts.ConfigFact_CallStarted{CallStarted: &facts.CallStarted{
			Operation: c.operation, Target: c.target, WebhookId: c.webhook,
		}}
		verdict, err := s.Config.Command(ctx, started)
		if err != nil {
			api.WriteError(w, r, unavailable(err))
			return
		}
		switch verdict.Kind {
		case subscriptions.Applied:
		case subscriptions.Repeat:
			s.recorded(ctx, w, r, started, verdict)
			return
		case subscriptions.NotFound: // its webhook was deleted meanwhile
			api.WriteError(w, r, c.gone(c.target))
			return
		default:
			api.WriteError(w, r, refusal(verdict, c.target))
			return
		}
	}
	status, answer, err := c.run(ctx)
	var body []byte
	if err == nil {
		body, err = encode(answer)
	}
	if started != nil && !unsettled(err) {
		answered := &facts.CallAnswered{StartedId: started.GetFactId()}
		if err == nil {
			answered.Status, answered.Body = uint32(status), body
		}
		f := s.command(r, nil)
		f.Change = &facts.ConfigFact_CallAnswered{CallAnswered: answered}
		if _, recordErr := s.Config.Command(ctx, f); recordErr != nil && err == nil {
			// It happened, and says so; only a repeat within the minute would be refused.
			s.Logger.Warn("the answer of a call could not be recorded", "request_id", api.RequestID(r.Context()), "error", recordErr)
		}
	}
	if err != nil {
		api.WriteError(w, r, err)
		return
	}
	api.WriteBody(w, status, body)
}

// replayed answers a repeat of a call, if it is one, without looking for what
// the call is about.
func (s *server) replayed(w http.ResponseWriter, r *http.Request, key *api.IdempotencyKey) bool {
	if key == nil || *key == "" {
		return false
	}
	ctx, cancel := s.bounded(r)
	defer cancel()
	fact := s.command(r, key)
	fact.FactId, fact.Rules = make([]byte, ids.Size), subscriptions.Rules
	fact.FactId[0] = 1 // any will do: it is never appended
	fact.Change = &facts.ConfigFact_CallStarted{CallStarted: &facts.CallStarted{}}
	verdict := s.Config.Precheck(fact)
	if verdict.Kind != subscriptions.Repeat {
		return false
	}
	s.recorded(ctx, w, r, fact, verdict)
	return true
}

// recorded answers as the first call was.
func (s *server) recorded(ctx context.Context, w http.ResponseWriter, r *http.Request, started *facts.ConfigFact, v subscriptions.Verdict) {
	first, err := s.first(ctx, w, started, v)
	if err != nil {
		api.WriteError(w, r, err)
		return
	}
	answered := first.GetCallAnswered()
	api.WriteBody(w, int(answered.GetStatus()), answered.GetBody())
}

func unsettled(err error) bool {
	e, ok := errors.AsType[*apierr.Error](err)
	return ok && e.Unsettled
}

// encode is what api.WriteJSON writes, as bytes that can be recorded. The
// payload of a delivery and the data of an event are put in byte by byte, white
// space too, so that a signature can be checked against what the API shows.
func encode(v any) ([]byte, error) {
	var field string
	var verbatim json.RawMessage
	switch t := v.(type) {
	case api.Delivery:
		field, verbatim, t.Payload = "payload", t.Payload, nil
		v = t
	case api.Event:
		field, verbatim, t.Data = "data", t.Data, nil
		v = t
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, apierr.Internal(err)
	}
	if verbatim == nil {
		return b.Bytes(), nil
	}
	// Quotes inside of strings are escaped, so this can only be the field.
	name := `"` + field + `":`
	return bytes.Replace(b.Bytes(), []byte(name+"null"), append([]byte(name), verbatim...), 1), nil
}

// answer writes v with what is verbatim in it, or that the caller has it already.
func answer(w http.ResponseWriter, r *http.Request, ifNoneMatch *string, v any) {
	body, err := encode(v)
	if err != nil {
		api.WriteError(w, r, err)
		return
	}
	tag := api.ContentTag(body)
	w.Header().Set("ETag", tag)
	if ifNoneMatch != nil && api.MatchETag(*ifNoneMatch, tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	api.WriteBody(w, http.StatusOK, body)
}

// durable appends a record and waits until it is synced.
func (s *server) durable(ctx context.Context, r ledger.Record) (ledger.Position, error) {
	at, err := s.Log.Append(ctx, r)
	if err == nil {
		err = s.Log.Synced(ctx)
	}
	if err != nil {
		return ledger.Position{}, apierr.Unsettled(time.Second, err)
	}
	return at[0], nil
}

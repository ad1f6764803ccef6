package api

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"hookledger/ledger"
	"hookledger/projections/history"
	"hookledger/schemas/api"
	"hookledger/schemas/api/apierr"
)

// ListChanges lists the account's changes of configuration, newest first. It
// takes the scope admin: who did what, from where, with which key, is for those
// who may also delete.
func (s *server) ListChanges(w http.ResponseWriter, r *http.Request, params api.ListChangesParams) {
	account := who(r.Context()).account
	page := history.ChangePage{
		Limit: defaultPage, Actor: deref(params.Actor, ""), RequestID: deref(params.RequestID, ""),
		Kind: deref(params.Kind, ""), Verdict: deref(params.Verdict, ""),
	}
	if params.Limit != nil {
		page.Limit = *params.Limit
	}
	for _, subject := range []*string{params.WebhookID, params.KeyID} {
		if subject != nil {
			page.Subjects = append(page.Subjects, *subject)
		}
	}
	var faults []apierr.Field
	for _, bound := range []struct {
		name string
		text *api.Moment
		at   *time.Time
	}{{"from", params.From, &page.From}, {"to", params.To, &page.To}} {
		var err error
		if *bound.at, err = moment(bound.text, time.Time{}); err != nil {
			faults = append(faults, apierr.Field{In: "query", Field: bound.name, Message: err.Error()})
		}
	}
	if len(faults) > 0 {
		api.WriteError(w, r, apierr.Invalid(faults...))
		return
	}
	of := listing{name: "changes", account: account, of: strings.Join(page.Subjects, " "), filter: strings.Join([]string{
		page.Actor, page.RequestID, page.Kind, page.Verdict, deref(params.From, ""), deref(params.To, ""),
	}, "\x00")}
	place, err := s.place(of, params.Cursor, 8)
	if err != nil {
		api.WriteError(w, r, err)
		return
	}
	if place != nil {
		page.Below = binary.BigEndian.Uint64(place)
	}
	changes, next, err := s.changes(r.Context(), account, page)
	if err != nil {
		api.WriteError(w, r, err)
		return
	}
	out := make([]api.Change, len(changes))
	for i := range changes {
		out[i] = renderChange(&changes[i])
	}
	if next > 0 {
		api.NextPage(w, r, s.cursor(of, binary.BigEndian.AppendUint64(nil, next)))
	}
	api.WriteJSON(w, r, http.StatusOK, out)
}

// changes waits until the history has what config holds now: an audit trail
// without the change that was just answered would be wrong, not late.
func (s *server) changes(ctx context.Context, account string, page history.ChangePage) ([]history.Change, uint64, error) {
	ends, err := s.Log.Ends(ctx, ledger.Config)
	if err != nil {
		return nil, 0, apierr.NoLog(time.Second, err)
	}
	p := s.Log.Partition(ledger.Config, []byte(account))
	covered, cancel := context.WithTimeout(ctx, coverWait)
	defer cancel()
	if err := s.History.WaitCovered(covered, ledger.Config, map[int32]int64{p: ends[p]}); err != nil {
		return nil, 0, apierr.NoHistory(time.Second, err)
	}
	changes, next, err := s.History.Changes(ctx, account, page)
	if err != nil {
		return nil, 0, apierr.NoHistory(time.Second, err)
	}
	return changes, next, nil
}

func renderChange(c *history.Change) api.Change {
	out := api.Change{
		ChangeID: c.ID, RecordedAt: api.Time(c.RecordedAt), RequestedAt: api.Time(c.RequestedAt),
		Kind: api.ChangeKind(c.Kind), Verdict: api.ChangeVerdict(c.Verdict), SubjectID: c.Subject,
		RequestID: nonEmpty(c.RequestID), Changed: append([]string{}, c.Changed...),
		Before: json.RawMessage(c.Before), After: json.RawMessage(c.After),
	}
	out.Actor.Kind, out.Actor.ID = api.ChangeActorKind(c.ActorKind), c.ActorID
	return out
}

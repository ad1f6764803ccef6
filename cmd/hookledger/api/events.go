package api

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"hookledger/ledger"
	"hookledger/ledger/event"
	"hookledger/ledger/ids"
	"hookledger/projections/history"
	"hookledger/schemas/api"
	"hookledger/schemas/api/apierr"
)

// source is the CloudEvents source of what comes in by the API.
const source = "hookledger-api"

// PublishEvents makes events durable: acknowledged by the log, and synced.
func (s *server) PublishEvents(w http.ResponseWriter, r *http.Request, params api.PublishEventsParams) {
	account := who(r.Context()).account
	in := api.Events(r.Context())
	if err := s.limits.publish(r.Context(), w.Header(), account, len(in)); err != nil {
		api.WriteError(w, r, err)
		return
	}
	now := s.Now().UTC().Truncate(time.Millisecond)
	records := make([]ledger.Record, len(in))
	out := api.EventsAccepted{Events: make([]api.EventAccepted, len(in))}
	for i := range in {
		e, err := s.newEvent(&in[i], account, params.IdempotencyKey, i, now)
		if err == nil {
			err = e.CheckAttributes() // the data was judged by the specification
		}
		if err != nil {
			api.WriteError(w, r, err)
			return
		}
		key := e.Key()
		records[i] = ledger.Record{
			Topic: ledger.Events, Partition: s.Log.Partition(ledger.Events, key),
			Key: key, Value: e.Data, Headers: e.Headers(),
		}
		out.Events[i] = api.EventAccepted{ID: e.ID, Status: api.EventAcceptanceAccepted}
	}
	ctx, cancel := s.bounded(r)
	defer cancel()
	if _, err := s.Log.Append(ctx, records...); err != nil {
		api.WriteError(w, r, apierr.Unsettled(time.Second, err))
		return
	}
	if err := s.Log.Synced(ctx); err != nil {
		api.WriteError(w, r, apierr.Unsettled(time.Second, err))
		return
	}
	s.Metrics.events.Add(float64(len(records)))
	api.WriteJSON(w, r, http.StatusAccepted, out)
}

// newEvent is the i-th event of a request. An Idempotency-Key becomes the id of
// an event that brings none; one with neither has an id that nothing can repeat.
func (s *server) newEvent(in *api.NewEvent, account string, key *api.IdempotencyKey, i int, now time.Time) (*event.Event, error) {
	e := &event.Event{
		ID: in.ID, Source: source, Type: in.Event, Account: account,
		IndexID: in.IndexID, OrderingKey: in.OrderingKey, CreatedAt: in.CreatedAt, Data: in.Data,
	}
	if e.CreatedAt.IsZero() {
		e.CreatedAt = now
	}
	switch {
	case e.ID != "":
	case key != nil && *key != "":
		e.ID = ids.FromKey(account, *key, i).Text(ids.Event)
	default:
		id, err := ids.Timed(now, s.Random)
		if err != nil {
			return nil, err
		}
		e.ID, e.Fresh = id.Text(ids.Event), true
	}
	return e, nil
}

// GetEvent answers an event with its deliveries.
func (s *server) GetEvent(w http.ResponseWriter, r *http.Request, eventID api.EventID, params api.GetEventParams) {
	account := who(r.Context()).account
	e, err := s.History.Event(r.Context(), account, eventID, params.OrderingKey)
	if err != nil {
		api.WriteError(w, r, missing(err, apierr.NoEvent(eventID)))
		return
	}
	// An id may come to name another event: the cursor is of this record's.
	of := listing{name: "event", account: account, of: fmt.Sprintf("%d/%d", e.Partition, e.Offset)}
	page, err := s.deliveryPage(of, params.Limit, params.Cursor)
	if err != nil {
		api.WriteError(w, r, err)
		return
	}
	list, next, err := s.History.EventDeliveries(r.Context(), e, page)
	if err != nil && !errors.Is(err, history.ErrNotFound) {
		api.WriteError(w, r, apierr.NoHistory(time.Second, err))
		return
	}
	out := api.Event{
		ID: e.ID, Event: e.Type, IndexID: nonEmpty(e.IndexID), OrderingKey: nonEmpty(e.OrderingKey),
		CreatedAt: api.Time(e.CreatedAt), AcceptedAt: api.Time(e.AcceptedAt), Data: e.Data,
		Status: api.EventStatusAccepted, Deliveries: make([]api.Delivery, len(list)),
	}
	for i := range list {
		out.Deliveries[i] = renderDelivery(&list[i], nil)
	}
	api.NextPage(w, r, s.cursor(of, idPlace(next)))
	answer(w, r, params.IfNoneMatch, out)
}

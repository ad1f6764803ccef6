package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"hookledger/ledger"
	"hookledger/ledger/ids"
	"hookledger/projections/history"
	"hookledger/schemas/api"
	"hookledger/schemas/api/apierr"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// How long a retry waits for the history to have what it must know, and to show
// what came of it.
const (
	coverWait  = 5 * time.Second
	effectWait = 2 * time.Second
	effectPoll = 25 * time.Millisecond
)

// RetryDelivery asks for a delivery to be tried now.
func (s *server) RetryDelivery(w http.ResponseWriter, r *http.Request, deliveryID api.DeliveryID, params api.RetryDeliveryParams) {
	if s.replayed(w, r, params.IdempotencyKey) { // also while the history is away
		return
	}
	d, err := s.delivery(r, deliveryID)
	if err != nil {
		api.WriteError(w, r, err)
		return
	}
	c := call{operation: "retry", target: deliveryID, gone: apierr.WebhookDeleted, run: func(ctx context.Context) (int, any, error) {
		out, err := s.retry(ctx, r, d)
		return http.StatusOK, out, err
	}}
	if _, ok := s.Config.Webhook(d.Account, d.Webhook); ok {
		c.webhook = d.Webhook[:]
	}
	s.perform(w, r, params.IdempotencyKey, c)
}

// retry judges the request by a history that has covered the end of `attempts`,
// and appends the command. The dispatcher judges again: it names the round, and
// whether it had ended, as they were seen here.
func (s *server) retry(ctx context.Context, r *http.Request, d *history.Delivery) (api.Delivery, error) {
	var none api.Delivery
	text := d.ID.Text(ids.Delivery)
	if _, gone := s.Config.Tombstone(d.Webhook); gone {
		return none, apierr.WebhookDeleted(text)
	}
	d, err := s.current(ctx, d)
	if err != nil {
		return none, err
	}
	switch {
	case d.Status == history.Delivered:
		return none, apierr.AlreadyDelivered(text)
	case d.End == facts.End_END_CANCELLED:
		return none, apierr.WebhookDeleted(text)
	case d.EndReason == facts.EndReason_END_REASON_PAYLOAD_EXPIRED:
		return none, apierr.Expired(text)
	}
	source := d.Content.GetSource()
	if _, err := s.Log.ReadAt(ctx, ledger.Events, source.GetPartition(), source.GetOffset()); err != nil {
		if errors.Is(err, ledger.ErrBelowStart) {
			return none, apierr.Expired(text)
		}
		return none, apierr.NoLog(time.Second, err)
	}
	// What the answer needs is asked for now: once the command is appended there
	// is an answer, whatever becomes of the history.
	payload, err := s.History.Payload(ctx, d)
	if err != nil && !errors.Is(err, history.ErrPayloadExpired) {
		return none, apierr.NoHistory(time.Second, err)
	}
	p := who(r.Context())
	at, err := s.durable(ctx, s.Log.CommandRecord(&facts.DeliveryCommand{Command: &facts.DeliveryCommand_Retry{
		Retry: &facts.DeliveryRetry{
			Subject: d.Subject(), Content: d.Content, Round: d.Round, Ended: d.Ended(),
			RequestId: api.RequestID(r.Context()), Actor: p.actor.GetId(), AtMs: s.Now().UnixMilli(),
			Attempts: made(d),
		},
	}}))
	if err != nil {
		return none, err
	}
	return s.effect(ctx, r, d, payload, uint64(at.Offset))
}

// made is how many tries a new round goes on from: by their numbers, for one
// whose fact never came is not counted and may have been sent all the same.
func made(d *history.Delivery) uint32 {
	n := d.Attempts
	if d.Last != nil {
		n = max(n, int(d.Last.Number))
	}
	return uint32(n)
}

// current is the delivery by a history that knows all of `attempts`.
func (s *server) current(ctx context.Context, d *history.Delivery) (*history.Delivery, error) {
	ctx, cancel := context.WithTimeout(ctx, coverWait)
	defer cancel()
	ends, err := s.Log.Ends(ctx, ledger.Attempts)
	if err != nil {
		return nil, apierr.NoLog(time.Second, err)
	}
	p := s.Log.WebhookPartition(d.Webhook[:])
	if err := s.History.WaitCovered(ctx, ledger.Attempts, map[int32]int64{p: ends[p]}); err != nil {
		return nil, apierr.NoHistory(time.Second, err)
	}
	found, err := s.History.Delivery(ctx, d.Account, d.ID)
	if err != nil {
		return nil, missing(err, apierr.NoDelivery(d.ID.Text(ids.Delivery)))
	}
	return found, nil
}

// effect is the delivery as it stands after the command: as the history shows
// it once the dispatcher has applied it, or, while that takes its time, as the
// command will have it: due now.
func (s *server) effect(ctx context.Context, r *http.Request, d *history.Delivery, payload []byte, offset uint64) (api.Delivery, error) {
	waiting, cancel := context.WithTimeout(ctx, effectWait)
	defer cancel()
	poll := time.NewTicker(effectPoll)
	defer poll.Stop()
	for {
		select {
		case <-waiting.Done():
			out := renderDelivery(d, payload)
			out.Status, out.NextRetryAt, out.CompletedAt, out.End = api.DeliveryStatusRetrying, api.NewTime(s.Now()), nil, nil
			switch {
			case d.Ended(): // a new round, named by its command
				out.Round = int64(offset)
			case d.Attempts == 0:
				out.Status = api.DeliveryStatusPending
			}
			return out, nil
		case <-poll.C:
		}
		attempts, err := s.History.Attempts(waiting, d)
		if err != nil {
			continue // the history has a moment; the command stands
		}
		for i := range attempts {
			if attempts[i].Kind == facts.FactKind_FACT_KIND_RETRY_REFUSED && attempts[i].RequestID == api.RequestID(r.Context()) {
				return api.Delivery{}, apierr.RetryRefused(d.ID.Text(ids.Delivery))
			}
		}
		now, err := s.History.Delivery(waiting, d.Account, d.ID)
		if err != nil || now.Upto < offset {
			continue
		}
		out := renderDelivery(now, payload)
		if attempts, err = s.History.Attempts(waiting, now); err == nil {
			out.Stats = statsOfTries(attempts)
		}
		return out, nil
	}
}

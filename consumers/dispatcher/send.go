package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"hookledger/consumers/dispatcher/partition"
	"hookledger/consumers/sender"
	"hookledger/ledger/ids"
	"hookledger/projections/subscriptions"
)

// send makes one try. URL and secrets are read here, in the worker's goroutine
// right after the barrier; the rest happens beside it.
func (w *worker) send(ctx context.Context, s *partition.Send) {
	id := ids.ID(s.Subject.GetWebhookId())
	webhook, ok := w.d.Config.ByID(id)
	if !ok { // deleted since the machine looked: nothing may start
		w.unsent(s.AttemptID, partition.SendLater)
		return
	}
	try, late := *s, w.d.now().Mono+w.d.Rules.Lease
	w.sending.Go(func() { w.try(ctx, &try, webhook, late) })
}

func (w *worker) unsent(attempt ids.ID, why partition.NotSent) {
	w.d.slots.give(1)
	w.d.Metrics.unsent.Inc()
	w.box.put(input{kind: inUnsent, id: attempt, unsent: why})
}

// try sends, unless the process was held up beyond late on its way here: then
// another may own the partition, and what was decided holds no more.
func (w *worker) try(ctx context.Context, s *partition.Send, webhook *subscriptions.Webhook, late time.Duration) {
	body := s.Body
	if body == nil {
		size := int64(s.Content.GetBodySize())
		if !w.d.bodies.TryAcquire(size) {
			w.unsent(s.AttemptID, partition.SendLater)
			return
		}
		defer w.d.bodies.Release(size)
		var err error
		if body, err = makeBody(ctx, w.d.Log, w.d.Config, s.Subject, s.Content); err != nil {
			why := partition.SendLater
			if errors.Is(err, errContentGone) {
				why = partition.ContentGone
			}
			if ctx.Err() == nil {
				w.d.Logger.Error("a delivery's content can't be had", "delivery", ids.ID(s.Subject.GetDeliveryId()).Text(ids.Delivery), "error", err)
			}
			w.unsent(s.AttemptID, why)
			return
		}
	}
	secrets, err := w.d.secrets.of(webhook, time.Now())
	if err != nil {
		w.d.Logger.Error("a delivery can't be signed, it is tried again", "webhook", webhook.ID.Text(ids.Webhook), "error", err)
		w.unsent(s.AttemptID, partition.SendLater)
		return
	}
	if w.d.now().Mono > late {
		w.unsent(s.AttemptID, partition.SendLater)
		return
	}
	ctx, cut := context.WithCancelCause(ctx)
	defer cut(nil)
	flight := w.d.slots.fly(cut)
	got := w.d.Sender.Send(ctx, sender.Request{
		URL: webhook.URL, Body: body, WebhookID: webhook.ID.Text(ids.Webhook),
		MessageID: ids.ID(s.Subject.GetDeliveryId()).Text(ids.Delivery), AttemptID: s.AttemptID.Text(ids.Attempt),
		EventType: s.Subject.GetEventType(), Secrets: secrets,
	})
	flight.end()
	w.d.Metrics.tried(&got)
	w.box.put(input{kind: inSent, id: s.AttemptID, result: toResult(&got, webhook)})
}

// toResult is a try's result as facts carry it.
func toResult(r *sender.Result, webhook *subscriptions.Webhook) *partition.Result {
	return &partition.Result{
		Outcome: r.Outcome, RequestSent: r.RequestSent,
		StartedMs: r.Started.UnixMilli(), DurationUs: uint32(min(r.Duration.Microseconds(), 1<<32-1)),
		StatusCode: uint32(r.StatusCode), Body: r.Body, BodyTruncated: r.BodyTruncated,
		Error: r.Error, URL: webhook.URL, WebhookVersion: webhook.Version, RetryAfter: r.RetryAfter, Headers: r.Headers,
	}
}

// secretCache holds opened signing secrets by their sealed form, so that a
// secret is decrypted once and not for every try. It never leaves memory.
type secretCache struct {
	open func(subscriptions.Sealed, ids.ID) (sender.Secret, error)

	opened *lru.Cache[string, sender.Secret]
}

func newSecretCache(open func(subscriptions.Sealed, ids.ID) (sender.Secret, error)) (*secretCache, error) {
	opened, err := lru.New[string, sender.Secret](16384)
	if err != nil {
		return nil, fmt.Errorf("make the cache of secrets: %w", err)
	}
	return &secretCache{open: open, opened: opened}, nil
}

// of are the secrets that sign for a webhook at a time.
func (c *secretCache) of(w *subscriptions.Webhook, at time.Time) (sender.Secrets, error) {
	var out sender.Secrets
	for i, sealed := range w.SecretsAt(at.UnixMilli()) {
		secret, ok := c.opened.Get(string(sealed.Box))
		if !ok {
			var err error
			if secret, err = c.open(sealed, w.ID); err != nil {
				return out, fmt.Errorf("open the signing secret: %w", err)
			}
			c.opened.Add(string(sealed.Box), secret)
		}
		if i == 0 {
			out.Current = secret
		} else {
			out.Former = append(out.Former, secret)
		}
	}
	return out, nil
}

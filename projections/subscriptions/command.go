package subscriptions

import (
	"context"
	"errors"
	"fmt"

	"hookledger/ledger"
	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// ErrUnsettled means that it is not known whether a command took effect. It may be in the
// log, or get there. Repeating it with the same idempotency key is safe.
var ErrUnsettled = errors.New("it is not known whether the change took effect")

// Command checks a fact, appends it to its account's partition, and returns the
// verdict once it was read back, durably: an Applied one holds on every node
// that passes its barrier. A fact that would be rejected, or is a repeat, is not
// appended. It sets fact_id, rules and at_ms where they are not set; a fact
// is commanded once, another try is another fact (a fact_id twice gets
// one verdict for the first that lands).
//
// On Conflict the verdict has the current Webhook, so that a change without
// If-Match can be made again from it. An error that is ErrUnsettled leaves open
// what happened.
func (s *Subscriptions) Command(ctx context.Context, fact *facts.ConfigFact) (Verdict, error) {
	if len(fact.GetFactId()) == 0 {
		id, err := ids.Random(s.opts.Random)
		if err != nil {
			return Verdict{}, err
		}
		fact.FactId = id[:]
	}
	if fact.GetRules() == 0 {
		fact.Rules = Rules
	}
	if fact.GetAtMs() == 0 {
		fact.AtMs = s.opts.Now().UnixMilli()
	}
	if v := s.Precheck(fact); v.Kind != Applied {
		return v, nil
	}
	id := ids.ID(fact.GetFactId())
	verdict := make(chan Verdict, 1)
	s.mu.Lock()
	s.verdicts[id] = verdict
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.verdicts, id)
		s.mu.Unlock()
	}()
	if _, stopped := s.progress.state(); stopped != nil {
		return Verdict{}, fmt.Errorf("%w: %w", ErrNotCurrent, stopped)
	}
	if _, err := s.log.Append(ctx, s.log.ConfigRecord(fact)); err != nil {
		return Verdict{}, fmt.Errorf("%w: %w", ErrUnsettled, err)
	}
	return s.await(ctx, verdict)
}

func (s *Subscriptions) await(ctx context.Context, verdict <-chan Verdict) (Verdict, error) {
	for {
		changed, stopped := s.progress.state()
		select {
		case v := <-verdict:
			return v, nil
		default:
		}
		if stopped != nil {
			return Verdict{}, fmt.Errorf("%w: %w", ErrUnsettled, stopped)
		}
		select {
		case v := <-verdict:
			return v, nil
		case <-changed:
		case <-ctx.Done():
			return Verdict{}, fmt.Errorf("%w: its verdict did not come back in time: %w", ErrUnsettled, ctx.Err())
		}
	}
}

// Fact reads a fact of an account again, such as the First of a Repeat.
func (s *Subscriptions) Fact(ctx context.Context, account string, offset int64) (*facts.ConfigFact, error) {
	partition := s.partitionOf(account)
	r, err := s.log.ReadAt(ctx, ledger.Config, partition, offset)
	if err != nil {
		return nil, err
	}
	fact, err := ledger.DecodeConfig(r.Value)
	if err == nil && fact.GetAccount() != account {
		err = fmt.Errorf("%w: it belongs to another account than %q", ledger.ErrUndecodable, account)
	}
	if err != nil {
		return nil, &RecordError{Partition: partition, Offset: offset, Err: err}
	}
	return fact, nil
}

// Metadata is a webhook's metadata as the fact at an offset set it, nil for
// NoMetadata: the frozen input of a delivery. The newest comes from memory, an
// older one from the log; it works for a deleted webhook too.
func (s *Subscriptions) Metadata(ctx context.Context, account string, webhook ids.ID, offset int64) ([]byte, error) {
	if offset == NoMetadata {
		return nil, nil
	}
	if w, ok := s.Webhook(account, webhook); ok && w.MetadataOffset == offset {
		return w.Metadata, nil
	}
	fact, err := s.Fact(ctx, account, offset)
	if err != nil {
		return nil, fmt.Errorf("metadata of webhook %s: %w", webhook.Text(ids.Webhook), err)
	}
	w := fact.GetWebhookUpdated().GetWebhook()
	if c := fact.GetWebhookCreated(); c != nil {
		w = c.GetWebhook()
	}
	if string(w.GetWebhookId()) != string(webhook[:]) {
		return nil, fmt.Errorf("metadata of webhook %s: %w", webhook.Text(ids.Webhook), &RecordError{
			Partition: s.partitionOf(account), Offset: offset, Err: errors.New("the fact does not set it: the reference to it is wrong"),
		})
	}
	return w.GetMetadata(), nil
}

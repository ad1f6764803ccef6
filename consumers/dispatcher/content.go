package dispatcher

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"hookledger/ledger"
	"hookledger/ledger/event"
	"hookledger/ledger/ids"
	"hookledger/projections/subscriptions"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// errContentGone says that a delivery's bytes can't be had any more.
var errContentGone = errors.New("the event's content is gone")

// makeBody makes a delivery's bytes again from the log, and proves them by
// their hash.
func makeBody(ctx context.Context, log *ledger.Log, subs *subscriptions.Subscriptions, subject *facts.Subject, c *facts.Content) ([]byte, error) {
	source := c.GetSource()
	record, err := log.ReadAt(ctx, ledger.Events, source.GetPartition(), source.GetOffset())
	if errors.Is(err, ledger.ErrBelowStart) {
		return nil, fmt.Errorf("%w: %w", errContentGone, err)
	}
	if err != nil {
		return nil, err
	}
	e, err := event.Decode(record)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errContentGone, err)
	}
	var metadata []byte
	if offset := c.GetMetadataOffset(); offset >= 0 {
		if metadata, err = subs.Metadata(ctx, subject.GetAccount(), ids.ID(subject.GetWebhookId()), offset); err != nil {
			return nil, fmt.Errorf("read the metadata of webhook at config offset %d: %w", offset, err)
		}
	}
	body := event.Compose(e, metadata)
	if sum := sha256.Sum256(body); string(sum[:]) != string(c.GetBodyHash()) {
		return nil, fmt.Errorf("%w: the bytes made from %s/%d/%d no longer have the recorded hash",
			errContentGone, ledger.Events, source.GetPartition(), source.GetOffset())
	}
	return body, nil
}

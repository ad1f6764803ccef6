package repair

import (
	"context"
	"fmt"
	"strings"

	"hookledger/ledger"
	"hookledger/ledger/ids"
	"hookledger/projections/history"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// forgotten are the deliveries that the history has as open, and neither `lanes`
// nor what is left of `deliveries` has: nobody would send them.
func (l *look) forgotten(ctx context.Context) ([]*Finding, error) {
	open, err := l.History.Open(ctx)
	if err != nil {
		return nil, err
	}
	byPartition := make(map[int32][]history.Delivery)
	var homeless []string
	for _, d := range open {
		p := l.Log.WebhookPartition(d.Webhook[:])
		one := l.lanes[p]
		if _, waits := one.Waits(d.ID); waits || one.open[d.ID] || one.ended[d.ID] {
			continue
		}
		if !l.Known(d.Webhook) {
			homeless = append(homeless, d.ID.Text(ids.Delivery)+" of "+d.Webhook.Text(ids.Webhook))
			continue
		}
		byPartition[p] = append(byPartition[p], d)
	}
	var found []*Finding
	for p := range l.Log.Partitions(ledger.Deliveries) {
		list := byPartition[p]
		if len(list) == 0 {
			continue
		}
		found = append(found, &Finding{
			Where: at{ledger.Deliveries, p}.String(),
			What:  fmt.Sprintf("the history has %d open deliveries that neither `lanes` nor `deliveries` has", len(list)),
			Plan:  "each is asked for again, as a retry by hand: a new round, due now",
			Facts: texts(list),
			mend:  func(ctx context.Context) error { return l.ask(ctx, list) },
		})
	}
	if len(homeless) > 0 {
		found = append(found, &Finding{
			Where: string(ledger.Deliveries),
			What:  fmt.Sprintf("the history has %d open deliveries of webhooks that `config` has not, or has as deleted: they can't be sent", len(homeless)),
			Facts: homeless[:min(len(homeless), named)],
		})
	}
	return found, nil
}

func texts(list []history.Delivery) []string {
	var all []string
	for i := range list[:min(len(list), named)] {
		all = append(all, list[i].ID.Text(ids.Delivery)+" of event "+list[i].EventID)
	}
	if len(list) > named {
		all = append(all, fmt.Sprintf("and %d more", len(list)-named))
	}
	return all
}

// ask appends a retry for each: what the owner does not know it opens as a new
// round, whose tries go on from those that the history has.
func (l *look) ask(ctx context.Context, list []history.Delivery) error {
	var batch []ledger.Record
	for i := range list {
		d := &list[i]
		attempts := d.Attempts
		if d.Last != nil {
			attempts = max(attempts, int(d.Last.Number))
		}
		batch = append(batch, l.Log.CommandRecord(&facts.DeliveryCommand{Command: &facts.DeliveryCommand_Retry{Retry: &facts.DeliveryRetry{
			Subject: d.Subject(), Content: d.Content, Round: d.Round, Ended: true, Attempts: uint32(attempts),
			Actor: strings.TrimSpace("repair by " + l.Actor), AtMs: l.Now().UnixMilli(),
		}}}))
		if len(batch) == atOnce || i == len(list)-1 {
			if _, err := l.Log.Append(ctx, batch...); err != nil {
				return err
			}
			batch = nil
		}
	}
	return l.Log.Synced(ctx)
}

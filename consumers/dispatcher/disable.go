package dispatcher

import (
	"context"

	"hookledger/consumers/dispatcher/partition"
	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// disable says in `config` that a webhook is disabled. It may fail: the machine
// asks again after the next failure.
func (w *worker) disable(ctx context.Context, dis partition.Disable) {
	if _, under := w.disabling.LoadOrStore(dis, struct{}{}); under {
		return
	}
	w.sending.Go(func() {
		defer w.disabling.Delete(dis)
		id := dis.Webhook
		verdict, err := w.d.Config.Command(ctx, &facts.ConfigFact{
			Account: dis.Account,
			Actor:   &facts.Actor{Kind: facts.ActorKind_ACTOR_KIND_SYSTEM, Id: "dispatcher"},
			Change: &facts.ConfigFact_WebhookDisabled{WebhookDisabled: &facts.WebhookDisabled{
				WebhookId: id[:], ExpectedVersion: dis.Version, Reason: string(dis.Reason),
			}},
		})
		if err != nil {
			w.d.Logger.Warn("a webhook could not be disabled, it is tried again after its next failure",
				"webhook", id.Text(ids.Webhook), "reason", dis.Reason, "error", err)
			return
		}
		w.d.Logger.Info("webhook disabled", "webhook", id.Text(ids.Webhook), "reason", dis.Reason, "verdict", verdict.Kind)
	})
}

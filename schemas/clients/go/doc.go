// Package hookledger is the Go client of Hookledger's API.
//
//	client, err := hookledger.New("https://hooks.example.com", hookledger.Config{APIKey: key})
//	hook, _, err := client.CreateWebhook(ctx, nil, hookledger.WebhookCreate{
//		Name: "orders", URL: "https://example.com/hook", Events: []string{"export.ready"},
//	})
//	accepted, _, err := client.PublishEvents(ctx, nil, hookledger.NewEvent{Event: "export.ready", Data: order})
//	for d, err := range client.AllDeliveries(ctx, hook.WebhookID, nil) {
//		...
//	}
//
// There is a method for each operation of the API, generated from openapi.yaml, which returns what was asked for, a
// [Response] with the answer's headers, and an error: an [*Error] with its Code if the service refused, anything else if
// there was no answer or an odd one. params may always be nil.
//
// It promises that a failed request is sent again only where that is safe: reads and deletions, and whatever creates or
// changes, because each such request carries an Idempotency-Key, the caller's or one made here. Waits double from half a
// second, with jitter; Retry-After is honoured up to Config.MaxWait. It never follows redirects, which have no claim to the
// credential, and never changes a byte of `data` ([json.RawMessage] in [NewEvent]) or `payload`.
//
// It needs the standard library and the runtime of oapi-codegen, nothing of the server. A receiver needs [Verifier].
package hookledger

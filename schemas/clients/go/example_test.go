package hookledger_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	client "hookledger/schemas/clients/go"
)

func ExampleNew() {
	ctx := context.Background()
	c, err := client.New("http://127.0.0.1:8080", client.Config{APIKey: os.Getenv("HOOKLEDGER_API_KEY")})
	if err != nil {
		panic(err)
	}
	defer c.Close()

	hook, _, err := c.CreateWebhook(ctx, nil, client.WebhookCreate{
		Name: "tour", URL: "http://127.0.0.1:9000/hook", Events: []string{"export.ready"},
	})
	if e, ok := errors.AsType[*client.Error](err); ok && e.Code == client.ErrorCodeValidationFailed {
		fmt.Println("not taken:", e.Fields)
		return
	} else if err != nil {
		panic(err)
	}
	fmt.Println("verify requests with", hook.Secret) // shown now and never again

	if _, _, err := c.PublishEvents(ctx, nil, client.NewEvent{Event: "export.ready", Data: map[string]any{"export_id": "ex_1"}}); err != nil {
		panic(err)
	}
	for d, err := range c.AllDeliveries(ctx, hook.WebhookID, nil) {
		if err != nil {
			panic(err)
		}
		fmt.Println(d.DeliveryID, d.Status)
	}
}

func ExampleVerifier() {
	v := client.Verifier{Secrets: []string{os.Getenv("WEBHOOK_SECRET")}}
	http.HandleFunc("POST /hook", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err == nil {
			err = v.Verify(body, r.Header)
		}
		if err != nil {
			http.Error(w, "not signed", http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
}

package hookledger_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	client "hookledger/schemas/clients/go"
)

// weather is a proxy between client and server that does to answers what networks do: each of what is coming happens to
// one request; after that they pass, or what always says.
type weather struct {
	mu     sync.Mutex
	coming []happening
	always happening
	seen   []*http.Request
}

type happening func(w http.ResponseWriter, r *http.Request, pass http.HandlerFunc)

func pass(w http.ResponseWriter, r *http.Request, onward http.HandlerFunc) { onward(w, r) }

// lose lets the server answer, and cuts the connection to the client.
func lose(_ http.ResponseWriter, r *http.Request, onward http.HandlerFunc) {
	onward(httptest.NewRecorder(), r)
	panic(http.ErrAbortHandler)
}

func hang(_ http.ResponseWriter, r *http.Request, _ http.HandlerFunc) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

// say answers without asking the server.
func say(status int, body string, header ...string) happening {
	return func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

const limited = `{"error":{"code":"rate_limited","message":"too many","details":{},"request_id":"r"}}`

func (b *weather) next(then ...happening) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.coming = then
}

func (b *weather) forEver(then happening) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.always = then
}

func (b *weather) requests() []*http.Request {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seen
}

// storm is the proxy to the shared server, an account's key, and a client behind the proxy.
func storm(t *testing.T, config client.Config) (*weather, string, *client.Client) {
	t.Helper()
	base, key, _ := account(t)
	b := &weather{always: pass}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	onward := func(w http.ResponseWriter, r *http.Request) {
		req := r.Clone(r.Context())
		req.RequestURI, req.URL.Scheme, req.URL.Host = "", "http", strings.TrimPrefix(base, "http://")
		resp, err := transport.RoundTrip(req)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		defer resp.Body.Close()
		maps.Copy(w.Header(), resp.Header)
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		b.seen = append(b.seen, r.Clone(context.Background()))
		then := b.always
		if len(b.coming) > 0 {
			then, b.coming = b.coming[0], b.coming[1:]
		}
		b.mu.Unlock()
		then(w, r, onward)
	}))
	t.Cleanup(s.Close)
	config.APIKey = key
	c := dial(t, s.URL, config)
	c.RetrySoon()
	return b, key, c
}

func TestACreateWhoseAnswerIsLostIsOneWebhookWithItsSecret(t *testing.T) {
	t.Parallel()
	b, _, c := storm(t, client.Config{})
	b.next(lose, lose)
	hook, resp, err := c.CreateWebhook(t.Context(), nil, client.WebhookCreate{Name: "once", URL: receive(t).url, Events: []string{"export.ready"}})
	if err != nil || !resp.Replayed || !strings.HasPrefix(hook.Secret, "whsec_") {
		t.Fatalf("create answered %+v, %+v, %v", hook, resp, err)
	}
	if seen := b.requests(); len(seen) != 3 || seen[0].Header.Get("Idempotency-Key") != resp.IdempotencyKey || seen[2].Header.Get("Idempotency-Key") != resp.IdempotencyKey {
		t.Errorf("%d requests, the last with %v", len(seen), seen[len(seen)-1].Header)
	}
	if hooks := must[[]client.Webhook](t)(c.ListWebhooks(t.Context(), nil)); len(hooks) != 1 {
		t.Errorf("there are %d webhooks", len(hooks))
	}
}

func TestAnEventWhoseAcknowledgementIsLostIsPublishedOnce(t *testing.T) {
	t.Parallel()
	b, _, c := storm(t, client.Config{})
	r := receive(t)
	hook := must[client.WebhookWithSecret](t)(c.CreateWebhook(t.Context(), nil, client.WebhookCreate{Name: "n", URL: r.url, Events: []string{"export.ready"}}))
	b.next(lose, lose, lose)
	must[[]client.EventAccepted](t)(c.PublishEvents(t.Context(), nil, client.NewEvent{Event: "export.ready", Data: struct{}{}, OrderingKey: "k"}))
	// One partition takes both, so this one comes after the repeats.
	must[[]client.EventAccepted](t)(c.PublishEvents(t.Context(), nil, client.NewEvent{Event: "export.ready", Data: struct{}{}, OrderingKey: "k"}))
	r.nth(t, 2)
	delivered := client.DeliveryStatusDelivered
	eventually(t, "both deliveries in the history", func() (struct{}, bool) {
		list := must[[]client.Delivery](t)(c.ListDeliveries(t.Context(), hook.WebhookID, &client.ListDeliveriesParams{Status: &delivered}))
		if len(list) > 2 {
			t.Fatalf("there are %d deliveries", len(list))
		}
		return struct{}{}, len(list) == 2
	})
}

func TestADeletionWhoseAnswerIsLostIsDone(t *testing.T) {
	t.Parallel()
	b, _, c := storm(t, client.Config{})
	hook := must[client.WebhookWithSecret](t)(c.CreateWebhook(t.Context(), nil, client.WebhookCreate{Name: "n", URL: receive(t).url, Events: []string{"export.ready"}}))
	b.next(lose)
	must[client.Message](t)(c.DeleteWebhook(t.Context(), hook.WebhookID, nil))
	_, _, err := c.DeleteWebhook(t.Context(), hook.WebhookID, nil)
	refused(t, err, client.ErrorCodeResourceWebhookNotFound)
}

func TestTriesAreBoundedAndTheKeyFindsWhatWasDone(t *testing.T) {
	t.Parallel()
	b, _, c := storm(t, client.Config{})
	b.forEver(lose)
	in := client.WebhookCreate{Name: "lost", URL: receive(t).url, Events: []string{"export.ready"}}
	_, _, err := c.CreateWebhook(t.Context(), nil, in)
	key := client.IdempotencyKeyOf(err)
	if err == nil || key == "" || len(b.requests()) != 1+client.DefaultMaxRetries {
		t.Fatalf("%d requests, then %v", len(b.requests()), err)
	}
	b.forEver(pass)
	hook, resp, err := c.CreateWebhook(t.Context(), &client.CreateWebhookParams{IdempotencyKey: &key}, in)
	if err != nil || !resp.Replayed || hook.Secret == "" {
		t.Errorf("the repeat answered %+v, %+v, %v", hook, resp, err)
	}
}

func TestRetryAfterIsWaitedForAndNotBeyondTheLimit(t *testing.T) {
	t.Parallel()
	b, _, c := storm(t, client.Config{MaxWait: 5 * time.Second})
	b.next(say(http.StatusTooManyRequests, limited, "Retry-After", "1"))
	began := time.Now()
	must[[]client.Webhook](t)(c.ListWebhooks(t.Context(), nil))
	if took := time.Since(began); took < time.Second {
		t.Errorf("it asked again after %s", took)
	}
	b.next(say(http.StatusTooManyRequests, limited, "Retry-After", "6"))
	_, _, err := c.ListWebhooks(t.Context(), nil)
	if e := refused(t, err, client.ErrorCodeRateLimited); e.RetryAfter != 6*time.Second {
		t.Errorf("the error is %+v", e)
	}
	b.next(say(http.StatusBadGateway, "<html>"), say(http.StatusServiceUnavailable, limited, "Retry-After", "0"), say(http.StatusInternalServerError, "{}"))
	must[[]client.Webhook](t)(c.ListWebhooks(t.Context(), nil))
}

func TestNoAnswerInTimeIsTriedAgainUntilTheCallerHasEnough(t *testing.T) {
	t.Parallel()
	b, key, c := storm(t, client.Config{Timeout: 2 * time.Second})
	b.next(hang)
	must[[]client.Webhook](t)(c.ListWebhooks(t.Context(), nil))

	before := len(b.requests())
	b.forEver(hang)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, _, err := c.ListWebhooks(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the error is %v", err)
	} else if strings.Contains(err.Error(), key) {
		t.Errorf("the error tells the key: %v", err)
	}
	if n := len(b.requests()) - before; n != 1 {
		t.Errorf("%d requests after the caller had enough", n)
	}
}

func TestAnAnswerThatIsNotTheAPIsSaysSo(t *testing.T) {
	t.Parallel()
	b, _, c := storm(t, client.Config{MaxRetries: -1})
	for _, x := range []struct {
		then  happening
		words string
	}{
		{say(http.StatusFound, "", "Location", "http://127.0.0.1:1/steal"), "status 302"},
		{say(http.StatusNotFound, "<html>"), "is this Hookledger"},
		{say(http.StatusBadGateway, `{"error":"no"}`), "is this Hookledger"},
		{say(http.StatusOK, "<html>"), "not the API's"},
		{say(http.StatusOK, `{"webhooks":[]}`), "not the API's"},
	} {
		b.next(x.then)
		if _, _, err := c.ListWebhooks(t.Context(), nil); err == nil || !strings.Contains(err.Error(), x.words) {
			t.Errorf("the error is %v, want %q in it", err, x.words)
		}
	}
	if n := len(b.requests()); n != 5 {
		t.Errorf("%d requests: a redirect was followed, or something repeated", n)
	}
}

func TestWhatANewerServerAddsBreaksNothing(t *testing.T) {
	t.Parallel()
	b, _, c := storm(t, client.Config{})
	b.next(say(http.StatusOK, `[{"webhook_id":"wh_1","status":"sleeping","colour":"green"}]`))
	if hooks := must[[]client.Webhook](t)(c.ListWebhooks(t.Context(), nil)); hooks[0].Status != "sleeping" {
		t.Errorf("the webhooks are %+v", hooks)
	}
	b.next(say(http.StatusTeapot, `{"error":{"code":"teapot","message":"m","details":{"fields":7},"request_id":"r"}}`))
	_, _, err := c.ListWebhooks(t.Context(), nil)
	refused(t, err, "teapot")
}

func TestATokenThatCannotBeHadIsSaidAtOnce(t *testing.T) {
	t.Parallel()
	none := errors.New("no token today")
	asked := 0
	c := dial(t, "http://127.0.0.1:1/api/v2/", client.Config{Token: func(context.Context) (string, error) { asked++; return "", none }})
	if _, _, err := c.ListWebhooks(t.Context(), nil); !errors.Is(err, none) || asked != 1 {
		t.Errorf("the error is %v, after %d tokens", err, asked)
	}
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + l.Addr().String()
	l.Close()
	c := dial(t, address, client.Config{APIKey: "sk_x", MaxRetries: 1})
	c.RetrySoon()
	if _, _, err := c.ListWebhooks(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("the error is %v", err)
	}
}

func TestAddressesAndLimits(t *testing.T) {
	for _, wrong := range []string{"", "x.example", "ftp://x", "https://x?y", "https://x#y", "http://%"} {
		if _, err := client.New(wrong, client.Config{}); err == nil {
			t.Errorf("%q is taken for an address", wrong)
		}
	}
	if _, err := client.New("https://x", client.Config{Timeout: -1}); err == nil {
		t.Error("a negative timeout is taken")
	}
	at := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": -1, "7": 7 * time.Second, "-1": -1, "soon": -1, "99999999999": -1,
		"Tue, 24 Nov 2026 00:00:30 GMT": 30 * time.Second, "Mon, 23 Nov 2026 00:00:30 GMT": 0,
	} {
		if got := client.RetryAfter(value, at); got != want {
			t.Errorf("Retry-After %q is %s, want %s", value, got, want)
		}
	}
}

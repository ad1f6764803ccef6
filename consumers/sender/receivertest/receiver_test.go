package receivertest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hookledger/consumers/sender/receivertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, o receivertest.Options) (*receivertest.Receiver, *http.Client) {
	t.Helper()
	r, err := receivertest.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(func() { transport.CloseIdleConnections(); r.Close() })
	return r, &http.Client{Transport: transport}
}

// net/http's client is the judge of whether this is an HTTP server.
func TestSpeaksHTTP(t *testing.T) {
	r, client := start(t, receivertest.Options{Keep: 2, Respond: receivertest.Sequence(
		receivertest.Answer{Body: "one"},
		receivertest.Answer{Status: 503, Header: []string{"Retry-After: 7"}, Body: "two", Delay: time.Millisecond},
		receivertest.Answer{Status: 204, Header: []string{"Connection: close"}, Then: receivertest.Close},
		receivertest.Answer{Raw: "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nraw"},
	)})
	for i, want := range []struct {
		status int
		body   string
	}{{200, "one"}, {503, "two"}, {204, ""}, {200, "raw"}, {200, "raw"}} {
		sent := strings.Repeat("x", i*5000)
		resp, err := client.Post(r.URL()+"/a?b=c", "text/plain", strings.NewReader(sent))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != want.status || string(body) != want.body {
			t.Errorf("request %d: %d %q, %v", i, resp.StatusCode, body, err)
		}
	}
	if r.Count() != 5 || r.Connections() != 2 || len(r.Requests()) != 2 {
		t.Errorf("%d requests, %d connections, %d kept", r.Count(), r.Connections(), len(r.Requests()))
	}
	q := r.Requests()[1]
	if q.Target() != "/a?b=c" || q.Header("content-TYPE") != "text/plain" || q.Header("Nope") != "" || !bytes.Equal(q.Body(), bytes.Repeat([]byte("x"), 5000)) {
		t.Errorf("kept %q", q.Raw())
	}
	if parsed, err := q.Parsed(); err != nil || parsed.URL.RawQuery != "b=c" {
		t.Error(parsed, err)
	}
}

func TestMisbehaves(t *testing.T) {
	for _, ending := range []receivertest.Ending{receivertest.Close, receivertest.Reset, receivertest.Hang} {
		r, client := start(t, receivertest.Options{Respond: func(*receivertest.Request) receivertest.Answer {
			return receivertest.Answer{Silent: true, Then: ending}
		}})
		client.Timeout = 100 * time.Millisecond
		if resp, err := client.Post(r.URL(), "", http.NoBody); err == nil {
			_ = resp.Body.Close()
			t.Errorf("ending %d answered %d", ending, resp.StatusCode)
		}
	}
}

func TestWaitAndClose(t *testing.T) {
	r, client := start(t, receivertest.Options{})
	ctx, cancel := context.WithCancelCause(t.Context())
	waited := make(chan error)
	go func() { waited <- r.Wait(ctx, 2) }()
	for range 2 {
		resp, err := client.Post(r.URL(), "", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	if err := <-waited; err != nil {
		t.Error(err)
	}
	enough := errors.New("enough")
	go func() { waited <- r.Wait(ctx, 3) }()
	cancel(enough)
	if err := <-waited; !errors.Is(err, enough) {
		t.Error(err)
	}
	go func() { waited <- r.Wait(t.Context(), 3) }()
	r.Close()
	r.Close()
	if err := <-waited; err == nil {
		t.Error("Wait outlived the receiver")
	}
}

package sender_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"hookledger/consumers/sender"
	"hookledger/consumers/sender/egress"
	"hookledger/consumers/sender/receivertest"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// short is for what must run into the deadline, long for what must not.
const (
	short = 250 * time.Millisecond
	long  = 30 * time.Second
)

type expectation struct {
	outcome facts.Outcome
	status  int
	sent    bool
	text    string // part of the error
}

func (e expectation) check(t *testing.T, res sender.Result) {
	t.Helper()
	if res.Outcome != e.outcome || res.StatusCode != e.status || res.RequestSent != e.sent || !strings.Contains(res.Error, e.text) {
		t.Errorf("got %v, status %d, sent %v, %q\nwant %v, status %d, sent %v, %q",
			res.Outcome, res.StatusCode, res.RequestSent, res.Error, e.outcome, e.status, e.sent, e.text)
	}
	if (res.Error == "") != (res.Outcome == facts.Outcome_OUTCOME_DELIVERED) {
		t.Errorf("%v with error %q", res.Outcome, res.Error)
	}
	if strings.Contains(res.Error, "->") {
		t.Errorf("the error shows addresses: %q", res.Error)
	}
}

// Every way in which an answer can be good or bad, from a receiver that does it.
func TestAnswers(t *testing.T) {
	big := strings.Repeat("h", 1000)
	for name, c := range map[string]struct {
		answer receivertest.Answer
		want   expectation
		body   string
	}{
		"200":               {receivertest.Answer{Body: "ok"}, expectation{facts.Outcome_OUTCOME_DELIVERED, 200, true, ""}, "ok"},
		"204":               {receivertest.Answer{Status: 204}, expectation{facts.Outcome_OUTCOME_DELIVERED, 204, true, ""}, ""},
		"299 unknown":       {receivertest.Answer{Status: 299}, expectation{facts.Outcome_OUTCOME_DELIVERED, 299, true, ""}, ""},
		"chunked, trailers": {receivertest.Answer{Raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n2;e=1\r\nok\r\n1\r\n!\r\n0\r\nX: 1\r\n\r\n"}, expectation{facts.Outcome_OUTCOME_DELIVERED, 200, true, ""}, "ok!"},
		"until close":       {receivertest.Answer{Raw: "HTTP/1.1 200 OK\r\n\r\nok", Then: receivertest.Close}, expectation{facts.Outcome_OUTCOME_DELIVERED, 200, true, ""}, "ok"},
		"HTTP/1.0":          {receivertest.Answer{Raw: "HTTP/1.0 200 OK\r\n\r\nok", Then: receivertest.Close}, expectation{facts.Outcome_OUTCOME_DELIVERED, 200, true, ""}, "ok"},
		"interim answers":   {receivertest.Answer{Raw: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"}, expectation{facts.Outcome_OUTCOME_DELIVERED, 202, true, ""}, ""},

		"500":         {receivertest.Answer{Status: 500, Body: "oh"}, expectation{facts.Outcome_OUTCOME_HTTP_STATUS, 500, true, "500 Internal Server Error"}, "oh"},
		"410":         {receivertest.Answer{Status: 410}, expectation{facts.Outcome_OUTCOME_HTTP_STATUS, 410, true, "410 Gone"}, ""},
		"999":         {receivertest.Answer{Status: 999}, expectation{facts.Outcome_OUTCOME_HTTP_STATUS, 999, true, "999"}, ""},
		"304":         {receivertest.Answer{Status: 304}, expectation{facts.Outcome_OUTCOME_HTTP_STATUS, 304, true, "304"}, ""},
		"redirect":    {receivertest.Answer{Status: 307, Header: []string{"Location: /elsewhere"}}, expectation{facts.Outcome_OUTCOME_HTTP_STATUS, 307, true, "not followed"}, ""},
		"101 upgrade": {receivertest.Answer{Raw: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n\x00", Then: receivertest.Hang}, expectation{facts.Outcome_OUTCOME_HTTP_STATUS, 101, true, "101"}, ""},

		"reset":           {receivertest.Answer{Silent: true, Then: receivertest.Reset}, expectation{facts.Outcome_OUTCOME_RESET, 0, true, "waiting for the answer"}, ""},
		"closed":          {receivertest.Answer{Silent: true, Then: receivertest.Close}, expectation{facts.Outcome_OUTCOME_RESET, 0, true, "closed the connection"}, ""},
		"header cut":      {receivertest.Answer{Raw: "HTTP/1.1 200 OK\r\nContent-Le", Then: receivertest.Close}, expectation{facts.Outcome_OUTCOME_RESET, 0, true, "waiting"}, ""},
		"status line cut": {receivertest.Answer{Raw: "HTTP/1.", Then: receivertest.Close}, expectation{facts.Outcome_OUTCOME_RESET, 0, true, "waiting"}, ""},
		"hangs in line":   {receivertest.Answer{Raw: "HTTP/1.", Then: receivertest.Hang}, expectation{facts.Outcome_OUTCOME_TIMEOUT, 0, true, "waiting"}, ""},
		"body cut":        {receivertest.Answer{Raw: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok", Then: receivertest.Close}, expectation{facts.Outcome_OUTCOME_RESET, 200, true, "body"}, "ok"},
		"chunked cut":     {receivertest.Answer{Raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", Then: receivertest.Close}, expectation{facts.Outcome_OUTCOME_RESET, 200, true, "body"}, "ok"},
		"500 cut":         {receivertest.Answer{Raw: "HTTP/1.1 500 No\r\nContent-Length: 5\r\n\r\nno", Then: receivertest.Close}, expectation{facts.Outcome_OUTCOME_RESET, 500, true, "body"}, "no"},
		"hangs":           {receivertest.Answer{Silent: true, Then: receivertest.Hang}, expectation{facts.Outcome_OUTCOME_TIMEOUT, 0, true, "waiting for the answer"}, ""},
		"hangs in header": {receivertest.Answer{Raw: "HTTP/1.1 200 OK\r\nX: ", Then: receivertest.Hang}, expectation{facts.Outcome_OUTCOME_TIMEOUT, 0, true, "waiting"}, ""},
		"hangs in body":   {receivertest.Answer{Raw: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok", Then: receivertest.Hang}, expectation{facts.Outcome_OUTCOME_TIMEOUT, 200, true, "body"}, "ok"},
		"never ends":      {receivertest.Answer{Raw: "HTTP/1.1 503 No\r\n\r\nok", Then: receivertest.Hang}, expectation{facts.Outcome_OUTCOME_TIMEOUT, 503, true, "body"}, "ok"},

		"garbage":             {receivertest.Answer{Raw: "SSH-2.0-OpenSSH_9.9\r\n", Then: receivertest.Close}, expectation{facts.Outcome_OUTCOME_PROTOCOL, 0, true, "not valid HTTP"}, ""},
		"binary garbage":      {receivertest.Answer{Raw: "\x15\x03\x01\x00\x02\x02\xff\n", Then: receivertest.Close}, expectation{facts.Outcome_OUTCOME_PROTOCOL, 0, true, "not valid HTTP"}, ""},
		"bad header":          {receivertest.Answer{Raw: "HTTP/1.1 200 OK\r\nno colon\r\n\r\n", Then: receivertest.Close}, expectation{facts.Outcome_OUTCOME_PROTOCOL, 0, true, "not valid HTTP"}, ""},
		"two lengths":         {receivertest.Answer{Raw: "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok", Then: receivertest.Close}, expectation{facts.Outcome_OUTCOME_PROTOCOL, 0, true, "not valid HTTP"}, ""},
		"bad chunk":           {receivertest.Answer{Raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Then: receivertest.Close}, expectation{facts.Outcome_OUTCOME_PROTOCOL, 200, true, "not valid HTTP"}, ""},
		"header too large":    {receivertest.Answer{Header: []string{"X: " + strings.Repeat("x", 40<<10)}}, expectation{facts.Outcome_OUTCOME_PROTOCOL, 0, true, "larger than 32768"}, ""},
		"headers too many":    {receivertest.Answer{Header: repeat("X: "+big, 40)}, expectation{facts.Outcome_OUTCOME_PROTOCOL, 0, true, "larger than 32768"}, ""},
		"interim for ever":    {receivertest.Answer{Raw: strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 9)}, expectation{facts.Outcome_OUTCOME_PROTOCOL, 0, true, "interim"}, ""},
		"interim large":       {receivertest.Answer{Raw: strings.Repeat("HTTP/1.1 103 Hi\r\nX: "+strings.Repeat(big, 12)+"\r\n\r\n", 4)}, expectation{facts.Outcome_OUTCOME_PROTOCOL, 0, true, "larger than"}, ""},
		"header just allowed": {receivertest.Answer{Header: repeat("X: "+big[:990], 32)}, expectation{facts.Outcome_OUTCOME_DELIVERED, 200, true, ""}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := startTest(t, receivertest.Options{Respond: func(*receivertest.Request) receivertest.Answer { return c.answer }})
			timeout := long
			if c.want.outcome == facts.Outcome_OUTCOME_TIMEOUT {
				timeout = short
			}
			begin := time.Now()
			res := newSender(t, sender.Options{Timeout: timeout}).Send(t.Context(), request(r.URL(), []byte("{}")))
			c.want.check(t, res)
			if string(res.Body) != c.body {
				t.Errorf("body %q, want %q", res.Body, c.body)
			}
			if res.Started.Before(begin) || res.Duration <= 0 || res.Duration >= long {
				t.Errorf("started %s, took %s", res.Started, res.Duration)
			}
			if r.Count() != 1 {
				t.Errorf("the receiver saw %d requests", r.Count())
			}
		})
	}
}

func repeat(line string, n int) []string {
	lines := make([]string, n)
	for i := range lines {
		lines[i] = line
	}
	return lines
}

// A body that arrives byte by byte is ended by the deadline over all, not by one per read.
func TestSlowDripIsCut(t *testing.T) {
	l := listen(t)
	go serveRaw(l, func(c net.Conn) {
		_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"))
		for {
			if _, err := c.Write([]byte("x")); err != nil {
				return
			}
			time.Sleep(5 * time.Millisecond) // the drip itself
		}
	})
	res := newSender(t, sender.Options{Timeout: short}).Send(t.Context(), request("http://"+l.Addr().String(), nil))
	expectation{facts.Outcome_OUTCOME_TIMEOUT, 200, true, "body"}.check(t, res)
	if res.Duration < short || res.Duration >= long {
		t.Errorf("took %s", res.Duration)
	}
}

func TestConnectFailures(t *testing.T) {
	strict, err := egress.New(egress.Policy{AllowHTTP: true, Ports: []uint16{80, 443}})
	if err != nil {
		t.Fatal(err)
	}
	r := startTest(t, receivertest.Options{})
	_, port, _ := net.SplitHostPort(r.Addr())
	closed := listen(t)
	_ = closed.Close()

	send := func(o sender.Options, url string) sender.Result {
		if o.Timeout == 0 {
			o.Timeout = long
		}
		return newSender(t, o).Send(t.Context(), request(url, nil))
	}
	expectation{facts.Outcome_OUTCOME_REFUSED, 0, false, "refused"}.check(t, send(sender.Options{}, "http://"+closed.Addr().String()))
	expectation{facts.Outcome_OUTCOME_BLOCKED, 0, false, "loopback"}.check(t, send(sender.Options{Guard: strict}, "http://127.0.0.1"))
	expectation{facts.Outcome_OUTCOME_BLOCKED, 0, false, "one of 80, 443"}.check(t, send(sender.Options{Guard: strict}, "http://1.1.1.1:"+port))

	// The name is innocent, the address is not (DNS rebinding). The address does not show.
	res := send(sender.Options{Guard: strict, Resolver: dnsServer(t, net.IPv4(127, 0, 0, 1))}, "http://rebind.example.com")
	expectation{facts.Outcome_OUTCOME_BLOCKED, 0, false, "resolves to an address"}.check(t, res)
	if strings.Contains(res.Error, "127.0.0.1") {
		t.Errorf("the error shows what a name resolves to: %s", res.Error)
	}
	expectation{facts.Outcome_OUTCOME_DELIVERED, 200, true, ""}.check(t, send(sender.Options{Resolver: dnsServer(t, net.IPv4(127, 0, 0, 1))}, "http://hook.example.com:"+port))
	expectation{facts.Outcome_OUTCOME_DNS, 0, false, "no address"}.check(t, send(sender.Options{Resolver: dnsServer(t, nil)}, "http://missing.example.com"))
	expectation{facts.Outcome_OUTCOME_DNS, 0, false, "error"}.check(t, send(sender.Options{Resolver: &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("resolver is down")
	}}}, "http://hook.example.com"))
	expectation{facts.Outcome_OUTCOME_DNS, 0, false, "in time"}.check(t, send(sender.Options{Timeout: short, Resolver: silentDNS(t)}, "http://hook.example.com"))
	if r.Count() != 1 {
		t.Errorf("the receiver saw %d requests", r.Count())
	}
}

func TestTLS(t *testing.T) {
	const host = "hook.example.com"
	good, other, old := issue(t, host, time.Hour), issue(t, "other.example.com", time.Hour), issue(t, host, -30*time.Minute)
	roots := x509.NewCertPool()
	for _, c := range []tls.Certificate{good, other, old} {
		roots.AddCert(c.Leaf)
	}
	for name, c := range map[string]struct {
		config *tls.Config
		roots  *x509.CertPool
		want   expectation
	}{
		"good":         {&tls.Config{Certificates: []tls.Certificate{good}}, roots, expectation{facts.Outcome_OUTCOME_DELIVERED, 200, true, ""}},
		"TLS 1.2":      {&tls.Config{Certificates: []tls.Certificate{good}, MaxVersion: tls.VersionTLS12}, roots, expectation{facts.Outcome_OUTCOME_DELIVERED, 200, true, ""}},
		"TLS 1.1":      {&tls.Config{Certificates: []tls.Certificate{good}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, roots, expectation{facts.Outcome_OUTCOME_TLS, 0, false, "version"}},
		"wrong host":   {&tls.Config{Certificates: []tls.Certificate{other}}, roots, expectation{facts.Outcome_OUTCOME_TLS, 0, false, "other.example.com"}},
		"expired":      {&tls.Config{Certificates: []tls.Certificate{old}}, roots, expectation{facts.Outcome_OUTCOME_TLS, 0, false, "not valid now"}},
		"self-signed":  {&tls.Config{Certificates: []tls.Certificate{good}}, x509.NewCertPool(), expectation{facts.Outcome_OUTCOME_TLS, 0, false, "unknown authority"}},
		"wants client": {&tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAnyClientCert}, roots, expectation{facts.Outcome_OUTCOME_TLS, 0, true, "certificate required"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := startTest(t, receivertest.Options{TLS: c.config, Keep: 2})
			_, port, _ := net.SplitHostPort(r.Addr())
			s := newSender(t, sender.Options{Timeout: long, RootCAs: c.roots, Resolver: dnsServer(t, net.IPv4(127, 0, 0, 1))})
			req := request("https://"+host+":"+port, []byte("{}"))
			for range 2 {
				c.want.check(t, s.Send(t.Context(), req))
			}
			if c.want.status == 200 && (r.Count() != 2 || r.Connections() != 1) {
				t.Errorf("%d requests over %d connections", r.Count(), r.Connections())
			}
			if c.want.status == 0 && r.Count() != 0 {
				t.Errorf("the receiver saw %d requests", r.Count())
			}
		})
	}
	plain := startTest(t, receivertest.Options{})
	res := newSender(t, sender.Options{Timeout: short}).Send(t.Context(), request("https://"+plain.Addr(), nil))
	if res.RequestSent || res.Outcome != facts.Outcome_OUTCOME_TIMEOUT { // it waits for the end of a request line
		t.Errorf("a receiver that is not TLS: %+v", res)
	}
	for name, c := range map[string]struct {
		serve func(net.Conn)
		want  expectation
	}{
		"answers HTTP": {func(c net.Conn) { _, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) }, expectation{facts.Outcome_OUTCOME_TLS, 0, false, "https on that port"}},
		"closes":       {func(net.Conn) {}, expectation{facts.Outcome_OUTCOME_RESET, 0, false, "TLS handshake"}},
		"resets":       {func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) }, expectation{facts.Outcome_OUTCOME_RESET, 0, false, "TLS handshake"}},
		"hangs":        {func(c net.Conn) { _, _ = c.Read(make([]byte, 1<<16)); _, _ = c.Read(make([]byte, 1)) }, expectation{facts.Outcome_OUTCOME_TIMEOUT, 0, false, "TLS handshake"}},
	} {
		t.Run(name, func(t *testing.T) {
			l := listen(t)
			go serveRaw(l, func(conn net.Conn) {
				var hello [64]byte
				_, _ = conn.Read(hello[:])
				c.serve(conn)
			})
			timeout := long
			if c.want.outcome == facts.Outcome_OUTCOME_TIMEOUT {
				timeout = short
			}
			c.want.check(t, newSender(t, sender.Options{Timeout: timeout}).Send(t.Context(), request("https://"+l.Addr().String(), nil)))
		})
	}
}

// Cut, shut down or out of the caller's time: the context's cause tells them apart.
func TestContext(t *testing.T) {
	r := startTest(t, receivertest.Options{Respond: func(*receivertest.Request) receivertest.Answer {
		return receivertest.Answer{Silent: true, Then: receivertest.Hang}
	}})
	s := newSender(t, sender.Options{})
	ctx, cut := context.WithCancelCause(t.Context())
	done := make(chan sender.Result)
	go func() { done <- s.Send(ctx, request(r.URL(), nil)) }()
	if err := r.Wait(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	cut(errors.New("the slow pool is full"))
	expectation{facts.Outcome_OUTCOME_INTERRUPTED, 0, true, "the slow pool is full"}.check(t, <-done)

	expectation{facts.Outcome_OUTCOME_INTERRUPTED, 0, false, "the slow pool is full"}.check(t, s.Send(ctx, request(r.URL(), nil)))

	ctx, cancel := context.WithTimeout(t.Context(), short)
	defer cancel()
	expectation{facts.Outcome_OUTCOME_TIMEOUT, 0, true, "waiting"}.check(t, s.Send(ctx, request(r.URL(), nil)))

	ctx, cut = context.WithCancelCause(t.Context())
	asked := make(chan struct{})
	waiting := newSender(t, sender.Options{Resolver: &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		select {
		case asked <- struct{}{}:
		default:
		}
		<-ctx.Done()
		return nil, ctx.Err()
	}}})
	go func() { done <- waiting.Send(ctx, request("http://hook.example.com", nil)) }()
	<-asked
	cut(errors.New("shutting down"))
	expectation{facts.Outcome_OUTCOME_INTERRUPTED, 0, false, "shutting down"}.check(t, <-done)
}

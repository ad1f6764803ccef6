package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// wire is a connection to a server, for what no client would send.
type wire struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func (s *server) wire(t *testing.T) *wire {
	t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", strings.TrimPrefix(s.base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	return &wire{t, conn, bufio.NewReader(conn)}
}

// send writes; the server may have cut the connection.
func (w *wire) send(text string) error {
	_, err := io.WriteString(w.conn, text)
	return err
}

// answer reads an answer to a request with this method.
func (w *wire) answer(method string) *answer {
	w.t.Helper()
	resp, err := http.ReadResponse(w.r, &http.Request{Method: method})
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return &answer{w.t, "the wire", resp.StatusCode, resp.Header, body}
}

// cut waits until the server ends the connection, and says what came before.
func (w *wire) cut() string {
	w.t.Helper()
	rest, err := io.ReadAll(w.r)
	var late net.Error
	if errors.As(err, &late) && late.Timeout() {
		w.t.Fatal("the server does not cut the connection")
	}
	return string(rest)
}

// What is no request is answered in the one shape too, though no handler sees it.
func TestWhatIsNoRequest(t *testing.T) {
	s := common.get(t)
	for _, c := range []struct {
		name, sent string
		status     int
		code       string
	}{
		{"no HTTP", "hello\r\n\r\n", 400, "request_malformed"},
		{"no Host", "GET /livez HTTP/1.1\r\n\r\n", 400, "request_malformed"},
		{"two Hosts", "GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "request_malformed"},
		{"a malformed Host", "GET /livez HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "request_malformed"},
		{"NUL in a header", "GET /livez HTTP/1.1\r\nHost: a\r\nX-API-Key: a\x00b\r\n\r\n", 400, "request_malformed"},
		{"a malformed path", "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400, "request_malformed"},
		{"a malformed method", "G(T /livez HTTP/1.1\r\nHost: a\r\n\r\n", 400, "request_malformed"},
		{"a malformed length", "POST /api/v2/events HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400, "request_malformed"},
		{"two lengths", "POST /api/v2/events HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "request_malformed"},
		{"headers too large", "GET /livez HTTP/1.1\r\nHost: a\r\nX-Large: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", 431, "request_headers_too_large"},
		{"a transfer coding", "POST /api/v2/events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "protocol_unsupported"},
		{"another HTTP", "GET /livez HTTP/3.0\r\nHost: a\r\n\r\n", 501, "protocol_unsupported"},
		{"an expectation", "GET /livez HTTP/1.1\r\nHost: a\r\nExpect: cake\r\n\r\n", 417, "expectation_failed"},
		{"HTTP/1.0", "GET /api/v2/nothing HTTP/1.0\r\n\r\n", 404, "resource_path_not_found"},
		{"OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 404, "resource_path_not_found"},
		{"CONNECT", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nConnection: close\r\n\r\n", 404, "resource_path_not_found"},
		{"an absolute URL of elsewhere", "GET http://elsewhere/api/v2/nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 404, "resource_path_not_found"},
	} {
		w := s.wire(t)
		if err := w.send(c.sent); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		a := w.answer("GET")
		a.about = c.name
		a.fails(c.status, c.code)
		if rest := w.cut(); rest != "" {
			t.Errorf("%s: after the answer came %q", c.name, rest)
		}
	}
	w := s.wire(t)
	_ = w.send("GET /livez HTTP/1.0\r\n\r\n")
	if a := w.answer("GET"); a.status != 200 || string(a.body) != "ok\n" || a.header.Get("X-Request-ID") == "" {
		t.Errorf("HTTP/1.0 is answered %d %v %s", a.status, a.header, a.body)
	}
}

// Methods, slashes, encodings: as specified, and always in the one shape.
func TestPathsAndMethods(t *testing.T) {
	s := common.get(t)
	c := s.account(t)
	h := c.webhook("https://receiver.example/")
	for _, tc := range []struct {
		method, path string
		status       int
		code, allow  string
	}{
		{"GET", "/webhooks/", 404, "resource_path_not_found", ""},
		{"GET", h.path() + "/", 404, "resource_path_not_found", ""},
		{"GET", "root://api/v2/webhooks", 404, "resource_path_not_found", ""},
		{"GET", "root:/api/v2/./webhooks", 404, "resource_path_not_found", ""},
		{"GET", "root:/api/v2/events/../webhooks", 404, "resource_path_not_found", ""},
		{"GET", "root:/API/V2/webhooks", 404, "resource_path_not_found", ""},
		{"GET", "root:/api/v2", 404, "resource_path_not_found", ""},
		{"GET", "/webhooks/a%2Fb", 404, "resource_webhook_not_found", ""},
		{"GET", "/webhooks%2Fevents", 404, "resource_path_not_found", ""},
		{"GET", "/webhooks/..%2Fevents", 404, "resource_webhook_not_found", ""},
		{"GET", "/webhooks/%00", 404, "resource_webhook_not_found", ""},
		{"GET", "/webhooks/%FF", 404, "resource_webhook_not_found", ""},
		{"GET", "/events/a%2Fb", 404, "resource_event_not_found", ""},
		{"GET", "/events/a%0Ab", 404, "resource_event_not_found", ""},
		{"GET", "/webhooks/deliveries/del_%20", 404, "resource_delivery_not_found", ""},
		{"PUT", "/webhooks", 405, "method_not_allowed", "GET, HEAD, POST"},
		{"OPTIONS", "/webhooks", 405, "method_not_allowed", "GET, HEAD, POST"},
		{"TRACE", "/webhooks", 405, "method_not_allowed", "GET, HEAD, POST"},
		{"BREW", h.path(), 405, "method_not_allowed", "DELETE, GET, HEAD, PATCH"},
		{"HEAD", "/events", 405, "", "POST"},
		{"DELETE", "/webhooks/events", 405, "method_not_allowed", "GET, HEAD"},
		{"POST", "root:/livez", 405, "method_not_allowed", "GET, HEAD"},
		{"POST", "root:/openapi.json", 405, "method_not_allowed", "GET, HEAD"},
	} {
		a := c.do(tc.method, tc.path, nil)
		if tc.method == "HEAD" {
			a.is(tc.status)
		} else {
			a.fails(tc.status, tc.code)
		}
		if got := a.header.Get("Allow"); got != tc.allow {
			t.Errorf("%s %s allows %q, want %q", tc.method, tc.path, got, tc.allow)
		}
	}
	if a := c.get("/webhooks/"); a.str("error.details.suggestion") != "/api/v2/webhooks" {
		t.Errorf("a slash too many: %s", a.body)
	}
	// HEAD is GET without the body, headers and all.
	get, head := c.get(h.path()).is(200), c.do("HEAD", h.path(), nil).is(200)
	if len(head.body) > 0 || head.header.Get("ETag") != get.header.Get("ETag") || head.header.Get("Content-Length") != fmt.Sprint(len(get.body)) {
		t.Errorf("HEAD answers %v and %d bytes, GET %v and %d", head.header, len(head.body), get.header, len(get.body))
	}
	// What the client would rather have is no reason to refuse: the answer is JSON, and says so.
	if a := c.with("Accept: text/html", "Accept-Charset: latin1").get(h.path()).is(200); a.header.Get("Content-Type") != "application/json" {
		t.Errorf("asked for HTML: %v", a.header)
	}
}

// JSON that one reader takes and another does not is taken by nobody, and what is
// kept verbatim stays so.
func TestOddBodies(t *testing.T) {
	c := common.get(t).account(t)
	deep := func(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }
	hook := func(more string) string {
		return `{"name":"n","url":"https://receiver.example/","events":["export.ready"]` + more + `}`
	}
	event := func(data string) string { return `{"event":"export.ready","data":` + data + `}` }
	for _, tc := range []struct {
		name, path, body, media string
		status                  int
		code                    string
	}{
		{"a name twice", "/webhooks", hook(`,"name":"m"`), "", 422, "validation_failed"},
		{"a name twice in an event", "/events", `{"event":"export.ready","data":{},"data":{}}`, "", 422, "validation_failed"},
		{"a name twice by an escape", "/webhooks", hook(`,"n\u0061me":"m"`), "", 422, "validation_failed"},
		{"NUL in a name", "/webhooks", `{"name":"a\u0000b","url":"https://receiver.example/","events":["export.ready"]}`, "", 422, "validation_failed"},
		{"NUL in JSON", "/webhooks", "{\"name\":\"a\x00b\"}", "", 400, "request_malformed"},
		{"invalid UTF-8", "/events", event("{\"a\":\"\xc3\x28\"}"), "", 400, "request_malformed"},
		{"an overlong form", "/events", event("{\"a\":\"\xc0\x80\"}"), "", 400, "request_malformed"},
		{"a surrogate in UTF-8", "/events", event("{\"a\":\"\xed\xa0\x80\"}"), "", 400, "request_malformed"},
		{"a byte order mark", "/events", "\ufeff" + event("{}"), "", 400, "request_malformed"},
		{"UTF-16", "/events", "\xff\xfe{\x00}\x00", "", 400, "request_malformed"},
		{"deep", "/events", event(deep(100_000)), "", 400, "request_malformed"},
		{"deep without end", "/events", event(strings.Repeat("[", 200_000)), "", 400, "request_malformed"},
		{"deep where it is unknown", "/webhooks", hook(`,"x":` + deep(10_000)), "", 400, "request_malformed"},
		{"NaN", "/events", event(`{"a":NaN}`), "", 400, "request_malformed"},
		{"a comment", "/events", event(`{} /* x */`), "", 400, "request_malformed"},
		{"two values", "/webhooks", hook("") + hook(""), "", 400, "request_malformed"},
		{"nothing", "/webhooks", "", "", 400, "request_malformed"},
		{"blanks", "/webhooks", " \n", "", 400, "request_malformed"},
		{"XML", "/webhooks", "<name/>", "application/xml", 415, "content_type_unsupported"},
		{"another character set", "/webhooks", hook(""), "application/json; charset=utf-16", 415, "content_type_unsupported"},
		{"no media type at all", "/webhooks", hook(""), "!", 415, "content_type_unsupported"},
	} {
		caller := c
		if tc.media != "" {
			caller = c.with("Content-Type: " + tc.media)
		}
		a := caller.post(tc.path, tc.body)
		a.about = tc.name
		a.fails(tc.status, tc.code)
	}
	for _, coding := range []string{"gzip", "identity, gzip", "br", "nonsense"} {
		a := c.with("Content-Encoding: "+coding).post("/events", event("{}")).fails(415, "content_type_unsupported")
		if got := a.header.Get("Accept-Encoding"); got != "identity" {
			t.Errorf("a body in %s: Accept-Encoding is %q", coding, got)
		}
	}
	c.with("Content-Encoding: identity").post("/events", event("{}")).is(202)

	r := receiver(t, nil)
	c.webhook(r.URL())
	odd := `{"huge":1e999999,"long":` + strings.Repeat("9", 5000) + `,"a":1,"a":2,"nul":"\u0000","half":"\ud800","deep":` + deep(100) + `}`
	id := c.post("/events", event(odd)).is(202).str("events.0.id")
	sent := received(t, r, 1)[0].Body
	if !bytes.Contains(sent(), []byte(`"data":`+odd)) || !json.Valid(sent()) {
		t.Errorf("the receiver got %s", sent())
	}
	c.delivery(id, "delivered")
	if a := c.get("/events/" + id).is(200); !bytes.Contains(a.body, []byte(`"data":`+odd)) {
		t.Errorf("the API shows %.300s", a.body)
	}
}

// A body is never read beyond its limit, whatever was announced.
func TestLargeBodies(t *testing.T) {
	c := common.get(t).account(t)
	for _, tc := range []struct {
		method, path string
		size         int
	}{
		{"POST", "/webhooks", 64<<10 + 1},
		{"PATCH", "/webhooks/wh_x", 64<<10 + 1},
		{"POST", "/events", 8<<20 + 1},
		{"POST", "/api-keys", 64<<10 + 1},
	} {
		c.do(tc.method, tc.path, strings.Repeat(" ", tc.size)).fails(413, "request_too_large")
		// Without an announcement, in chunks, and more than anyone would read.
		r, err := http.NewRequestWithContext(t.Context(), tc.method, c.server.base+"/api/v2"+tc.path, io.LimitReader(blanks{}, 1<<30))
		if err != nil {
			t.Fatal(err)
		}
		r.Header = c.header.Clone()
		if resp, err := transport.RoundTrip(r); err == nil { // the server may hang up before the client has heard
			_ = resp.Body.Close()
			if resp.StatusCode != 413 {
				t.Errorf("%s %s in chunks: %d", tc.method, tc.path, resp.StatusCode)
			}
		}
	}
	// One who asks before sending is not made to send.
	w := c.server.wire(t)
	_ = w.send("POST /api/v2/events HTTP/1.1\r\nHost: a\r\nAuthorization: " + c.header.Get("Authorization") +
		"\r\nContent-Length: 100000000\r\nExpect: 100-continue\r\n\r\n")
	w.answer("POST").fails(413, "request_too_large")
	w.cut()
}

type blanks struct{}

func (blanks) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	return len(b), nil
}

// Slow clients are cut: while they send headers, while they send a body, and while
// they don't read.
func TestSlowClients(t *testing.T) {
	s := startServer(t, "", append([]string{"--read-timeout", "600ms", "--write-timeout", "2s"}, openFlags...)...)
	c := s.account(t)
	auth := "Host: a\r\nAuthorization: " + c.header.Get("Authorization") + "\r\n"

	t.Run("headers", func(t *testing.T) {
		w := s.wire(t)
		_ = w.send("GET /livez HTTP/1.1\r\nHost: a\r\nX-Slow: ")
		if got := w.cut(); got != "" {
			t.Errorf("the answer is %q", got)
		}
	})
	t.Run("body", func(t *testing.T) {
		w := s.wire(t)
		_ = w.send("POST /api/v2/events HTTP/1.1\r\n" + auth + "Content-Length: 50\r\n\r\n{\"event\":")
		w.answer("POST").fails(408, "request_timeout")
		w.cut()
	})
	t.Run("a body that drips", func(t *testing.T) {
		w := s.wire(t)
		_ = w.send("POST /api/v2/events HTTP/1.1\r\n" + auth + "Transfer-Encoding: chunked\r\n\r\n")
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-stop:
					return
				case <-tick.C:
					if w.send("1\r\n \r\n") != nil {
						return
					}
				}
			}
		}()
		w.answer("POST").fails(408, "request_timeout")
	})
	t.Run("a reader that does not read", func(t *testing.T) {
		// More than the sockets between hold, asked for at once and not read.
		for i := range 100 {
			c.post("/webhooks", object{
				"name": strconv.Itoa(i), "url": "https://receiver.example/", "events": []string{"export.ready"}, "metadata": object{"x": strings.Repeat("x", 16000)},
			}).is(201)
		}
		w := s.wire(t)
		_ = w.conn.(*net.TCPConn).SetReadBuffer(4096)
		for range 10 {
			_ = w.send("GET /api/v2/webhooks HTTP/1.1\r\n" + auth + "\r\n")
		}
		eventually(t, "the reader to be cut", func() error {
			if err := w.send("G"); err == nil {
				return errors.New("the server still takes what it sends")
			}
			return nil
		})
	})
	t.Run("one who is quick", func(t *testing.T) { c.get("/webhooks?limit=1").is(200) })
}

package sender

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"

	"hookledger/consumers/sender/egress"
	"hookledger/consumers/sender/receivertest"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

func internalSender(t testing.TB) *Sender {
	t.Helper()
	g, err := egress.New(egress.Policy{AllowHTTP: true, AllowPrivateNetworks: true})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Options{Guard: g, MaxBody: 1000})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// deaf is a connection that takes part of what is written, and then fails.
type deaf struct {
	net.Conn
	takes int
}

func (d *deaf) Write(b []byte) (int, error) {
	n := min(d.takes, len(b))
	d.takes -= n
	return n, syscall.EPIPE
}

// A kept connection may break between the look at it and the write. If it took
// nothing, the send begins again on a fresh one; if it took a byte, never.
func TestKeptConnectionThatBreaksAtTheWrite(t *testing.T) {
	for _, body := range [][]byte{[]byte("{}"), bytes.Repeat([]byte("x"), 1<<20)} {
		for takes, want := range map[int]Result{
			0: {Outcome: facts.Outcome_OUTCOME_DELIVERED, RequestSent: true},
			1: {Outcome: facts.Outcome_OUTCOME_RESET, RequestSent: true},
		} {
			r, err := receivertest.Start(receivertest.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			s := internalSender(t)
			s.timeout = 5 * time.Second
			req := Request{URL: r.URL(), Body: []byte("{}"), Secrets: Secrets{Current: "whsec_AAEC"}}
			s.Send(t.Context(), req)
			kept := s.pool.newest
			if kept == nil {
				t.Fatal("nothing was kept")
			}
			kept.wire.Conn = &deaf{kept.wire.Conn, takes}
			if takes > 0 {
				r.Close() // otherwise the half request waits for its rest
				r, err = receivertest.Start(receivertest.Options{Address: r.Addr()})
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				kept.peek.look = func(uintptr) bool { kept.peek.quiet = true; return true }
			}
			before := r.Count()
			req.Body = body
			got := s.Send(t.Context(), req)
			if got.Outcome != want.Outcome || got.RequestSent != want.RequestSent {
				t.Errorf("took %d: %v, sent %v, %q", takes, got.Outcome, got.RequestSent, got.Error)
			}
			if requests := r.Count() - before; requests != 1-takes || s.Stats().Again != int64(1-takes) {
				t.Errorf("took %d: %d requests, %+v", takes, requests, s.Stats())
			}
		}
	}
}

func TestKeepAliveHeader(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"timeout=5": 4 * time.Second, "max=100, Timeout=75": 74 * time.Second, "timeout=1": time.Second / 2, "timeout=0": 0,
		"timeout=x": time.Hour, "max=3": time.Hour, "": time.Hour, "timeout=-1": time.Hour, "timeout": time.Hour,
	} {
		if got := keepAlive(http.Header{"Keep-Alive": {value}}); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}

func TestRootCAs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "roots.pem")
	if _, err := RootCAs(file); err == nil {
		t.Error("a missing file passed")
	}
	if err := os.WriteFile(file, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := RootCAs(file); err == nil || !strings.Contains(err.Error(), "PEM") {
		t.Errorf("a file without certificates: %v", err)
	}
	server := httptest.NewUnstartedServer(nil) // has a certificate of its own
	server.StartTLS()
	defer server.Close()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	roots, err := RootCAs(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := server.Certificate().Verify(x509.VerifyOptions{Roots: roots, DNSName: "example.com"}); err != nil {
		t.Error(err)
	}
}

// scripted is a connection that says what it was given and then ends.
type scripted struct {
	net.Conn
	io.Reader
}

func (s scripted) Read(b []byte) (int, error) { return s.Reader.Read(b) }

// FuzzAnswer: whatever a receiver sends, the result is one outcome within its
// limits that a fact can hold, and does not depend on how the bytes are cut.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: y\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 429 Slow\r\nRetry-After: 5\r\nKeep-Alive: timeout=5, max=3\r\n\r\n",
		"HTTP/1.1 101 X\r\n\r\n", "HTTP/1.0 301 \r\nLocation: \xff\r\n\r\n", "HTTP/1.1 200\r\n\r\n", "\x15\x03\x01", "",
		"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", "HTTP/1.1 -20 OK\r\n\r\n", "HTTP/1.1 000 OK\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		s := internalSender(t)
		read := func(from io.Reader) Result {
			tr := try{s: s, ctx: context.Background()}
			_, at, err := tr.answer(&conn{rw: scripted{Reader: from}})
			if err != nil {
				tr.classify(at, err)
			}
			return tr.res
		}
		res := read(bytes.NewReader(raw))
		if facts.Outcome_name[int32(res.Outcome)] == "" || res.Outcome == facts.Outcome_OUTCOME_UNSPECIFIED {
			t.Errorf("outcome %v", res.Outcome)
		}
		if ok := res.StatusCode >= 200 && res.StatusCode < 300; res.Outcome == facts.Outcome_OUTCOME_DELIVERED && !ok {
			t.Errorf("status %d is delivered", res.StatusCode)
		}
		if len(res.Body) > s.maxBody || len(res.Headers) > maxRecordedHeaders || len(res.Error) > maxErrorBytes+len("…") || res.RetryAfter < 0 || res.RetryAfter > MaxRetryAfter {
			t.Errorf("over the limits: %d bytes of body, %d headers, error %q, retry after %s", len(res.Body), len(res.Headers), res.Error, res.RetryAfter)
		}
		if !utf8.ValidString(res.Error) {
			t.Errorf("error %q", res.Error)
		}
		for _, h := range res.Headers {
			if !utf8.ValidString(h.GetName()) || !utf8.ValidString(h.GetValue()) {
				t.Errorf("header %q", h)
			}
		}
		slow := read(iotest.OneByteReader(bytes.NewReader(raw)))
		if slow.Outcome != res.Outcome || slow.StatusCode != res.StatusCode || !bytes.Equal(slow.Body, res.Body) {
			t.Errorf("in one piece %v %d %q, byte by byte %v %d %q", res.Outcome, res.StatusCode, res.Error, slow.Outcome, slow.StatusCode, slow.Error)
		}
	})
}

package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"hookledger/ledger/ids"
	"hookledger/schemas/api/apierr"
)

// oneShape is a listener whose connections say in the one shape, with X-Request-ID,
// what net/http says itself of what is no request: a line of text that no handler
// sees (no Host, headers too large, a transfer coding that it doesn't know). net/http
// has no hook for these. Each is one write that begins as no answer of a handler
// does, for those have a Date; what is not recognised passes as it is.
type oneShape struct{ net.Listener }

// Accept implements net.Listener.
func (l oneShape) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok && err == nil {
		return &shapedConn{tcp}, nil
	}
	return c, err
}

// shapedConn has all that net/http looks for in a TCP connection.
type shapedConn struct{ *net.TCPConn }

// Write implements net.Conn.
func (c *shapedConn) Write(b []byte) (int, error) {
	status, why, ok := unread(b)
	if !ok {
		return c.TCPConn.Write(b) //nolint:wrapcheck // net/http compares it
	}
	if _, err := c.TCPConn.Write(shaped(apierr.Unreadable(status, why))); err != nil {
		return 0, err //nolint:wrapcheck // net/http compares it
	}
	return len(b), nil
}

// unread recognises what net/http writes by itself.
func unread(b []byte) (status int, why string, ok bool) {
	rest, ok := bytes.CutPrefix(b, []byte("HTTP/1.1 "))
	if !ok || len(rest) < 4 || rest[0] != '4' && rest[0] != '5' {
		return 0, "", false
	}
	status, err := strconv.Atoi(string(rest[:3]))
	if err != nil {
		return 0, "", false
	}
	if status == http.StatusExpectationFailed { // through the ordinary way, but without a handler: ours never answers it
		return status, "", true
	}
	line, body, ok := bytes.Cut(rest, []byte("\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"))
	if !ok || bytes.ContainsAny(line, "\r\n") {
		return 0, "", false
	}
	why = string(body)
	if _, detail, found := strings.Cut(why, ": "); found {
		why = detail
	}
	return status, strings.ToLower(why), true
}

// shaped is an error as a whole answer.
func shaped(e *apierr.Error) []byte {
	id, err := ids.Timed(time.Now(), rand.Reader)
	if err != nil { // crypto/rand does not fail
		id = ids.ID{}
	}
	name := id.Text(ids.Request)
	body, err := e.Body(name)
	if err != nil { // its details are ours
		body = nil
	}
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nDate: %s\r\nX-Request-ID: %s\r\n"+
		"Cache-Control: no-store\r\nConnection: close\r\n\r\n%s",
		e.Status, http.StatusText(e.Status), len(body), time.Now().UTC().Format(http.TimeFormat), name, body)
}

package sender

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"hookledger/consumers/sender/egress"
)

// wire is the TCP connection below everything else. It counts what the kernel
// took: that, and nothing higher up, is what request_sent means.
type wire struct {
	net.Conn
	sent int64
}

func (w *wire) Write(b []byte) (int, error) {
	n, err := w.Conn.Write(b)
	w.sent += int64(n)
	return n, err
}

// hostKey is what connections are shared by. The address is not part of it: a
// kept connection goes where the guard let it go when it was made.
type hostKey struct {
	tls  bool
	dial string
}

// conn is one connection. It belongs to one Send or to the pool, never to both.
type conn struct {
	wire *wire
	rw   net.Conn // wire, or TLS over it
	key  hostKey
	cut  func() // ends whatever blocks on the connection
	peek peeker

	// The pool's.
	expires              time.Time
	newer, older         *conn // by last use, over all hosts
	hostNewer, hostOlder *conn
}

// open returns a kept connection or dials a new one, with the deadline set.
// TLS is not yet spoken on a new one.
func (s *Sender) open(ctx context.Context, target *egress.Target, deadline time.Time, fresh bool) (c *conn, reused bool, err error) {
	key := hostKey{target.TLS, target.Dial}
	for !fresh {
		c := s.pool.get(key)
		if c == nil {
			break
		}
		// The deadline first: an expired one would make peek fail.
		if c.wire.SetDeadline(deadline) == nil && c.peek.silent() {
			s.reused.Add(1)
			return c, true, nil
		}
		c.drop()
	}
	s.dials.Add(1)
	dialCtx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	raw, err := s.dialer.DialContext(dialCtx, "tcp", target.Dial)
	if err != nil {
		return nil, false, err
	}
	c = &conn{wire: &wire{Conn: raw}, key: key}
	c.cut = func() { _ = raw.SetDeadline(time.Unix(1, 0)) } // the only error is that it is closed already
	c.rw = c.wire
	if target.TLS {
		config := s.tls.Clone()
		config.ServerName = target.Name
		c.rw = tls.Client(c.wire, config)
	}
	if err := c.peek.attach(raw); err != nil {
		c.drop()
		return nil, false, err
	}
	if err := raw.SetDeadline(deadline); err != nil {
		c.drop()
		return nil, false, err
	}
	return c, false, nil
}

// handshake is a no-op on a plain or kept connection.
func (c *conn) handshake() error {
	if t, ok := c.rw.(*tls.Conn); ok {
		return t.Handshake() //nolint:noctx // the connection has its deadline, and a cancelled context cuts it
	}
	return nil
}

// drop closes the socket at once, without TLS's goodbye, which could block.
// There is nothing that a failing close could tell: what was to be known about
// the request is known by now.
func (c *conn) drop() { _ = c.wire.Close() }

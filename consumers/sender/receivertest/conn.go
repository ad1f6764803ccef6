package receivertest

import (
	"bytes"
	"net"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
)

// maxRequest is what a receiver takes before it calls the sender mad.
const maxRequest = 64 << 20

// conn serves one connection; its buffers are used again for each request.
type conn struct {
	receiver *Receiver
	tcp      *net.TCPConn
	rw       net.Conn // tcp or TLS around it
	number   int64
	idle     atomic.Bool
	buf      []byte // what was read and not yet consumed
	out      []byte
	request  Request
}

func (c *conn) serve() {
	defer func() {
		_ = c.rw.Close()
		c.receiver.mu.Lock()
		delete(c.receiver.conns, c)
		c.receiver.mu.Unlock()
	}()
	for c.read() {
		answer := c.receiver.opts.Respond(&c.request)
		c.buf = c.buf[:copy(c.buf, c.buf[len(c.request.raw):])]
		if answer.Delay > 0 {
			t := time.NewTimer(answer.Delay)
			select {
			case <-t.C:
			case <-c.receiver.done:
				t.Stop()
				return
			}
		}
		if !answer.Silent {
			c.out = answer.append(c.out[:0])
			if _, err := c.rw.Write(c.out); err != nil {
				return
			}
		}
		switch answer.Then {
		case Close:
			return
		case Reset:
			_ = c.tcp.SetLinger(0)
			_ = c.tcp.Close()
			return
		case Hang:
			var b [512]byte
			for {
				if _, err := c.rw.Read(b[:]); err != nil {
					return
				}
			}
		}
	}
}

// read takes one request; false means that the connection is over.
func (c *conn) read() bool {
	var head int
	for {
		if head = bytes.Index(c.buf, []byte("\r\n\r\n")); head >= 0 {
			break
		}
		c.idle.Store(len(c.buf) == 0)
		if !c.fill(4096) {
			return false
		}
		c.idle.Store(false)
	}
	head += 4
	length := 0
	if v, ok := find(c.buf[:head], "content-length"); ok {
		n, err := strconv.Atoi(string(v))
		if err != nil || n < 0 || n > maxRequest {
			return false
		}
		length = n
	}
	for len(c.buf) < head+length {
		if !c.fill(head + length - len(c.buf)) {
			return false
		}
	}
	c.request = Request{Received: time.Now(), Connection: c.number, raw: c.buf[:head+length], head: head}
	c.receiver.arrived(&c.request)
	return true
}

// fill reads once, with room for at least n bytes.
func (c *conn) fill(n int) bool {
	c.buf = slices.Grow(c.buf, n)
	m, err := c.rw.Read(c.buf[len(c.buf):cap(c.buf)])
	c.buf = c.buf[:len(c.buf)+m]
	return err == nil && len(c.buf) <= maxRequest
}

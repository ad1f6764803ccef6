// Package receivertest is a webhook receiver for tests and benchmarks: an HTTP
// server inside the process that keeps what it was sent and answers as told,
// with the misbehaviour that real receivers show (late, silent, cut off, reset,
// not HTTP at all).
//
// It is lean rather than complete, because it shares two cores with what it
// measures: it reads requests with Content-Length only and finds its way
// through them without net/http, about 1.5 µs of CPU beside the system calls.
// It promises that a Request holds the exact bytes that arrived, and that Close
// ends every goroutine and connection. It never interprets what it was sent.
package receivertest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Options say what the receiver does. The zero value answers 200 to everything,
// counts requests and keeps none.
type Options struct {
	// Respond decides the answer. It is called from many goroutines at once. The
	// request is valid only during the call unless it is cloned or kept.
	Respond func(*Request) Answer
	// Keep is how many requests are kept for Requests, the first ones; -1 keeps all.
	Keep int
	// TLS, if set, makes it an https receiver.
	TLS *tls.Config
	// Address is where to listen; a free port of 127.0.0.1 if empty.
	Address string
}

// Receiver is a running receiver.
type Receiver struct {
	opts     Options
	listener net.Listener
	count    atomic.Int64
	opened   atomic.Int64
	wg       sync.WaitGroup
	done     chan struct{}

	mu    sync.Mutex
	conns map[*conn]struct{}
	kept  []*Request
	more  chan struct{} // closed and replaced when a request arrives and somebody waits
}

// Start listens and serves until Close.
func Start(opts Options) (*Receiver, error) {
	if opts.Address == "" {
		opts.Address = "127.0.0.1:0"
	}
	if opts.Respond == nil {
		opts.Respond = func(*Request) Answer { return Answer{} }
	}
	l, err := net.Listen("tcp", opts.Address)
	if err != nil {
		return nil, fmt.Errorf("test receiver on %s: %w", opts.Address, err)
	}
	r := &Receiver{opts: opts, listener: l, done: make(chan struct{}), conns: map[*conn]struct{}{}}
	r.wg.Go(r.accept)
	return r, nil
}

// URL is the receiver's address as a URL without path.
func (r *Receiver) URL() string {
	if r.opts.TLS != nil {
		return "https://" + r.Addr()
	}
	return "http://" + r.Addr()
}

// Addr is the receiver's host and port.
func (r *Receiver) Addr() string { return r.listener.Addr().String() }

// Count is how many whole requests have arrived.
func (r *Receiver) Count() int { return int(r.count.Load()) }

// Connections is how many connections were ever accepted.
func (r *Receiver) Connections() int { return int(r.opened.Load()) }

// Requests are the kept requests so far, in order of arrival.
func (r *Receiver) Requests() []*Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.kept)
}

// Wait returns when at least n whole requests have arrived.
func (r *Receiver) Wait(ctx context.Context, n int) error {
	for {
		r.mu.Lock()
		if r.more == nil {
			r.more = make(chan struct{})
		}
		more := r.more
		r.mu.Unlock()
		if r.Count() >= n {
			return nil
		}
		select {
		case <-more:
		case <-r.done:
			return errors.New("the test receiver was closed")
		case <-ctx.Done():
			return fmt.Errorf("waiting for %d requests, %d arrived: %w", n, r.Count(), context.Cause(ctx))
		}
	}
}

// CloseIdle closes the connections that are between requests, as a receiver
// does whose keep-alive time is over.
func (r *Receiver) CloseIdle() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		if c.idle.Load() {
			_ = c.tcp.Close()
		}
	}
}

// Close stops listening, cuts every connection and waits for all goroutines.
func (r *Receiver) Close() {
	r.mu.Lock()
	select {
	case <-r.done:
	default:
		close(r.done)
	}
	for c := range r.conns {
		_ = c.tcp.Close()
	}
	r.mu.Unlock()
	_ = r.listener.Close()
	r.wg.Wait()
}

func (r *Receiver) accept() {
	for {
		nc, err := r.listener.Accept()
		if err != nil {
			select {
			case <-r.done:
				return
			case <-time.After(10 * time.Millisecond): // out of descriptors: wait for some
				continue
			}
		}
		c := &conn{receiver: r, tcp: nc.(*net.TCPConn), rw: nc, number: r.opened.Add(1)}
		if r.opts.TLS != nil {
			c.rw = tls.Server(nc, r.opts.TLS)
		}
		r.mu.Lock()
		select {
		case <-r.done:
			r.mu.Unlock()
			_ = nc.Close()
			return
		default:
		}
		r.conns[c] = struct{}{}
		r.wg.Go(c.serve)
		r.mu.Unlock()
	}
}

// arrived counts a request and keeps it if it should be.
func (r *Receiver) arrived(q *Request) {
	r.count.Add(1)
	r.mu.Lock()
	if r.opts.Keep < 0 || len(r.kept) < r.opts.Keep {
		r.kept = append(r.kept, q.Clone())
	}
	if r.more != nil {
		close(r.more)
		r.more = nil
	}
	r.mu.Unlock()
}

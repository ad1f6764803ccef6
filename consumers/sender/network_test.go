package sender_test

import (
	"context"
	"net"
	"sync"
	"testing"
)

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// serveRaw hands every connection to serve and closes it after; it ends with the listener.
func serveRaw(l net.Listener, serve func(net.Conn)) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		wg.Go(func() {
			defer c.Close()
			serve(c)
		})
	}
}

func udp(t testing.TB) net.PacketConn {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// resolver asks one server. Go's look-ups outlive their context by seconds, so
// the end of the test ends them.
func resolver(t testing.TB, server net.PacketConn) *net.Resolver {
	done, end := context.WithCancel(context.Background())
	t.Cleanup(end)
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		if done.Err() != nil {
			return nil, done.Err()
		}
		var d net.Dialer
		c, err := d.DialContext(ctx, "udp", server.LocalAddr().String())
		if err == nil {
			context.AfterFunc(done, func() { _ = c.Close() })
		}
		return c, err
	}}
}

func silentDNS(t testing.TB) *net.Resolver { return resolver(t, udp(t)) }

// dnsServer answers every A question with one address, and with NXDOMAIN if it is nil.
func dnsServer(t testing.TB, a net.IP) *net.Resolver {
	server := udp(t)
	go func() {
		var b [1500]byte
		for {
			n, from, err := server.ReadFrom(b[:])
			if err != nil {
				return
			}
			end := 12 // the question: labels, type, class
			for b[end] != 0 {
				end += int(b[end]) + 1
			}
			isA := b[end+2] == 1
			end += 5
			if n < end {
				continue
			}
			out := append([]byte{}, b[:end]...)
			out[2], out[3] = 0x81, 0x80 // an answer, recursion available
			copy(out[6:12], make([]byte, 6))
			switch {
			case a == nil:
				out[3] |= 3
			case isA:
				out[7] = 1
				out = append(out, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4)
				out = append(out, a.To4()...)
			}
			_, _ = server.WriteTo(out, from)
		}
	}()
	return resolver(t, server)
}

package sender

import (
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// fakeConn knows whether it was closed.
type fakeConn struct {
	net.Conn
	closed atomic.Bool
}

func (f *fakeConn) Close() error { f.closed.Store(true); return nil }

func idle(host string) (*conn, *fakeConn) {
	f := &fakeConn{}
	w := &wire{Conn: f}
	return &conn{wire: w, rw: w, key: hostKey{dial: host}}, f
}

// The pool against the simplest list that does the same.
func TestPoolModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		perHost, total := rapid.IntRange(1, 4).Draw(t, "per host"), rapid.IntRange(1, 6).Draw(t, "total")
		p := newPool(perHost, total, time.Hour)
		defer p.close()
		type entry struct {
			c    *conn
			fake *fakeConn
		}
		var list []entry // oldest first
		drop := func(i int) {
			if !list[i].fake.closed.Load() {
				t.Fatal("an evicted connection is open")
			}
			list = append(list[:i:i], list[i+1:]...)
		}
		oldest := func(host string) (first, n int) {
			first = -1
			for i, e := range list {
				if host == "" || e.c.key.dial == host {
					if first < 0 {
						first = i
					}
					n++
				}
			}
			return first, n
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			host := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "host")
			if rapid.Bool().Draw(t, "put") {
				c, fake := idle(host)
				p.put(c, time.Hour)
				if i, n := oldest(host); n == perHost {
					drop(i)
				} else if i, n := oldest(""); n == total {
					drop(i)
				}
				list = append(list, entry{c, fake})
			} else {
				got := p.get(hostKey{dial: host})
				var want *conn
				for i, l := range slices.Backward(list) {
					if l.c.key.dial == host {
						want = l.c
						list = append(list[:i:i], list[i+1:]...)
						break
					}
				}
				if got != want {
					t.Fatalf("get returned %p, want %p", got, want)
				}
			}
			if p.size() != len(list) {
				t.Fatalf("%d idle, want %d", p.size(), len(list))
			}
			for _, e := range list {
				if e.fake.closed.Load() {
					t.Fatal("a kept connection is closed")
				}
			}
		}
	})
}

func TestPoolTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(10, 10, 30*time.Second)
		c, short := idle("a")
		p.put(c, 4*time.Second)
		c, long := idle("b")
		p.put(c, time.Hour)
		time.Sleep(5 * time.Second)
		if p.get(hostKey{dial: "a"}) != nil || !short.closed.Load() {
			t.Error("a connection outlived the receiver's limit")
		}
		time.Sleep(24 * time.Second)
		if long.closed.Load() {
			t.Error("a connection was closed early")
		}
		time.Sleep(10 * time.Second)
		if !long.closed.Load() || p.size() != 0 {
			t.Error("a connection outlived the pool's limit")
		}
		c, last := idle("a")
		p.put(c, time.Hour)
		p.close()
		c, late := idle("a")
		p.put(c, time.Hour)
		if !last.closed.Load() || !late.closed.Load() || p.size() != 0 {
			t.Error("a closed pool keeps connections")
		}
	})
}

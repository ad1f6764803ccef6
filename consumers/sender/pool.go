package sender

import (
	"sync"
	"time"
)

// pool keeps idle connections, by host and by last use. Both limits cost the
// connection that was used longest ago: of the host, or of all.
type pool struct {
	perHost, total int
	timeout        time.Duration

	mu             sync.Mutex
	hosts          map[hostKey]*idleHost
	newest, oldest *conn
	n              int
	reaper         *time.Timer
	armed          bool // the reaper runs only while something may be idle
	closed         bool
}

type idleHost struct {
	newest, oldest *conn
	n              int
}

func newPool(perHost, total int, timeout time.Duration) *pool {
	return &pool{perHost: perHost, total: total, timeout: timeout, hosts: map[hostKey]*idleHost{}}
}

// get takes the host's most recently used connection, or returns nil.
func (p *pool) get(key hostKey) *conn {
	p.mu.Lock()
	h := p.hosts[key]
	if h == nil {
		p.mu.Unlock()
		return nil
	}
	c := h.newest
	p.remove(h, c)
	p.mu.Unlock()
	if time.Now().After(c.expires) {
		c.drop()
		return p.get(key)
	}
	return c
}

// put keeps a connection for at most the given time.
func (p *pool) put(c *conn, keep time.Duration) {
	var evicted *conn
	c.expires = time.Now().Add(min(keep, p.timeout))
	p.mu.Lock()
	if p.closed || p.perHost <= 0 || p.total <= 0 {
		p.mu.Unlock()
		c.drop()
		return
	}
	h := p.hosts[c.key]
	switch {
	case h != nil && h.n >= p.perHost:
		evicted = h.oldest
		p.remove(h, evicted)
		h = p.hosts[c.key]
	case p.n >= p.total:
		evicted = p.oldest
		p.remove(p.hosts[evicted.key], evicted)
		h = p.hosts[c.key]
	}
	if h == nil {
		h = &idleHost{}
		p.hosts[c.key] = h
	}
	p.insert(h, c)
	if !p.armed {
		p.armed = true
		if p.reaper == nil {
			p.reaper = time.AfterFunc(p.timeout, p.reap)
		} else {
			p.reaper.Reset(p.timeout)
		}
	}
	p.mu.Unlock()
	if evicted != nil {
		evicted.drop()
	}
}

func (p *pool) insert(h *idleHost, c *conn) {
	c.older, c.hostOlder = p.newest, h.newest
	if p.newest != nil {
		p.newest.newer = c
	} else {
		p.oldest = c
	}
	if h.newest != nil {
		h.newest.hostNewer = c
	} else {
		h.oldest = c
	}
	p.newest, h.newest = c, c
	p.n++
	h.n++
}

func (p *pool) remove(h *idleHost, c *conn) {
	if c.newer != nil {
		c.newer.older = c.older
	} else {
		p.newest = c.older
	}
	if c.older != nil {
		c.older.newer = c.newer
	} else {
		p.oldest = c.newer
	}
	if c.hostNewer != nil {
		c.hostNewer.hostOlder = c.hostOlder
	} else {
		h.newest = c.hostOlder
	}
	if c.hostOlder != nil {
		c.hostOlder.hostNewer = c.hostNewer
	} else {
		h.oldest = c.hostNewer
	}
	c.newer, c.older, c.hostNewer, c.hostOlder = nil, nil, nil, nil
	p.n--
	if h.n--; h.n == 0 {
		delete(p.hosts, c.key)
	}
}

// reap closes what nobody asked for in time. It begins with the longest unused
// and stops at the first that may stay, so a receiver's own shorter limit is
// honoured when the connection is asked for, not here.
func (p *pool) reap() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for p.oldest != nil && !p.oldest.expires.After(now) {
		c := p.oldest
		p.remove(p.hosts[c.key], c)
		c.drop()
	}
	if p.armed = p.n > 0 && !p.closed; p.armed {
		p.reaper.Reset(max(p.oldest.expires.Sub(now), p.timeout/4))
	}
}

// close drops what is idle and keeps nothing from now on.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.reaper != nil {
		p.reaper.Stop()
	}
	for p.oldest != nil {
		c := p.oldest
		p.remove(p.hosts[c.key], c)
		c.drop()
	}
}

func (p *pool) size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n
}

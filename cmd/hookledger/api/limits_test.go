package api

import (
	"net/http/httptest"
	"net/netip"
	"testing"
)

func TestWhereARequestComesFrom(t *testing.T) {
	l := &limits{Limits: Limits{Proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}}}
	for _, c := range []struct {
		name, peer string
		forwarded  []string
		want       string
	}{
		{"a client", "203.0.113.7:1234", nil, "203.0.113.7"},
		{"a client that says it is another", "203.0.113.7:1234", []string{"198.51.100.1"}, "203.0.113.7"},
		{"behind a proxy", "10.0.0.1:1", []string{"203.0.113.7"}, "203.0.113.7"},
		{"behind two", "10.0.0.1:1", []string{"203.0.113.7, 10.9.9.9"}, "203.0.113.7"},
		{"behind two, a header each", "10.0.0.1:1", []string{"203.0.113.7", "10.9.9.9"}, "203.0.113.7"},
		{"what the client wrote before the proxy", "10.0.0.1:1", []string{"1.1.1.1, 203.0.113.7"}, "203.0.113.7"},
		{"all proxies", "10.0.0.1:1", []string{"10.1.1.1"}, "10.1.1.1"},
		{"garbage", "10.0.0.1:1", []string{"unknown"}, "10.0.0.1"},
		{"garbage before the client", "10.0.0.1:1", []string{"x, 203.0.113.7"}, "203.0.113.7"},
		{"no header", "10.0.0.1:1", nil, "10.0.0.1"},
		{"IPv6 is its network", "[2001:db8:1:2:3:4:5:6]:1", nil, "2001:db8:1:2::"},
		{"IPv6 behind a proxy", "[fd00::1]:1", []string{"2001:db8:1:2:ffff::"}, "2001:db8:1:2::"},
		{"IPv4 in IPv6", "[::ffff:203.0.113.7]:1", nil, "203.0.113.7"},
		{"a zone", "[fe80::1%eth0]:1", nil, "fe80::"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.peer
		for _, f := range c.forwarded {
			r.Header.Add("X-Forwarded-For", f)
		}
		if got := l.source(r).String(); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

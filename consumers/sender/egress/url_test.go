package egress_test

import (
	"bufio"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"hookledger/consumers/sender/egress"
)

func TestCheckURL(t *testing.T) {
	strict := egress.Policy{}
	open := egress.Policy{AllowHTTP: true, AllowPrivateNetworks: true}
	ports := egress.Policy{Ports: []uint16{443, 8443}}
	long := "https://example.com/" + strings.Repeat("a", egress.MaxURLLength)
	for _, c := range []struct {
		policy egress.Policy
		url    string
		want   string // part of the error; empty: allowed
	}{
		{strict, "https://example.com", ""},
		{strict, "https://example.com/hook?a=b&c=d%20e", ""},
		{strict, "https://EXAMPLE.com:8443/", ""},
		{strict, "https://example.com./", ""},
		{strict, "https://xn--mnchen-3ya.de/", ""},
		{strict, "https://under_score.example.com/", ""},
		{strict, "https://8.8.8.8/", ""},
		{strict, "https://[2606:4700::1111]:444/", ""},
		{strict, "https://4.example.com", ""},
		{open, "http://127.0.0.1:8080/x", ""},
		{open, "http://localhost:8080", ""},
		{open, "http://[::1]:8080", ""},
		{open, "http://receiver", ""},
		{ports, "https://example.com", ""},
		{ports, "https://example.com:8443", ""},

		{strict, "", "empty"},
		{strict, long, "at most 2048"},
		{strict, long[:egress.MaxURLLength], ""},
		{strict, "http://example.com", "only https is allowed"},
		{strict, "ftp://example.com", "scheme"},
		{open, "gopher://example.com", "http is allowed too"},
		{strict, "example.com/hook", "scheme"},
		{strict, "https:example.com", "no host"},
		{strict, "https:///hook", "no host"},
		{strict, "https://:443/hook", "1 to 253"},
		{strict, "https://user:hunter2@example.com/", "credentials"},
		{strict, "https://@example.com/", "credentials"},
		{strict, "https://example.com/#frag", "fragment"},
		{strict, "https://example.com/#", "fragment"},
		{strict, "https://example.com/a b", "space or control"},
		{strict, "https://example.com/\r\nX: y", "space or control"},
		{strict, "https://example.com\\@evil.com/", "backslash"},
		{strict, "https://münchen.de/", "xn--"},
		{strict, "https://example.com/ü", "percent-encode"},
		{strict, "https://example.com:0/", "1 to 65535"},
		{strict, "https://example.com:65536/", "1 to 65535"},
		{strict, "https://example.com:/", "colon"},
		{strict, "https://example.com:8a/", "can't be read"},
		{strict, "https://a..b/", "empty part"},
		{strict, "https://.example.com/", "empty part"},
		{strict, "https://" + strings.Repeat("a", 64) + ".com/", "63"},
		{strict, "https://" + strings.Repeat("a.", 127) + "com/", "253"},
		{strict, "https://exa$mple.com/", "character"},
		{strict, "https://%31%32%37.0.0.1/", "can't be read"},
		{strict, "https://example.com/%zz", "can't be read"},
		{strict, "https://localhost/", "localhost"},
		{strict, "https://LOCALHOST./", "localhost"},
		{strict, "https://a.localhost/", "localhost"},
		{strict, "https://127.0.0.1/", "loopback"},
		{strict, "https://169.254.169.254/latest", "metadata"},
		{open, "https://169.254.169.254/latest", "metadata"},
		{strict, "https://[::1]/", "loopback"},
		{strict, "https://[::ffff:10.0.0.1]/", "private"},
		{strict, "https://[64:ff9b::a00:1]/", "private"},
		{open, "https://[fe80::1%25eth0]/", "zone"},
		{open, "https://[::1/", "can't be read"},
		{open, "https://[1.2.3.4]/", "can't be read"},
		// What inet_aton and browsers read as IPv4, each 127.0.0.1.
		{open, "https://2130706433/", "ends in a number"},
		{open, "https://0x7f.1/", "ends in a number"},
		{open, "https://0x7f000001/", "ends in a number"},
		{open, "https://0177.0.0.1/", "ends in a number"},
		{open, "https://127.1/", "ends in a number"},
		{open, "https://127.0.0.1./", "ends in a number"},
		{open, "https://127.0.0.0x1/", "ends in a number"},
		{open, "https://1.2.3.4.5/", "ends in a number"},
		{open, "https://example.0x/", "ends in a number"},
		{open, "https://①②⑦.0.0.1/", "non-ASCII"},
		{ports, "https://example.com:444", "use one of 443, 8443"},
	} {
		err := guard(t, c.policy).CheckURL(c.url)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v, want it allowed", c.url, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: error %v, want one with %q", c.url, err, c.want)
		case err != nil && strings.Contains(err.Error(), "hunter2"):
			t.Errorf("the error shows credentials: %v", err)
		}
	}
}

func TestParse(t *testing.T) {
	g := guard(t, egress.Policy{AllowHTTP: true})
	for raw, want := range map[string]egress.Target{
		"https://Example.com":           {TLS: true, Host: "Example.com", Name: "example.com", Dial: "example.com:443", RequestURI: "/"},
		"http://example.com./a//b?c=d?": {Host: "example.com.", Name: "example.com", Dial: "example.com:80", RequestURI: "/a//b?c=d?"},
		"https://[2606:4700::1]:8443?x": {TLS: true, Host: "[2606:4700::1]:8443", Name: "2606:4700::1", Literal: true, Dial: "[2606:4700::1]:8443", RequestURI: "/?x"},
	} {
		if got, err := g.Parse(raw); err != nil || got != want {
			t.Errorf("%s:\n got %+v, %v\nwant %+v", raw, got, err, want)
		}
	}
}

// FuzzCheckURL: what is accepted makes a request that net/http reads back as
// the same host and target, and names no address that the guard forbids.
func FuzzCheckURL(f *testing.F) {
	for _, seed := range []string{
		"https://example.com/a?b=c", "http://127.0.0.1:80/", "https://[::1]/", "https://0x7f.1", "https://a@b", "https://h/%2e%2E?%00",
		"https://h?\"<>", "https://h//x", "https://h/;p", "HTTPS://h", "https://h:443:443/", "https://[::ffff:7f00:1]/", "//h", "https://h/?#",
	} {
		f.Add(seed, true, true)
		f.Add(seed, false, false)
	}
	f.Fuzz(func(t *testing.T, raw string, http_, private bool) {
		g := guard(t, egress.Policy{AllowHTTP: http_, AllowPrivateNetworks: private})
		target, err := g.Parse(raw)
		if (err == nil) != (g.CheckURL(raw) == nil) {
			t.Fatal("Parse and CheckURL disagree")
		}
		if err != nil {
			return
		}
		if !target.TLS && !http_ {
			t.Errorf("%q: http was let through", raw)
		}
		if addr, err := netip.ParseAddr(target.Name); err == nil && g.CheckAddr(addr) != nil {
			t.Errorf("%q: names a forbidden address", raw)
		} else if (err == nil) != target.Literal {
			t.Errorf("%q: literal is %v", raw, target.Literal)
		}
		head := "POST " + target.RequestURI + " HTTP/1.1\r\nHost: " + target.Host + "\r\n\r\n"
		req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head)))
		if err != nil {
			t.Fatalf("%q: net/http can't read %q: %v", raw, head, err)
		}
		if req.Host != target.Host || req.RequestURI != target.RequestURI || len(req.Header) != 0 {
			t.Errorf("%q: the request says %q %q", raw, req.Host, req.RequestURI)
		}
	})
}

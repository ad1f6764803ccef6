package egress

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// MaxURLLength is the longest URL of a webhook, in bytes.
const MaxURLLength = 2048

// Target is a URL taken apart into what a request needs.
type Target struct {
	// TLS is true for https.
	TLS bool
	// Host is the value of the Host header, as the URL has it.
	Host string
	// Name is the host in lower case, without port, brackets and trailing dot: what
	// a certificate must be for.
	Name string
	// Literal is true if the URL gives an IP address instead of a name.
	Literal bool
	// Dial is "host:port".
	Dial string
	// RequestURI is path and query as they stand in the request line.
	RequestURI string
}

// CheckURL says whether a webhook may have this URL, and if not, what would be
// allowed. That it passes does not mean that its addresses will: names are
// judged when they are dialled.
func (g *Guard) CheckURL(raw string) error {
	_, err := g.Parse(raw)
	return err
}

// Parse is CheckURL with the result: the sender uses it for every request, so
// that what was accepted at creation is judged again by today's rules.
func (g *Guard) Parse(raw string) (Target, error) {
	if raw == "" {
		return Target{}, fmt.Errorf("the URL is empty: give %s", g.wanted())
	}
	if len(raw) > MaxURLLength {
		return Target{}, fmt.Errorf("the URL has %d bytes: at most %d are allowed", len(raw), MaxURLLength)
	}
	for i := range len(raw) {
		switch c := raw[i]; {
		case c <= ' ' || c == 0x7f:
			return Target{}, fmt.Errorf("the URL has a space or control character at byte %d: percent-encode it", i)
		case c > 0x7f:
			return Target{}, fmt.Errorf("the URL has a non-ASCII character at byte %d: percent-encode it in the path, use the xn-- form in the host name", i)
		case c == '\\':
			return Target{}, fmt.Errorf("the URL has a backslash at byte %d: use / or %%5C", i)
		}
	}
	u, err := url.Parse(raw)
	if err != nil {
		// Without net/url's reason: it quotes the URL, where a password may have slipped.
		return Target{}, fmt.Errorf("the URL can't be read, check its host, port and percent-encoding: give %s", g.wanted())
	}
	t := Target{TLS: u.Scheme == "https"}
	switch {
	case u.Scheme == "http" && !g.policy.AllowHTTP:
		return Target{}, errors.New("the URL's scheme is http: only https is allowed")
	case u.Scheme != "https" && u.Scheme != "http":
		return Target{}, fmt.Errorf("the URL's scheme is not allowed: give %s", g.wanted())
	case u.Opaque != "" || u.Host == "":
		return Target{}, fmt.Errorf("the URL has no host: give %s", g.wanted())
	case u.User != nil:
		return Target{}, errors.New("the URL has credentials before the host: leave them out, requests are authenticated by their signature")
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return Target{}, errors.New("the URL has a fragment (#...), which is never sent: leave it out")
	}
	port, err := g.parsePort(u, t.TLS)
	if err != nil {
		return Target{}, err
	}
	t.Name, t.Literal, err = g.parseHost(u)
	if err != nil {
		return Target{}, err
	}
	t.Host = u.Host
	t.Dial = net.JoinHostPort(t.Name, strconv.Itoa(int(port)))
	t.RequestURI = u.RequestURI()
	return t, nil
}

func (g *Guard) wanted() string {
	if g.policy.AllowHTTP {
		return "an absolute URL such as https://example.com/hook (http is allowed too)"
	}
	return "an absolute URL such as https://example.com/hook"
}

func (g *Guard) parsePort(u *url.URL, https bool) (uint16, error) {
	text := u.Port()
	if text == "" {
		if strings.HasSuffix(u.Host, ":") {
			return 0, errors.New("the URL has a colon but no port: leave the colon out")
		}
		text = "80"
		if https {
			text = "443"
		}
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return 0, errors.New("the URL's port is not a number from 1 to 65535")
	}
	return uint16(port), g.CheckPort(uint16(port))
}

// parseHost accepts an IP address in its canonical form or a host name, and
// returns it in lower case without a trailing dot.
func (g *Guard) parseHost(u *url.URL) (name string, literal bool, err error) {
	host := strings.ToLower(u.Hostname())
	if strings.HasPrefix(u.Host, "[") {
		addr, err := netip.ParseAddr(host)
		if err != nil || !addr.Is6() {
			return "", false, errors.New("the URL's host in brackets is not an IPv6 address")
		}
		return host, true, g.literal(addr)
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		if !addr.Is4() {
			return "", false, errors.New("the URL's host is an IPv6 address without brackets")
		}
		return host, true, g.literal(addr)
	}
	host = strings.TrimSuffix(host, ".")
	if err := checkName(host); err != nil {
		return "", false, err
	}
	if (host == "localhost" || strings.HasSuffix(host, ".localhost")) && g.judge(netip.AddrFrom4([4]byte{127, 0, 0, 1})) != nil {
		return "", false, errors.New("the URL's host is this machine (localhost): only public addresses can be called")
	}
	return host, false, nil
}

func (g *Guard) literal(addr netip.Addr) error {
	err := g.CheckAddr(addr)
	if e, ok := errors.AsType[*BlockedError](err); ok {
		return fmt.Errorf("the URL's host is %s: %s", e.Reason, e.Remedy)
	}
	return err
}

func checkName(host string) error {
	if host == "" || len(host) > 253 {
		return errors.New("the URL's host name must have 1 to 253 characters")
	}
	var last string
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 {
			return errors.New("the URL's host name has an empty part or one of more than 63 characters")
		}
		for i := range len(label) {
			c := label[i]
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return fmt.Errorf("the URL's host name has the character %q: letters, digits, hyphens and dots are allowed", c)
			}
		}
		last = label
	}
	// WHATWG's rule for what a host ending in a number is: an IPv4 address in one of
	// inet_aton's forms. No top-level domain is a number, so nothing real is lost.
	if isNumber(last) {
		return errors.New("the URL's host ends in a number but is not an IPv4 address in its usual form: write it as four decimal numbers, or give a host name")
	}
	return nil
}

func isNumber(label string) bool {
	if digits, hex := strings.CutPrefix(label, "0x"); hex {
		return strings.Trim(digits, "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}

package egress

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// class says what can open a range.
type class uint8

const (
	private class = iota // AllowPrivateNetworks or Allow
	special              // Allow only
	never                // nothing
)

type rule struct {
	prefix netip.Prefix
	class  class
	reason string
}

// rules is the built-in table (IANA's special-purpose registries and the clouds'
// metadata services), judged from the top: the first match decides.
func rules() []rule {
	r := func(prefix string, c class, reason string) rule {
		return rule{netip.MustParsePrefix(prefix), c, reason}
	}
	return []rule{
		r("0.0.0.0/32", never, "the unspecified address"),
		r("255.255.255.255/32", never, "the broadcast address"),
		r("224.0.0.0/4", never, "multicast"),
		r("::/128", never, "the unspecified address"),
		r("ff00::/8", never, "multicast"),

		r("100.100.100.200/32", special, "a cloud metadata service"),
		r("168.63.129.16/32", special, "a cloud metadata service"),
		r("169.254.169.254/32", special, "a cloud metadata service"),
		r("fd00:ec2::254/128", special, "a cloud metadata service"),
		r("fd20:ce::254/128", special, "a cloud metadata service"),

		r("127.0.0.0/8", private, "loopback"),
		r("10.0.0.0/8", private, "a private network"),
		r("172.16.0.0/12", private, "a private network"),
		r("192.168.0.0/16", private, "a private network"),
		r("100.64.0.0/10", private, "a shared network (carrier-grade NAT)"),
		r("::1/128", private, "loopback"),
		r("fc00::/7", private, "a private network (unique local)"),

		r("0.0.0.0/8", special, "a reserved range"),
		r("169.254.0.0/16", special, "link-local"),
		r("192.0.0.0/24", special, "a reserved range"),
		r("192.0.2.0/24", special, "a documentation range"),
		r("192.88.99.0/24", special, "a reserved range (6to4 relays)"),
		r("198.18.0.0/15", special, "a benchmarking range"),
		r("198.51.100.0/24", special, "a documentation range"),
		r("203.0.113.0/24", special, "a documentation range"),
		r("240.0.0.0/4", special, "a reserved range"),

		r("fe80::/10", special, "link-local"),
		r("fec0::/10", special, "site-local"),
		r("2001:db8::/32", special, "a documentation range"),
		r("3fff::/20", special, "a documentation range"),
		// Teredo, benchmarking, ORCHID and what else IANA keeps for protocols.
		r("2001::/23", special, "a reserved range (protocol assignments)"),
	}
}

var (
	table         = rules() //nolint:gochecknoglobals // a table that is made once and never written
	globalUnicast = netip.MustParsePrefix("2000::/3")
	nat64         = netip.MustParsePrefix("64:ff9b::/96")
	sixToFour     = netip.MustParsePrefix("2002::/16")
	teredo        = netip.MustParsePrefix("2001::/32")
	compatible    = netip.MustParsePrefix("::/96")
	translated    = netip.MustParsePrefix("::ffff:0:0:0/96")
)

// CheckAddr returns a *BlockedError unless the service may connect to addr.
func (g *Guard) CheckAddr(addr netip.Addr) error {
	switch {
	case !addr.IsValid():
		return &BlockedError{addr, "not an IP address", "give an IP address"}
	case addr.Zone() != "":
		return &BlockedError{addr, "an address with a zone", "zones name interfaces of this machine; give a global address"}
	case addr.Is4In6():
		// The kernel sends this as IPv4, so that is what is judged.
		return g.judge(addr.Unmap())
	}
	if err := g.judge(addr); err != nil {
		return err
	}
	if addr.Is4() || addr == netip.IPv6Loopback() { // ::1 looks like a wrapped 0.0.0.1
		return nil
	}
	for _, v4 := range embedded(addr) {
		if err := g.judge(v4); err != nil {
			return err
		}
	}
	return nil
}

// embedded is every IPv4 address that an IPv6 address may be a wrapping of.
func embedded(addr netip.Addr) []netip.Addr {
	b := addr.As16()
	last := netip.AddrFrom4([4]byte(b[12:16]))
	switch {
	case nat64.Contains(addr), compatible.Contains(addr), translated.Contains(addr):
		return []netip.Addr{last}
	case sixToFour.Contains(addr):
		return []netip.Addr{netip.AddrFrom4([4]byte(b[2:6]))}
	case teredo.Contains(addr): // the server, and the client with its bits inverted
		return []netip.Addr{
			netip.AddrFrom4([4]byte(b[4:8])),
			netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]}),
		}
	case b[8]&^0x02 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe: // ISATAP, under any prefix
		return []netip.Addr{last}
	}
	return nil
}

// judge applies the rules to one address as it stands.
func (g *Guard) judge(addr netip.Addr) error {
	contains := func(p netip.Prefix) bool { return p.Contains(addr) }
	if slices.ContainsFunc(g.policy.Deny, contains) {
		return &BlockedError{addr, "a range that the operator denies", "see --egress-deny"}
	}
	allowed := slices.ContainsFunc(g.policy.Allow, contains)
	for _, r := range table {
		if !r.prefix.Contains(addr) {
			continue
		}
		switch {
		case r.class == never:
			return &BlockedError{addr, r.reason, "only public addresses can be called"}
		case allowed:
			return nil
		case r.class == special:
			return &BlockedError{addr, r.reason, "only public addresses can be called; the operator can open a range with --egress-allow"}
		case !g.policy.AllowPrivateNetworks:
			return &BlockedError{addr, r.reason, "only public addresses can be called; the operator can open ranges with --egress-allow or --allow-private-networks"}
		default:
			return nil
		}
	}
	if allowed || addr.Is4() || globalUnicast.Contains(addr) || nat64.Contains(addr) {
		return nil
	}
	return &BlockedError{addr, "not a global unicast address", "only public addresses can be called; the operator can open a range with --egress-allow"}
}

// PortError says that the operator's list of ports does not have a port.
type PortError struct {
	Port    uint16
	Allowed []uint16
}

func (e *PortError) Error() string {
	list := make([]string, len(e.Allowed))
	for i, p := range e.Allowed {
		list[i] = strconv.Itoa(int(p))
	}
	return fmt.Sprintf("port %d is not allowed: use one of %s", e.Port, strings.Join(list, ", "))
}

// CheckPort returns a *PortError unless the port may be called.
func (g *Guard) CheckPort(port uint16) error {
	if len(g.policy.Ports) == 0 || slices.Contains(g.policy.Ports, port) {
		return nil
	}
	return &PortError{port, g.policy.Ports}
}

// Control is a net.Dialer's Control: it sees the address that a socket is
// about to connect to, whatever the resolver said and whoever asked.
func (g *Guard) Control(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("egress guard: dialled %q, which is not an address and a port: %w", address, err)
	}
	if err := g.CheckAddr(ap.Addr()); err != nil {
		return err
	}
	return g.CheckPort(ap.Port())
}

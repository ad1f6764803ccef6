package egress_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"hookledger/consumers/sender/egress"
)

func guard(t testing.TB, policy egress.Policy) *egress.Guard {
	t.Helper()
	g, err := egress.New(policy)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func prefixes(t testing.TB, list string) []netip.Prefix {
	t.Helper()
	p, err := egress.ParsePrefixes(list)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// addresses: whether the strict policy, AllowPrivateNetworks and Allow 0.0.0.0/0,::/0 let each through.
var addresses = []struct {
	addr                string
	strict, priv, allow bool
}{
	{"8.8.8.8", true, true, true},
	{"1.1.1.1", true, true, true},
	{"172.15.255.255", true, true, true},
	{"172.32.0.1", true, true, true},
	{"100.63.255.255", true, true, true},
	{"100.128.0.1", true, true, true},
	{"2606:4700::1111", true, true, true},
	{"2a00:1450:4001::200e", true, true, true},

	{"127.0.0.1", false, true, true},
	{"127.255.255.254", false, true, true},
	{"10.0.0.1", false, true, true},
	{"172.16.0.1", false, true, true},
	{"172.31.255.255", false, true, true},
	{"192.168.1.1", false, true, true},
	{"100.64.0.1", false, true, true},
	{"::1", false, true, true},
	{"fd12:3456::1", false, true, true},
	{"fc00::1", false, true, true},

	{"169.254.169.254", false, false, true},
	{"169.254.0.1", false, false, true},
	{"100.100.100.200", false, false, true},
	{"168.63.129.16", false, false, true},
	{"fd00:ec2::254", false, false, true},
	{"fd20:ce::254", false, false, true},
	{"0.1.2.3", false, false, true},
	{"192.0.0.192", false, false, true},
	{"192.0.2.1", false, false, true},
	{"192.88.99.1", false, false, true},
	{"198.18.0.1", false, false, true},
	{"198.19.255.255", false, false, true},
	{"198.51.100.7", false, false, true},
	{"203.0.113.7", false, false, true},
	{"240.0.0.1", false, false, true},
	{"fe80::1", false, false, true},
	{"fec0::1", false, false, true},
	{"2001:db8::1", false, false, true},
	{"3fff::1", false, false, true},
	{"2001:2::1", false, false, true},
	{"2001::1", false, false, false}, // Teredo around 0.0.0.0
	{"100::1", false, false, true},
	{"5f00::1", false, false, true},
	{"4000::1", false, false, true},
	{"64:ff9b:1::808:808", false, false, true},

	{"0.0.0.0", false, false, false},
	{"255.255.255.255", false, false, false},
	{"224.0.0.1", false, false, false},
	{"239.255.255.255", false, false, false},
	{"::", false, false, false},
	{"ff02::1", false, false, false},
	{"fe80::1%eth0", false, false, false},
	{"2606:4700::1111%eth0", false, false, false},

	{"::ffff:8.8.8.8", true, true, true},
	{"::ffff:127.0.0.1", false, true, true},
	{"::ffff:169.254.169.254", false, false, true},
	{"::ffff:0.0.0.0", false, false, false},
	{"64:ff9b::8.8.8.8", true, true, true},
	{"64:ff9b::10.0.0.1", false, true, true},
	{"64:ff9b::169.254.169.254", false, false, true},
	{"2002:808:808::1", true, true, true},
	{"2002:7f00:1::1", false, true, true},
	{"2002:a9fe:a9fe::1", false, false, true},
	{"2001:0:808:808::f7f7:f7f7", false, false, true},  // Teredo around 8.8.8.8, twice
	{"2001:0:808:808::80ff:fffe", false, false, true},  // client 127.0.0.1
	{"2001:0:808:808::ffff:ffff", false, false, false}, // client 0.0.0.0
	{"::127.0.0.1", false, false, true},
	{"::ffff:0:10.0.0.1", false, false, true},
	{"2606:4700::5efe:8.8.8.8", true, true, true}, // ISATAP
	{"2606:4700::5efe:10.0.0.1", false, true, true},
	{"2606:4700::200:5efe:169.254.169.254", false, false, true},
}

func TestAddresses(t *testing.T) {
	strict := guard(t, egress.Policy{})
	priv := guard(t, egress.Policy{AllowPrivateNetworks: true})
	allow := guard(t, egress.Policy{Allow: prefixes(t, "0.0.0.0/0,::/0")})
	for _, c := range addresses {
		addr := netip.MustParseAddr(c.addr)
		for _, v := range []struct {
			name string
			g    *egress.Guard
			want bool
		}{{"strict", strict, c.strict}, {"private", priv, c.priv}, {"allow", allow, c.allow}} {
			err := v.g.CheckAddr(addr)
			if (err == nil) != v.want {
				t.Errorf("%s policy, %s: got %v, want allowed=%v", v.name, c.addr, err, v.want)
			}
			if _, ok := errors.AsType[*egress.BlockedError](err); err != nil && !ok {
				t.Errorf("%s: %T is not a BlockedError", c.addr, err)
			}
		}
	}
	if strict.CheckAddr(netip.Addr{}) == nil {
		t.Error("the zero address is allowed")
	}
}

func TestDenyWinsOverAllowWinsOverTable(t *testing.T) {
	g := guard(t, egress.Policy{Allow: prefixes(t, "10.1.0.0/16, fd00:1::/32"), Deny: prefixes(t, "10.1.2.0/24,8.8.8.8")})
	for addr, want := range map[string]bool{
		"10.1.1.1": true, "10.1.2.1": false, "10.2.0.1": false, "8.8.8.8": false, "8.8.4.4": true,
		"fd00:1::1": true, "fd00:2::1": false, "64:ff9b::8.8.8.8": false, "::ffff:8.8.8.8": false,
		"64:ff9b::10.1.1.1": true, "2002:808:808::1": false,
	} {
		if err := g.CheckAddr(netip.MustParseAddr(addr)); (err == nil) != want {
			t.Errorf("%s: got %v, want allowed=%v", addr, err, want)
		}
	}
}

func TestFaultyPolicyNamesEveryFault(t *testing.T) {
	_, err := egress.New(egress.Policy{
		Allow: []netip.Prefix{{}},
		Deny:  []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/104")},
		Ports: []uint16{0},
	})
	for _, want := range []string{"egress allow", "egress deny", "egress ports"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not name %q", err, want)
		}
	}
	for _, list := range []string{"10.0.0.0/33", "example.com", "fe80::1%eth0"} {
		if _, err := egress.ParsePrefixes(list); err == nil {
			t.Errorf("ParsePrefixes(%q) passed", list)
		}
	}
}

// wrap is every IPv6 form around an IPv4 address that the guard knows of.
func wrap(v4 netip.Addr) map[string]netip.Addr {
	b := v4.As4()
	at := func(prefix string, off int, invert bool) netip.Addr {
		out := netip.MustParseAddr(prefix).As16()
		for i, x := range b {
			if invert {
				x = ^x
			}
			out[off+i] = x
		}
		return netip.AddrFrom16(out)
	}
	return map[string]netip.Addr{
		"mapped":        netip.AddrFrom16(v4.As16()),
		"compatible":    at("::", 12, false),
		"translated":    at("::ffff:0:0:0", 12, false),
		"nat64":         at("64:ff9b::", 12, false),
		"6to4":          at("2002::1", 2, false),
		"teredo server": at("2001::f7f7:f7f7", 4, false),
		"teredo client": at("2001:0:808:808::", 12, true),
		"isatap":        at("2606:4700::5efe:0:0", 12, false),
	}
}

func anyPrefix(t *rapid.T, label string) netip.Prefix {
	if rapid.Bool().Draw(t, label+" v6") {
		addr := anyV6(t, label)
		if !addr.Is4In6() {
			return netip.PrefixFrom(addr, rapid.IntRange(0, 128).Draw(t, label+" bits"))
		}
	}
	return netip.PrefixFrom(anyV4(t, label), rapid.IntRange(0, 32).Draw(t, label+" bits"))
}

func anyV4(t *rapid.T, label string) netip.Addr {
	if rapid.Bool().Draw(t, label+" known") {
		addr := netip.MustParseAddr(addresses[rapid.IntRange(0, len(addresses)-1).Draw(t, label)].addr).WithZone("").Unmap()
		if addr.Is4() {
			return addr
		}
	}
	return netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, label)))
}

func anyV6(t *rapid.T, label string) netip.Addr {
	return netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, label)))
}

// Whatever the policy: what is forbidden as IPv4 is forbidden in every wrapping.
func TestWrappingNeverHelps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policy := egress.Policy{AllowPrivateNetworks: rapid.Bool().Draw(t, "private")}
		for range rapid.IntRange(0, 3).Draw(t, "allows") {
			policy.Allow = append(policy.Allow, anyPrefix(t, "allow"))
		}
		for range rapid.IntRange(0, 2).Draw(t, "denies") {
			policy.Deny = append(policy.Deny, anyPrefix(t, "deny"))
		}
		g, err := egress.New(policy)
		if err != nil {
			t.Fatal(err)
		}
		v4 := anyV4(t, "address")
		if g.CheckAddr(v4) == nil {
			return
		}
		for form, addr := range wrap(v4) {
			if addr != netip.IPv6Loopback() && g.CheckAddr(addr) == nil {
				t.Errorf("%s is blocked, but its %s form %s is allowed", v4, form, addr)
			}
		}
	})
}

// The guard sits below resolution: a name that resolves to loopback is refused by the socket.
func TestControlSeesTheDialledAddress(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	dial := func(g *egress.Guard, host string) error {
		d := net.Dialer{Control: g.Control}
		c, err := d.DialContext(context.Background(), "tcp", net.JoinHostPort(host, port))
		if err == nil {
			err = c.Close()
		}
		return err
	}
	strict := guard(t, egress.Policy{})
	for _, host := range []string{"localhost", "127.0.0.1", "0.0.0.0", "::ffff:127.0.0.1"} {
		if _, ok := errors.AsType[*egress.BlockedError](dial(strict, host)); !ok {
			t.Errorf("%s was dialled", host)
		}
	}
	if err := dial(guard(t, egress.Policy{AllowPrivateNetworks: true}), "127.0.0.1"); err != nil {
		t.Errorf("an allowed address: %v", err)
	}
	err = dial(guard(t, egress.Policy{AllowPrivateNetworks: true, Ports: []uint16{443}}), "127.0.0.1")
	if _, ok := errors.AsType[*egress.PortError](err); !ok {
		t.Errorf("port outside the list: %v", err)
	}
}

func BenchmarkCheckAddr(b *testing.B) {
	g := guard(b, egress.Policy{})
	addr := netip.MustParseAddr("2606:4700::1111")
	b.ReportAllocs()
	for b.Loop() {
		if g.CheckAddr(addr) != nil {
			b.Fatal("blocked")
		}
	}
}

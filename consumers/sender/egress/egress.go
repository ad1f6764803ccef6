// Package egress decides where the service may connect to on behalf of a
// tenant. A webhook's URL is chosen by a stranger, so without it the service
// is a way into the network that it runs in (server-side request forgery).
//
// It promises two checks by one set of rules:
//
//   - Guard.Control judges the address that a socket is about to connect to,
//     after resolution, for every address tried. What DNS said a moment earlier
//     does not matter, so rebinding can't pass.
//   - Guard.Parse (and CheckURL, for a webhook being created) judges the text of
//     a URL, so that the tenant hears at once what could never work.
//
// An address is judged together with every IPv4 address that it embeds
// (IPv4-mapped, IPv4-compatible, translated, NAT64, 6to4, Teredo, ISATAP): such
// a form is never let through where its IPv4 address is not.
//
// It never resolves a name, never connects, and never trusts a name for what
// it claims to be.
//
// Decisions:
//
//   - Deny wins over Allow, Allow wins over the built-in table; multicast,
//     broadcast and the unspecified address can't be allowed. Allow adds
//     exceptions to the table, it is not a list of the only receivers: whoever
//     wants that has a firewall or an egress proxy, which also sees DNS.
//   - AllowPrivateNetworks opens loopback, RFC 1918, unique local and shared
//     (carrier-grade NAT) addresses, not link-local ones and not the cloud
//     providers' metadata services, which hand out credentials: those need an
//     explicit Allow.
//   - IPv6 is allowed only where it is global unicast (2000::/3) or NAT64; a list
//     of what is forbidden would let through whatever is assigned next.
//   - Hosts are ASCII and in canonical form. Numeric forms that some resolvers
//     read as IPv4 (0x7f.1, 2130706433, 0177.0.0.1, 127.1) are refused rather than
//     translated, and so are non-ASCII names: the tenant gives the xn-- form.
//   - No credentials in a URL: they would lie in the clear in the log, the
//     history and the API. The signature is what authenticates a request.
package egress

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Policy is what the operator decides. Its zero value is the safe one: https
// only, public addresses only, every port.
type Policy struct {
	// AllowHTTP accepts http:// URLs as well as https:// (--allow-http-urls).
	AllowHTTP bool
	// AllowPrivateNetworks opens loopback, private, unique local and shared
	// addresses (--allow-private-networks), not metadata services.
	AllowPrivateNetworks bool
	// Allow opens ranges that the built-in table forbids (--egress-allow).
	Allow []netip.Prefix
	// Deny forbids ranges whatever else allows them (--egress-deny).
	Deny []netip.Prefix
	// Ports, if not empty, are the only ports that may be called.
	Ports []uint16
}

// Guard applies a Policy. It is immutable and safe for concurrent use.
type Guard struct{ policy Policy }

// New checks the policy and names every fault in it.
func New(policy Policy) (*Guard, error) {
	var faults []error
	check := func(setting string, prefixes []netip.Prefix) []netip.Prefix {
		masked := make([]netip.Prefix, 0, len(prefixes))
		for _, p := range prefixes {
			switch {
			case !p.IsValid():
				faults = append(faults, fmt.Errorf("%s: an invalid range; want CIDR notation such as 10.1.0.0/16", setting))
			case p.Addr().Is4In6():
				faults = append(faults, fmt.Errorf("%s: %s is an IPv4-mapped range; write it as IPv4", setting, p))
			default:
				masked = append(masked, p.Masked())
			}
		}
		return masked
	}
	policy.Allow = check("egress allow", policy.Allow)
	policy.Deny = check("egress deny", policy.Deny)
	policy.Ports = slices.Clone(policy.Ports)
	if slices.Contains(policy.Ports, 0) {
		faults = append(faults, errors.New("egress ports: 0 is not a port"))
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return &Guard{policy: policy}, nil
}

// ParsePrefixes reads the value of a flag: CIDR ranges or single addresses,
// separated by commas.
func ParsePrefixes(list string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			continue
		}
		if addr, err := netip.ParseAddr(item); err == nil && addr.Zone() == "" {
			prefixes = append(prefixes, netip.PrefixFrom(addr, addr.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(item)
		if err != nil {
			return nil, fmt.Errorf("range %q is not CIDR notation: write it as 10.1.0.0/16 or fd00:1::/32", item)
		}
		prefixes = append(prefixes, p)
	}
	return prefixes, nil
}

// BlockedError says that the rules forbid an address.
type BlockedError struct {
	// Addr is the address, for the operator. A tenant must not see it unless the
	// URL itself names it: it would tell what an internal name resolves to.
	Addr netip.Addr
	// Reason says what kind of address it is and fits a tenant's eyes.
	Reason string
	// Remedy says what the operator can do.
	Remedy string
}

func (e *BlockedError) Error() string {
	return fmt.Sprintf("address %s is not allowed: %s (%s)", e.Addr, e.Reason, e.Remedy)
}

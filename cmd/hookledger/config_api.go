package main

import (
	"flag"
	"time"

	"hookledger/cmd/hookledger/api"
)

// apiConfig is what an operator can set of the HTTP API.
type apiConfig struct {
	limits       api.Limits
	readTimeout  time.Duration
	writeTimeout time.Duration
}

// apiFlags are the flags of the HTTP API. The limits are far above what a node of a few
// cores answers, so that by default only a runaway meets them; what keeps accounts apart on a
// loaded node is the number of requests in flight.
func (c *config) apiFlags(f *flag.FlagSet) {
	l := &c.api.limits
	f.IntVar(&l.Key, "rate-per-key", 10_000, "requests a `second` of one API key or token subject on this node, ten seconds' worth at once; 0 is no limit")
	f.IntVar(&l.Account, "rate-per-account", 20_000, "requests a `second` of one account on this node, ten seconds' worth at once; 0 is no limit")
	f.IntVar(&l.Events, "events-per-account", 50_000, "events a `second` that one account publishes on this node, ten seconds' worth at once; 0 is no limit")
	f.IntVar(&l.InFlight, "requests-per-account", 1024, "requests of one account answered at the same time on this node; 0 is no limit")
	f.IntVar(&l.Failures, "failures-per-address", 10, "bad or missing credentials a `second` from one address, a minute's worth at once; 0 is no limit")
	f.Var(prefixes{&l.Proxies}, "trusted-proxies", "`CIDR,...` of proxies whose X-Forwarded-For is believed")
	f.DurationVar(&c.api.readTimeout, "read-timeout", 30*time.Second, "what a client may take to send a request; for its headers, a sixth of it")
	f.DurationVar(&c.api.writeTimeout, "write-timeout", 90*time.Second, "what a request may take in all, until the client has read the answer")
}

// checkAPI names every setting of the API that can't be.
func (c *config) checkAPI(bad func(name, format string, args ...any)) {
	l := c.api.limits
	for _, limit := range []struct {
		name  string
		value int
	}{
		{"rate-per-key", l.Key},
		{"rate-per-account", l.Account},
		{"events-per-account", l.Events},
		{"requests-per-account", l.InFlight},
		{"failures-per-address", l.Failures},
	} {
		if limit.value < 0 || limit.value > 1_000_000_000 {
			bad(limit.name, "%d is not 0 (no limit) to 1000000000", limit.value)
		}
	}
	if c.api.readTimeout < 10*time.Millisecond {
		bad("read-timeout", "%s is too short, the least is 10ms", c.api.readTimeout)
	}
	if c.api.writeTimeout < c.api.readTimeout {
		bad("write-timeout", "%s is shorter than --read-timeout, %s", c.api.writeTimeout, c.api.readTimeout)
	}
}

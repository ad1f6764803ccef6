package api

import (
	"context"
	"crypto/sha256"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"hookledger/cmd/hookledger/api/ratelimit"
	"hookledger/schemas/api/apierr"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// Limits bound what one caller may ask of this node, so that none takes it from the
// others. They are per node: a load balancer over n nodes gives n times as much. A
// field that is 0 limits nothing.
//
// A request counts against its credential and against its account; publishing counts
// each event against the account besides, so that a batch is worth what is in it. A key
// that is refused costs its account nothing, and an account never costs another.
type Limits struct {
	// Key and Account are requests a second of one API key, or subject of JWTs, and of one account. Ten seconds' worth may come at once.
	Key, Account int
	// Events are events a second that one account publishes; ten seconds' worth, and one full request at least, may come at once.
	Events int
	// InFlight is how many requests of one account are answered at the same time.
	InFlight int
	// Failures are bad or missing credentials a second from one address; a minute's worth may come at once. Beyond,
	// a credential is not even looked at, unless it was good from this address before: so guessing is slow, and one
	// client's mistakes don't lock out others behind the same address that work already.
	Failures int
	// Proxies are whose X-Forwarded-For is believed.
	Proxies []netip.Prefix
}

// What a limit's quota holds for, and how many names are known. No node answers as
// many requests in ten seconds, so forgetting is no way around (see package ratelimit).
const (
	requestWindow = 10 * time.Second
	failureWindow = time.Minute
	largestBatch  = 1000
	knownCallers  = 1 << 18
	knownSources  = 1 << 17
)

// The limits as details, log and metrics name them.
const (
	limitKey      = "key"
	limitAccount  = "account"
	limitEvents   = "events"
	limitInFlight = "in_flight"
	limitAddress  = "address"
)

// limits are Limits at work. Buckets without a limit are nil.
type limits struct {
	Limits
	keys, accounts, events, failures *ratelimit.Buckets
	proven                           *lru.Cache[[16]byte, struct{}] // credentials that were good, with their address
	metrics                          *Metrics

	mu       sync.Mutex
	inFlight map[string]int // by account; gone at 0
}

func newLimits(o Limits, now func() time.Time, m *Metrics) (*limits, error) {
	l := &limits{Limits: o, metrics: m, inFlight: make(map[string]int)}
	for _, b := range []struct {
		buckets **ratelimit.Buckets
		quota   int
		window  time.Duration
		size    int
	}{
		{&l.keys, o.Key * int(requestWindow/time.Second), requestWindow, knownCallers},
		{&l.accounts, o.Account * int(requestWindow/time.Second), requestWindow, knownCallers},
		{&l.failures, o.Failures * int(failureWindow/time.Second), failureWindow, knownSources},
	} {
		if b.quota == 0 {
			continue
		}
		var err error
		if *b.buckets, err = ratelimit.New(ratelimit.Limit{Quota: b.quota, Window: b.window}, b.size, now); err != nil {
			return nil, err
		}
	}
	if o.Events > 0 {
		quota := max(o.Events*int(requestWindow/time.Second), largestBatch)
		window := time.Duration(float64(time.Second) * float64(quota) / float64(o.Events))
		var err error
		if l.events, err = ratelimit.New(ratelimit.Limit{Quota: quota, Window: window}, knownCallers, now); err != nil {
			return nil, err
		}
	}
	var err error
	l.proven, err = lru.New[[16]byte, struct{}](knownSources)
	return l, err
}

// admission is what a request was let in with. It lies in the context from the start.
type admission struct {
	told    ratelimit.State // what the headers say
	release func()
}

type admissionKey struct{}

func withAdmission(ctx context.Context) (context.Context, *admission) {
	a := &admission{release: func() {}}
	return context.WithValue(ctx, admissionKey{}, a), a
}

// tell puts the nearest limit into the answer's headers.
func (l *limits) tell(ctx context.Context, h http.Header, s ratelimit.State) {
	if a, ok := ctx.Value(admissionKey{}).(*admission); ok {
		if a.told.Quota > 0 && !s.Nearer(a.told) {
			return
		}
		a.told = s
	}
	h.Set("RateLimit-Limit", strconv.Itoa(s.Quota))
	h.Set("RateLimit-Remaining", strconv.Itoa(s.Remaining))
	h.Set("RateLimit-Reset", strconv.Itoa(int(math.Ceil(s.Reset.Seconds()))))
}

// admit counts a request against its credential and its account.
func (l *limits) admit(ctx context.Context, h http.Header, p principal) error {
	key := p.account + "\x00" + p.actor.GetId()
	if p.actor.GetKind() == facts.ActorKind_ACTOR_KIND_API_KEY {
		key = p.actor.GetId()
	}
	if l.keys != nil {
		s := l.keys.Take(key, 1)
		l.tell(ctx, h, s)
		if !s.OK {
			return l.refuse(limitKey, s)
		}
	}
	if l.accounts != nil {
		s := l.accounts.Take(p.account, 1)
		l.tell(ctx, h, s)
		if !s.OK {
			if l.keys != nil {
				l.keys.Return(key, 1)
			}
			return l.refuse(limitAccount, s)
		}
	}
	return l.enter(ctx, p.account)
}

// enter counts a request of an account that is being answered, until its admission is released.
func (l *limits) enter(ctx context.Context, account string) error {
	a, ok := ctx.Value(admissionKey{}).(*admission)
	if l.InFlight == 0 || !ok {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.inFlight[account] >= l.InFlight {
		l.metrics.limited.WithLabelValues(limitInFlight).Inc()
		return apierr.Throttled(limitInFlight, l.InFlight, 0, time.Second)
	}
	l.inFlight[account]++
	a.release = func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.inFlight[account]--; l.inFlight[account] == 0 {
			delete(l.inFlight, account)
		}
	}
	return nil
}

// publish counts the events of a request: all or none.
func (l *limits) publish(ctx context.Context, h http.Header, account string, n int) error {
	if l.events == nil {
		return nil
	}
	s := l.events.Take(account, n)
	l.tell(ctx, h, s)
	if !s.OK {
		return l.refuse(limitEvents, s)
	}
	return nil
}

func (l *limits) refuse(name string, s ratelimit.State) error {
	l.metrics.limited.WithLabelValues(name).Inc()
	return apierr.Throttled(name, s.Quota, s.Window, s.RetryAfter)
}

// mayTry says whether a credential from an address is looked at.
func (l *limits) mayTry(source netip.Addr, credential string) error {
	if l.failures == nil {
		return nil
	}
	wait := l.failures.Wait(source.String())
	if wait == 0 || l.proven.Contains(pairOf(source, credential)) {
		return nil
	}
	return l.locked(wait)
}

// failed counts a failure and returns the answer for it.
func (l *limits) failed(source netip.Addr, err error) error {
	if l.failures == nil {
		return err
	}
	if s := l.failures.Take(source.String(), 1); !s.OK {
		return l.locked(s.RetryAfter)
	}
	return err
}

func (l *limits) locked(wait time.Duration) error {
	l.metrics.limited.WithLabelValues(limitAddress).Inc()
	return apierr.Throttled(limitAddress, l.Failures*int(failureWindow/time.Second), failureWindow, wait)
}

// proved remembers a good credential.
func (l *limits) proved(source netip.Addr, credential string) {
	if l.failures == nil {
		return
	}
	if pair := pairOf(source, credential); !l.proven.Contains(pair) {
		l.proven.Add(pair, struct{}{})
	}
}

func pairOf(source netip.Addr, credential string) [16]byte {
	sum := sha256.Sum256([]byte(source.String() + " " + credential))
	return [16]byte(sum[:16])
}

// source is the address that a request came from: of IPv6 the network of 64 bits, within which anyone can have any
// address. X-Forwarded-For is read from its end, as far as it was written by trusted proxies.
func (l *limits) source(r *http.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil { // no TCP: a test's recorder
		return netip.Addr{}
	}
	at := peer.Addr().Unmap()
	forwarded := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, before := range slices.Backward(forwarded) {
		if !slices.ContainsFunc(l.Proxies, func(p netip.Prefix) bool { return p.Contains(at) }) {
			break
		}
		next, err := netip.ParseAddr(strings.TrimSpace(before))
		if err != nil {
			break
		}
		at = next.Unmap()
	}
	if at.Is6() {
		if network, err := at.WithZone("").Prefix(64); err == nil {
			at = network.Addr()
		}
	}
	return at
}

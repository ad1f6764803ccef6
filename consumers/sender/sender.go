package sender

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"hookledger/consumers/sender/egress"
)

// Defaults of Options, and limits that are not options.
const (
	DefaultTimeout         = 15 * time.Second
	DefaultMaxBody         = 64 << 10
	DefaultMaxIdle         = 4096
	DefaultMaxIdlePerHost  = 128
	DefaultIdleTimeout     = 30 * time.Second
	MaxHeaderBytes         = 32 << 10 // of an answer, with interim ones
	MaxRetryAfter          = 6 * time.Hour
	maxTargets             = 16384    // URLs whose parts are remembered
	maxInterim             = 5        // 1xx answers before the real one
	maxRecordedHeaders     = 64       // lines of an answer's header in a Result
	maxRecordedHeaderBytes = 8 << 10  // their names and values together
	maxErrorBytes          = 300      // of a Result's error
	inlineBody             = 64 << 10 // a larger one is written beside reading
)

// Options configure a Sender. Zero values mean the defaults.
type Options struct {
	// Guard judges URLs and addresses. Required.
	Guard *egress.Guard
	// Version goes into the User-Agent.
	Version string
	// Timeout bounds a Send from name resolution to the answer's last byte.
	Timeout time.Duration
	// MaxBody is how much of an answer's body is read; a longer one is cut there
	// and costs its connection.
	MaxBody int
	// MaxIdle and MaxIdlePerHost bound the connections kept for later; what is in
	// flight has one connection each beside them. Negative keeps none. A kept
	// connection holds 1 KB, with TLS 7 KB, beside the kernel's part.
	MaxIdle, MaxIdlePerHost int
	// IdleTimeout closes a kept connection that nobody used, sooner if the
	// receiver's Keep-Alive header says so.
	IdleTimeout time.Duration
	// RootCAs verify receivers; nil means the system's. See RootCAs.
	RootCAs *x509.CertPool
	// Resolver looks names up; nil means Go's own, which reads /etc/resolv.conf
	// and /etc/hosts and needs no thread for each look-up.
	Resolver *net.Resolver
	// Now is the wall clock, for Result.Started and signatures. Durations and
	// deadlines are measured on the monotonic clock in any case.
	Now func() time.Time
}

// Sender sends signed requests. It is safe for concurrent use; Close ends it.
type Sender struct {
	guard   *egress.Guard
	targets *lru.Cache[string, egress.Target]
	agent   string
	timeout time.Duration
	maxBody int
	now     func() time.Time
	dialer  net.Dialer
	tls     *tls.Config
	pool    *pool
	outputs sync.Pool // *[]byte
	inputs  sync.Pool // *input

	dials, reused, again atomic.Int64
}

// New makes a Sender.
func New(o Options) (*Sender, error) {
	if o.Guard == nil {
		return nil, errors.New("sender: Options.Guard is not set: make one with egress.New")
	}
	setDefault(&o.Version, "dev")
	setDefault(&o.Timeout, DefaultTimeout)
	setDefault(&o.MaxBody, DefaultMaxBody)
	setDefault(&o.MaxIdle, DefaultMaxIdle)
	setDefault(&o.MaxIdlePerHost, DefaultMaxIdlePerHost)
	setDefault(&o.IdleTimeout, DefaultIdleTimeout)
	if o.Timeout < 0 || o.MaxBody < 0 || o.IdleTimeout < 0 {
		return nil, fmt.Errorf("sender: timeout %s, body limit %d and idle timeout %s must be positive", o.Timeout, o.MaxBody, o.IdleTimeout)
	}
	if !printable(o.Version) {
		return nil, fmt.Errorf("sender: version %q can't be part of a header", o.Version)
	}
	if o.Resolver == nil {
		o.Resolver = &net.Resolver{PreferGo: true}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	targets, err := lru.New[string, egress.Target](maxTargets)
	if err != nil {
		return nil, fmt.Errorf("sender: %w", err)
	}
	return &Sender{
		guard:   o.Guard,
		targets: targets,
		agent:   "hookledger/" + o.Version,
		timeout: o.Timeout,
		maxBody: o.MaxBody,
		now:     o.Now,
		dialer:  net.Dialer{Control: o.Guard.Control, Resolver: o.Resolver},
		tls: &tls.Config{
			MinVersion:         tls.VersionTLS12,
			RootCAs:            o.RootCAs,
			NextProtos:         []string{"http/1.1"},
			ClientSessionCache: tls.NewLRUClientSessionCache(1024),
		},
		pool:    newPool(o.MaxIdlePerHost, o.MaxIdle, o.IdleTimeout),
		outputs: sync.Pool{New: func() any { return new([]byte) }},
		inputs:  sync.Pool{New: func() any { return newInput() }},
	}, nil
}

func setDefault[T comparable](v *T, def T) {
	if *v == *new(T) {
		*v = def
	}
}

// RootCAs are the system's certificate authorities and those of a PEM file.
func RootCAs(file string) (*x509.CertPool, error) {
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("reading the system's certificate authorities: %w", err)
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading certificate authorities: %w", err)
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate in PEM form: want -----BEGIN CERTIFICATE-----", file)
	}
	return roots, nil
}

// target is the guard's Parse, remembered: the guard never changes, and a
// webhook's URL is judged for each of its attempts. Addresses are not: they
// are judged at every dial.
func (s *Sender) target(url string) (egress.Target, error) {
	if t, ok := s.targets.Get(url); ok {
		return t, nil
	}
	t, err := s.guard.Parse(url)
	if err == nil {
		s.targets.Add(url, t)
	}
	return t, err
}

// Stats are running totals, and what is idle now.
type Stats struct {
	// Dials, reused connections, and sends begun again because the kept
	// connection turned out closed before a byte had left.
	Dials, Reused, Again int64
	Idle                 int
}

// Stats reads the counters.
func (s *Sender) Stats() Stats {
	return Stats{s.dials.Load(), s.reused.Load(), s.again.Load(), s.pool.size()}
}

// Close drops the idle connections and keeps none from now on. A Send in
// flight is ended by its context, not by Close.
func (s *Sender) Close() { s.pool.close() }

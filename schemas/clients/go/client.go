package hookledger

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// What a zero Config means.
const (
	DefaultTimeout    = 30 * time.Second
	DefaultMaxRetries = 3
	DefaultMaxWait    = time.Minute
)

// Config is what a client is made with.
type Config struct {
	// APIKey is `sk_...`.
	APIKey string
	// Token, if not nil, is asked for a JWT for each request that only takes one (API keys), and for all if there is no
	// APIKey. It may be called by several goroutines.
	Token func(ctx context.Context) (string, error)
	// Timeout is for each try, with its body; 0 is [DefaultTimeout].
	Timeout time.Duration
	// MaxRetries is how many more times a failed request is sent, where that is safe; 0 is [DefaultMaxRetries], less is none.
	MaxRetries int
	// MaxWait is the longest Retry-After that is waited for; beyond it the error is returned at once. 0 is [DefaultMaxWait].
	MaxWait time.Duration
	// HTTPClient, if not nil, is used instead of one with a pool of its own. Its CheckRedirect and Timeout are ignored.
	HTTPClient *http.Client
	// UserAgent is sent; empty is this package's.
	UserAgent string
}

// Client calls the API. It is safe for concurrent use; make one, so that connections are used again.
type Client struct {
	http   *HTTP
	client *http.Client
}

// New makes a client of the server at an address such as https://hooks.example.com, without or with /api/v2. It asks nothing yet.
func New(server string, config Config) (*Client, error) {
	u, err := url.Parse(server)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q is not the address of a server, such as https://hooks.example.com", server)
	}
	server = strings.TrimSuffix(strings.TrimRight(server, "/"), "/api/v2")
	if config.Timeout < 0 || config.MaxWait < 0 {
		return nil, errors.New("neither Timeout nor MaxWait may be negative")
	}
	if config.Timeout == 0 {
		config.Timeout = DefaultTimeout
	}
	if config.MaxWait == 0 {
		config.MaxWait = DefaultMaxWait
	}
	if config.MaxRetries == 0 {
		config.MaxRetries = DefaultMaxRetries
	}
	if config.UserAgent == "" {
		config.UserAgent = "hookledger-go"
	}
	var c http.Client
	if config.HTTPClient != nil {
		c = *config.HTTPClient
	} else {
		c.Transport = &http.Transport{
			Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 32,
			IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: 10 * time.Second,
		}
	}
	c.Timeout = 0
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	raw, err := NewClient(server, WithHTTPClient(&doer{config: config, client: &c, firstWait: firstWait}))
	if err != nil {
		return nil, err
	}
	return &Client{http: raw, client: &c}, nil
}

// Close closes the connections that are idle.
func (c *Client) Close() { c.client.CloseIdleConnections() }

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"hookledger/ledger/secrets"
	"hookledger/schemas/api"
	"hookledger/schemas/api/apitest"
	"hookledger/schemas/catalogue"
)

// transport carries the tests' requests.
var transport = &http.Transport{MaxIdleConnsPerHost: 64}

// specification is what every answer is held against.
var specification = sync.OnceValues(func() (*api.Spec, error) {
	names, err := catalogue.Load("", nil)
	if err != nil {
		return nil, err
	}
	return api.Load(names)
})

// caller is a client with a credential. Every answer that it gets is checked
// against the specification.
type caller struct {
	t      testing.TB
	server *server
	header http.Header
	client *http.Client
}

// as is a caller with an API key or a token; an empty one is nobody.
func (s *server) as(t testing.TB, credential string) *caller {
	t.Helper()
	spec, err := specification()
	if err != nil {
		t.Fatal(err)
	}
	c := &caller{t: t, server: s, header: http.Header{}, client: &http.Client{
		Transport: apitest.New(t, spec).RoundTripper(transport), Timeout: time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if credential != "" {
		c.header.Set("Authorization", "Bearer "+credential)
	}
	return c
}

// account is a caller with a token of an account that no other test has.
func (s *server) account(t testing.TB, scopes ...string) *caller {
	t.Helper()
	scope := "admin"
	if len(scopes) > 0 {
		scope = strings.Join(scopes, ",")
	}
	return s.as(t, s.token(t, t.Name(), scope))
}

// token is a JWT of an account, signed as `hookledger token` does.
func (s *server) token(t testing.TB, account, scopes string) string {
	t.Helper()
	keys, err := secrets.Load(filepath.Join(s.dir, "keys", "secrets.json"))
	if errors.Is(err, fs.ErrNotExist) { // they are elsewhere: the program knows where
		return s.ok(t, "", "token", "--account", account, "--scopes", scopes)
	}
	if err != nil {
		t.Fatal(err)
	}
	claims := secrets.Claims{Subject: "test", Account: account, Scopes: strings.Split(scopes, ",")}
	token, err := keys.SignToken(claims, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return token.Reveal()
}

// with is the same caller with headers, each "Name: value".
func (c *caller) with(headers ...string) *caller {
	other := *c
	other.header = c.header.Clone()
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ":")
		other.header.Set(name, strings.TrimSpace(value))
	}
	return &other
}

// answer is what came back.
type answer struct {
	t      testing.TB
	about  string
	status int
	header http.Header
	body   []byte
}

// try sends a request. The body is sent as it is if it is a string, else as JSON.
func (c *caller) try(method, path string, body any) (*answer, error) {
	var sent []byte
	switch b := body.(type) {
	case nil:
	case string:
		sent = []byte(b)
	default:
		var err error
		if sent, err = json.Marshal(b); err != nil {
			return nil, err
		}
	}
	if strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "/api/") {
		path = "/api/v2" + path
	}
	path = strings.TrimPrefix(path, "root:") // beside the API
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.server.base+path, bytes.NewReader(sent))
	if err != nil {
		return nil, err
	}
	req.Header = c.header.Clone()
	if body != nil && req.Header.Get("Content-Type") == "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var got bytes.Buffer
	if _, err := got.ReadFrom(resp.Body); err != nil {
		return nil, err
	}
	return &answer{c.t, method + " " + path, resp.StatusCode, resp.Header, got.Bytes()}, nil
}

func (c *caller) do(method, path string, body any) *answer {
	c.t.Helper()
	a, err := c.try(method, path, body)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

func (c *caller) get(path string) *answer { c.t.Helper(); return c.do("GET", path, nil) }

func (c *caller) post(path string, body any) *answer { c.t.Helper(); return c.do("POST", path, body) }

func (c *caller) patch(path string, body any) *answer { c.t.Helper(); return c.do("PATCH", path, body) }

func (c *caller) delete(path string) *answer { c.t.Helper(); return c.do("DELETE", path, nil) }

// is ends the test unless the answer has this status.
func (a *answer) is(status int) *answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s answered %d, want %d: %.2000s", a.about, a.status, status, a.body)
	}
	return a
}

// fails checks an error answer: its status, its code, and that it is the one shape.
func (a *answer) fails(status int, code string) *answer {
	a.t.Helper()
	a.is(status)
	if got := a.str("error.code"); got != code {
		a.t.Errorf("%s answered code %q, want %q: %s", a.about, got, code, a.body)
	}
	if got := a.str("error.request_id"); got == "" || got != a.header.Get("X-Request-ID") {
		a.t.Errorf("%s: error.request_id %q, X-Request-ID %q", a.about, got, a.header.Get("X-Request-ID"))
	}
	return a
}

// value follows a path of member names and indices, such as "events.0.id".
func (a *answer) value(path string) any {
	a.t.Helper()
	dec := json.NewDecoder(bytes.NewReader(a.body))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		a.t.Fatalf("%s answered no JSON: %v: %.500s", a.about, err, a.body)
	}
	if path == "" {
		return v
	}
	for step := range strings.SplitSeq(path, ".") {
		switch now := v.(type) {
		case map[string]any:
			v = now[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i >= len(now) {
				return nil
			}
			v = now[i]
		default:
			return nil
		}
	}
	return v
}

// str is a value as text; "" for null and what is not there.
func (a *answer) str(path string) string {
	a.t.Helper()
	v := a.value(path)
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

func (a *answer) num(path string) int {
	a.t.Helper()
	n, err := strconv.Atoi(a.str(path))
	if err != nil {
		a.t.Fatalf("%s: %s is no integer: %.1000s", a.about, path, a.body)
	}
	return n
}

func (a *answer) time(path string) time.Time {
	a.t.Helper()
	at, err := time.Parse("2006-01-02T15:04:05.000Z", a.str(path))
	if err != nil {
		a.t.Fatalf("%s: %s: %v: %.1000s", a.about, path, err, a.body)
	}
	return at
}

// list is the answer's array.
func (a *answer) list() []any {
	a.t.Helper()
	l, ok := a.value("").([]any)
	if !ok {
		a.t.Fatalf("%s answered no array: %.500s", a.about, a.body)
	}
	return l
}

// late says that the service could not answer in time. A machine under load does
// that, and who waits for something asks again.
func (a *answer) late() error {
	if a.status == http.StatusServiceUnavailable {
		return fmt.Errorf("%s answered 503: %s", a.about, a.body)
	}
	return nil
}

// eventually waits until a condition holds, or ends the test saying what the
// last look saw. It looks less often as time goes by: tests that wait would
// otherwise take the machine from what they wait for.
func eventually(t testing.TB, what string, look func() error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for pause := 10 * time.Millisecond; ; pause = min(pause*3/2, 200*time.Millisecond) {
		err := look()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waiting for %s: %v", what, err)
		}
		time.Sleep(pause)
	}
}

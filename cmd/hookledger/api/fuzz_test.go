package api

import (
	"bytes"
	"crypto/rand"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"hookledger/ledger/ids"
	"hookledger/ledger/secrets"
	"hookledger/schemas/api/apierr"
)

// FuzzCursor: what is no cursor of ours for this list is a 422 that names it; what is leads back to its place.
func FuzzCursor(f *testing.F) {
	set, err := secrets.Generate(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	now := time.Unix(1_800_000_000, 0)
	s := &server{Options: Options{Secrets: set, Now: func() time.Time { return now }}}
	list := listing{name: "deliveries", account: "a", of: "wh", filter: "failed"}
	other := list
	other.account = "b"
	place := bytes.Repeat([]byte{7}, ids.Size)
	good, foreign := s.cursor(list, place), s.cursor(other, place)
	for _, text := range []string{good, foreign, "", "a", good[:len(good)-1], good + "A", good + "=", "AAAA" + good} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := s.place(list, &text, ids.Size)
		if err == nil {
			if text != good || !bytes.Equal(got, place) {
				t.Fatalf("%q is taken for a cursor to %x", text, got)
			}
			return
		}
		e, ok := errors.AsType[*apierr.Error](err)
		if !ok || e.Status != http.StatusUnprocessableEntity || text == good {
			t.Fatalf("%q: %v", text, err)
		}
	})
}

// FuzzCredential: whatever stands in the headers is a credential or a 401, and where the request came from is an address
// that a proxy could have written.
func FuzzCredential(f *testing.F) {
	for _, s := range [][4]string{
		{"sk_x", "", "", "203.0.113.7:1"},
		{"", "Bearer sk_x", "1.2.3.4, 10.0.0.1", "10.0.0.1:1"},
		{" ", "bearer  ey.x.y ", "::1%eth0", "[::1]:1"},
		{"", "Basic dTpw", ",,", "10.0.0.1"},
		{"", "Bearer", "fe80::1%x", "[fe80::1%x]:1"},
		{"a", "b", "unknown", ""},
	} {
		f.Add(s[0], s[1], s[2], s[3])
	}
	l := &limits{Limits: Limits{Proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::/0")}}}
	f.Fuzz(func(t *testing.T, key, authorization, forwarded, peer string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = peer
		for name, v := range map[string]string{"X-API-Key": key, "Authorization": authorization, "X-Forwarded-For": forwarded} {
			if v != "" {
				r.Header[http.CanonicalHeaderKey(name)] = []string{v}
			}
		}
		credential, err := credentialOf(r)
		if e, ok := errors.AsType[*apierr.Error](err); err != nil && (!ok || e.Status != http.StatusUnauthorized) {
			t.Fatal(err)
		}
		if (credential == "") != (err != nil) {
			t.Fatalf("credential %q, error %v", credential, err)
		}
		if at := l.source(r); at.Is4In6() || at.Zone() != "" {
			t.Fatalf("the source is %s", at)
		}
	})
}

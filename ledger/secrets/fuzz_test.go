package secrets

import (
	"bytes"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"hookledger/ledger/ids"
)

// FuzzVerifyToken: a token is good only if it is, to the byte, one that was signed; every refusal is ErrToken and
// doesn't show the token.
func FuzzVerifyToken(f *testing.F) {
	s := newTestSet(f)
	now := time.Unix(1_800_000_000, 0)
	good, err := s.SignToken(Claims{Subject: "s", Account: "a", Scopes: []string{"read", "write"}}, now, time.Hour)
	if err != nil {
		f.Fatal(err)
	}
	head, rest, _ := strings.Cut(good.Reveal(), ".")
	for _, text := range []string{
		good.Reveal(), "", ".", "..", head + ".", "e30.e30.", "eyJhbGciOiJub25lIn0." + rest, good.Reveal() + "=", good.Reveal() + ".x", " " + good.Reveal(), head + "." + rest[1:],
		"eyJhbGciOiJIUzI1NiIsImtpZCI6MX0." + rest, "eyJhbGciOiJIUzI1NiIsImtpZCI6Ii4uL3gifQ." + rest, strings.Repeat("a", 10000),
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		claims, err := s.VerifyToken(text, now)
		switch {
		case err == nil && text != good.Reveal():
			t.Fatalf("%q is good for %+v", text, claims)
		case err != nil && (!errors.Is(err, ErrToken) || len(text) > 20 && strings.Contains(err.Error(), text)):
			t.Fatal(err)
		}
	})
}

// FuzzParseAPIKey: what is taken for a key has the form of one, and only the key matches its hash.
func FuzzParseAPIKey(f *testing.F) {
	s := newTestSet(f)
	good, _ := s.NewAPIKey("key_1")
	hash := good.Hash()
	for _, text := range []string{good.Reveal(), strings.ToUpper(good.Reveal()), "", APIKeyPrefix, good.Reveal() + "a", good.Reveal()[1:]} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		key, ok := ParseAPIKey(text)
		if !ok {
			return
		}
		if key.Reveal() != text || !strings.HasPrefix(text, key.Prefix()) || len(key.Prefix()) >= len(text)/2 {
			t.Fatalf("%q is read as %q, shown as %q", text, key.Reveal(), key.Prefix())
		}
		if key.Matches(hash[:]) != (text == good.Reveal()) {
			t.Fatalf("%q matches another's hash", text)
		}
	})
}

// FuzzOpen: a sealed secret opens for its webhook, with its key, as it was sealed, and no other bytes do.
func FuzzOpen(f *testing.F) {
	s := newTestSet(f)
	webhook := ids.ID{1}
	secret, err := NewSigningSecret(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	sealed, err := s.Seal(rand.Reader, webhook, secret)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed.GetKeyId(), webhook[:], sealed.GetBox())
	f.Add("", webhook[:], []byte{})
	f.Add(sealed.GetKeyId(), []byte{2}, sealed.GetBox())
	f.Add(sealed.GetKeyId(), webhook[:], sealed.GetBox()[:12])
	f.Fuzz(func(t *testing.T, key string, id, box []byte) {
		var of ids.ID
		copy(of[:], id)
		got, err := s.Open(of, key, box)
		if err == nil && (of != webhook || !bytes.Equal(box, sealed.GetBox()) || got.Reveal() != secret.Reveal()) {
			t.Fatalf("%x opens for %x with %q", box, of, key)
		}
	})
}

package secrets

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"hookledger/ledger/ids"
)

func newTestSet(t testing.TB) *Set {
	t.Helper()
	s, err := Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFirstStartMakesOneSetAndKeepsIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets.json")
	sets := make([]*Set, 8)
	var made [8]bool
	var wg sync.WaitGroup
	for i := range sets {
		wg.Go(func() {
			s, m, err := LoadOrCreate(path, rand.Reader)
			if err != nil {
				t.Error(err)
			}
			sets[i], made[i] = s, m
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	makers := 0
	for i, s := range sets {
		if made[i] {
			makers++
		}
		if s.Current(Sealing) != sets[0].Current(Sealing) {
			t.Error("two starts hold different keys")
		}
	}
	if makers != 1 {
		t.Errorf("%d starts made the file, want 1", makers)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	if left, _ := filepath.Glob(path + ".*"); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := Create(path, rand.Reader); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Create over a file: %v, want ErrExist", err)
	}
	if _, err := Load(path + "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load of nothing: %v, want ErrNotExist", err)
	}
}

func TestFilesThatAreRefused(t *testing.T) {
	good, err := newTestSet(t).text()
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(good)
	i := bytes.Index(flipped, []byte(`": "`+"")) // somewhere inside
	i = bytes.Index(flipped[i:], []byte("s-")) + i + 20
	if flipped[i] = 'A'; bytes.Equal(flipped, good) {
		flipped[i] = 'B'
	}
	for name, c := range map[string]struct {
		text []byte
		mode fs.FileMode
		want error
		say  string
	}{
		"cut":              {good[:len(good)/2], 0o600, ErrCorrupt, "left as it is"},
		"empty":            {nil, 0o600, ErrCorrupt, "empty"},
		"a bit flipped":    {flipped, 0o600, ErrCorrupt, ""},
		"something after":  {append(bytes.Clone(good), '{'), 0o600, ErrCorrupt, "follows"},
		"another JSON":     {[]byte(`{"a":1}`), 0o600, ErrCorrupt, ""},
		"newer":            {[]byte(`{"hookledger_keys":2}`), 0o600, ErrCorrupt, "version 2"},
		"no keys":          {[]byte(`{"hookledger_keys":1}`), 0o600, ErrCorrupt, "no current key"},
		"group may read":   {good, 0o640, ErrUnsafeFile, "chmod 600"},
		"others may write": {good, 0o602, ErrUnsafeFile, "chmod 600"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "secrets.json")
			if err := os.WriteFile(path, c.text, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, c.mode); err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second time shows that the first left it alone
				_, _, err := LoadOrCreate(path, rand.Reader)
				if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.say) {
					t.Errorf("got %v, want %v that says %q", err, c.want, c.say)
				}
				if err != nil && len(c.text) > 60 && strings.Contains(err.Error(), string(c.text[30:60])) {
					t.Errorf("the error shows the file: %v", err)
				}
			}
			if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, c.text) {
				t.Error("the file was changed")
			}
		})
	}
}

func TestAnotherUsersFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets.json")
	if _, err := Create(path, rand.Reader); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	err = safe(path, info, os.Geteuid()+1)
	if !errors.Is(err, ErrUnsafeFile) || !strings.Contains(err.Error(), "chown") {
		t.Errorf("got %v, want ErrUnsafeFile that names the chown", err)
	}
}

func TestSealedSecretOpensOnlyForItsWebhook(t *testing.T) {
	s := newTestSet(t)
	secret, err := NewSigningSecret(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, other := ids.ID{1}, ids.ID{2}
	sealed, err := s.Seal(rand.Reader, id, secret)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed.GetBox(), []byte("whsec")) {
		t.Error("the box shows the secret")
	}
	got, err := s.Open(id, sealed.GetKeyId(), sealed.GetBox())
	if err != nil || got.Reveal() != secret.Reveal() {
		t.Fatalf("Open: %v", err)
	}
	key, err := got.Key()
	if err != nil || len(key) != 32 || got.Reveal() != "whsec_"+base64.StdEncoding.EncodeToString(key) {
		t.Errorf("Key: %d bytes, %v", len(key), err)
	}
	if _, err := s.Open(other, sealed.GetKeyId(), sealed.GetBox()); !errors.Is(err, ErrSealed) {
		t.Errorf("another webhook: %v, want ErrSealed", err)
	}
	if _, err := s.Open(id, "s-none", sealed.GetBox()); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("another key: %v, want ErrUnknownKey", err)
	}
	for i := range sealed.GetBox() {
		changed := bytes.Clone(sealed.GetBox())
		changed[i] ^= 1
		if _, err := s.Open(id, sealed.GetKeyId(), changed); !errors.Is(err, ErrSealed) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
		if _, err := s.Open(id, sealed.GetKeyId(), sealed.GetBox()[:i]); !errors.Is(err, ErrSealed) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
}

func TestRotationKeepsWhatWasMadeBefore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets.json")
	old, err := Create(path, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	secret, _ := NewSigningSecret(rand.Reader)
	id := ids.ID{7}
	sealed, _ := old.Seal(rand.Reader, id, secret)
	key, master := old.NewAPIKey("abc")
	now := time.Unix(1_800_000_000, 0)
	token, err := old.SignToken(Claims{Subject: "me", Account: "acc", Scopes: []string{"read"}}, now, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	s := old
	for _, r := range rings() {
		var name string
		if s, name, err = s.Add(r, rand.Reader); err != nil {
			t.Fatal(err)
		}
		if s.Current(r) == name {
			t.Errorf("%s: Add made the key current", r)
		}
		if s, err = s.Use(r, name); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Drop(r, name); err == nil {
			t.Errorf("%s: the current key was dropped", r)
		}
	}
	if err := Replace(path, s); err != nil {
		t.Fatal(err)
	}
	if s, err = Load(path); err != nil {
		t.Fatal(err)
	}
	for _, r := range rings() {
		if len(s.Names(r)) != 2 || s.Current(r) == old.Current(r) {
			t.Errorf("%s has keys %v, current %s", r, s.Names(r), s.Current(r))
		}
	}
	if got, err := s.Open(id, sealed.GetKeyId(), sealed.GetBox()); err != nil || got.Reveal() != secret.Reveal() {
		t.Errorf("an old box: %v", err)
	}
	if got, err := s.APIKey(master, "abc"); err != nil || got.Reveal() != key.Reveal() {
		t.Errorf("an old API key: %v", err)
	}
	if _, err := s.VerifyToken(token.Reveal(), now); err != nil {
		t.Errorf("an old token: %v", err)
	}
	if again, _ := s.NewAPIKey("abc"); again.Reveal() == key.Reveal() {
		t.Error("a new master gives the same key")
	}
	dropped, err := s.Drop(Sealing, old.Current(Sealing))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dropped.Open(id, sealed.GetKeyId(), sealed.GetBox()); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("after its key was dropped: %v, want ErrUnknownKey", err)
	}
}

func TestAPIKey(t *testing.T) {
	s := newTestSet(t)
	key, master := s.NewAPIKey("k1")
	again, err := s.APIKey(master, "k1")
	if err != nil || again.Reveal() != key.Reveal() {
		t.Fatalf("not the same key again: %v", err)
	}
	if other, _ := s.NewAPIKey("k2"); other.Reveal() == key.Reveal() {
		t.Error("two ids have one key")
	}
	if !strings.HasPrefix(key.Reveal(), key.Prefix()) || len(key.Reveal()) != 55 || len(key.Prefix()) != 11 {
		t.Errorf("key of %d characters, prefix %q", len(key.Reveal()), key.Prefix())
	}
	parsed, ok := ParseAPIKey(key.Reveal())
	hash := key.Hash()
	if !ok || !parsed.Matches(hash[:]) || parsed.Matches(hash[1:]) || parsed.Matches(nil) {
		t.Error("the parsed key does not match its hash alone")
	}
	for _, text := range []string{"", "sk_", "sk_short", key.Reveal() + "0", strings.ToUpper(key.Reveal())} {
		if _, ok := ParseAPIKey(text); ok {
			t.Errorf("%q passes as an API key", text)
		}
	}
	if _, err := s.APIKey("none", "k1"); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("unknown master: %v", err)
	}
}

func TestTokens(t *testing.T) {
	s, stranger := newTestSet(t), newTestSet(t)
	now := time.Unix(1_800_000_000, 0)
	want := Claims{Subject: "me", Account: "acc", Scopes: []string{"read", "write"}, IssuedAt: now, ExpiresAt: now.Add(time.Minute)}
	token, err := s.SignToken(want, now, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	good := token.Reveal()
	sign := func(method jwt.SigningMethod, key any, change func(jwt.MapClaims)) string {
		c := jwt.MapClaims{
			"iss": TokenIssuer, "aud": TokenAudience, "sub": "me", "account": "acc", "scope": "read",
			"iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
		}
		change(c)
		j := jwt.NewWithClaims(method, c)
		j.Header["kid"] = s.Current(Tokens)
		text, err := j.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	ours := s.held().keys.Tokens.Keys[s.Current(Tokens)]
	none := func(jwt.MapClaims) {}
	without := func(name string) func(jwt.MapClaims) { return func(c jwt.MapClaims) { delete(c, name) } }
	for name, c := range map[string]struct {
		text string
		at   time.Time
		good bool
	}{
		"good":                      {good, now, true},
		"by hand":                   {sign(jwt.SigningMethodHS256, ours, none), now, true},
		"within the leeway":         {good, now.Add(time.Minute + 29*time.Second), true},
		"expired":                   {good, now.Add(time.Minute + 31*time.Second), false},
		"a clock 29 s behind":       {good, now.Add(-29 * time.Second), true},
		"from the future":           {good, now.Add(-31 * time.Second), false},
		"changed":                   {good[:len(good)-4] + "AAAA", now, false},
		"none":                      {sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, none), now, false},
		"another algorithm":         {sign(jwt.SigningMethodHS384, ours, none), now, false},
		"another key, the same kid": {sign(jwt.SigningMethodHS256, []byte("x"), none), now, false},
		"no exp":                    {sign(jwt.SigningMethodHS256, ours, without("exp")), now, false},
		"no iat":                    {sign(jwt.SigningMethodHS256, ours, without("iat")), now, false},
		"no aud":                    {sign(jwt.SigningMethodHS256, ours, without("aud")), now, false},
		"no iss":                    {sign(jwt.SigningMethodHS256, ours, without("iss")), now, false},
		"no account":                {sign(jwt.SigningMethodHS256, ours, without("account")), now, false},
		"no sub":                    {sign(jwt.SigningMethodHS256, ours, without("sub")), now, false},
		"for others":                {sign(jwt.SigningMethodHS256, ours, func(c jwt.MapClaims) { c["aud"] = "x" }), now, false},
		"empty":                     {"", now, false},
		"an API key":                {"sk_abc", now, false},
	} {
		got, err := s.VerifyToken(c.text, c.at)
		switch {
		case c.good && err != nil, !c.good && !errors.Is(err, ErrToken):
			t.Errorf("%s: %v", name, err)
		case err != nil && len(c.text) > 20 && strings.Contains(err.Error(), c.text[:20]):
			t.Errorf("%s: the error shows the token", name)
		case name == "good" && (fmt.Sprint(got.Scopes) != fmt.Sprint(want.Scopes) || got.Subject != "me" ||
			got.Account != "acc" || !got.IssuedAt.Equal(now) || !got.ExpiresAt.Equal(want.ExpiresAt)):
			t.Errorf("claims %+v", got)
		}
	}
	if _, err := stranger.VerifyToken(good, now); !errors.Is(err, ErrToken) {
		t.Errorf("another installation accepts it: %v", err)
	}
	for _, life := range []time.Duration{0, -time.Hour, 25 * time.Hour} {
		if _, err := s.SignToken(want, now, life); err == nil {
			t.Errorf("a life of %v was signed", life)
		}
	}
}

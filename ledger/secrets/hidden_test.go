package secrets

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestNothingPrintsASecret(t *testing.T) {
	s := newTestSet(t)
	signing, _ := NewSigningSecret(rand.Reader)
	key, _ := s.NewAPIKey("k")
	token, err := s.SignToken(Claims{Subject: "a", Account: "b", Scopes: []string{"read"}}, time.Now(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	var reveal []string
	for _, text := range []string{signing.Reveal(), key.Reveal(), token.Reveal()} {
		reveal = append(reveal, text[3:len(text)-3])
	}
	for _, r := range rings() {
		for _, k := range s.held().keys.ring(r).Keys {
			// As text, and as fmt prints bytes.
			reveal = append(reveal, base64.StdEncoding.EncodeToString(k), strings.Trim(fmt.Sprintf("%d", k[:8]), "[]"), fmt.Sprintf("%x", k), string(k))
		}
	}
	type nested struct {
		Signing SigningSecret
		signing SigningSecret
		pointer *SigningSecret
		Key     APIKeyText
		key     APIKeyText
		Token   Token
		token   Token
		Set     *Set
		set     *Set
		value   Set
	}
	n := nested{signing, signing, &signing, key, key, token, token, s, s, *s}
	check := func(how, out string) {
		t.Helper()
		for _, secret := range reveal {
			if strings.Contains(out, secret) {
				t.Errorf("%s shows a secret: %s", how, out)
			}
		}
	}
	for _, v := range []any{signing, &signing, key, token, s, *s, n, &n, []any{signing, s}, map[string]SigningSecret{"a": signing}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T"} {
			check(verb, fmt.Sprintf(verb, v))
		}
		check("Sprint", fmt.Sprint(v))
		b, err := json.Marshal(v)
		if err != nil {
			t.Error(err)
		}
		check("json", string(b))
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v)
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v)
		check("slog", log.String())
		check("error", fmt.Errorf("failed: %v", v).Error())
	}
}

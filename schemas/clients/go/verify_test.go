package hookledger_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	client "hookledger/schemas/clients/go"
)

// The signatures were made with openssl and with Python's hmac.
const (
	secret      = "whsec_Y0rR1LQZV+81WcU9EP4osN5LH0NNk14RUXnU9tx6gGs="
	otherSecret = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	signed      = `{"id":"evt_1","data":{"name":"ü"}}`
	signature   = "sha256=98f45b27567273a65aa7282198036dd88250919f54ecb273ff3ad1302be7d92c"
	standard    = "v1,Q7szbbbXs6SPhsp5tyvcQPANQoorX1b9ZHC6ZHV79S4="
)

func TestVerifyingABodysSignature(t *testing.T) {
	for _, secrets := range [][]string{{secret}, {otherSecret, secret}, {secret, otherSecret}} {
		if err := client.VerifySignature([]byte(signed), signature, secrets...); err != nil {
			t.Errorf("%q: %v", secrets, err)
		}
	}
	for _, x := range []struct{ body, signature, secret string }{
		{signed + " ", signature, secret},
		{signed, signature, otherSecret},
		{signed, strings.ToUpper(signature), secret},
		{signed, strings.TrimPrefix(signature, "sha256="), secret},
		{signed, signature[:len(signature)-1], secret},
		{signed, "sha256=", secret},
		{signed, "", secret},
	} {
		if err := client.VerifySignature([]byte(x.body), x.signature, x.secret); !errors.Is(err, client.ErrSignature) {
			t.Errorf("%+v: %v", x, err)
		}
	}
	if err := client.VerifySignature([]byte(signed), signature); !errors.Is(err, client.ErrSignature) {
		t.Errorf("without a secret: %v", err)
	}
	if err := client.VerifySignature([]byte(signed), signature, "", secret); err == nil || errors.Is(err, client.ErrSignature) {
		t.Errorf("with an empty secret: %v", err)
	}
}

func TestVerifyingTheStandardHeaders(t *testing.T) {
	header := func(id, at, signatures string) http.Header {
		h := http.Header{}
		for name, value := range map[string]string{"webhook-id": id, "webhook-timestamp": at, "webhook-signature": signatures} {
			if value != "" {
				h.Set(name, value)
			}
		}
		return h
	}
	for _, x := range []struct {
		name              string
		body              string
		header            http.Header
		now               int64
		secrets           []string
		good, wrongSecret bool
	}{
		{"good", signed, header("del_1", "1000", standard), 1000, []string{secret}, true, false},
		{"several secrets", signed, header("del_1", "1000", standard), 1000, []string{otherSecret, secret}, true, false},
		{"several signatures", signed, header("del_1", "1000", "v2,x v1,AAAA "+standard), 1000, []string{secret}, true, false},
		{"as late as may be", signed, header("del_1", "1000", standard), 1300, []string{secret}, true, false},
		{"as early as may be", signed, header("del_1", "1000", standard), 700, []string{secret}, true, false},
		{"too late", signed, header("del_1", "1000", standard), 1301, []string{secret}, false, false},
		{"too early", signed, header("del_1", "1000", standard), 699, []string{secret}, false, false},
		{"another body", signed + " ", header("del_1", "1000", standard), 1000, []string{secret}, false, false},
		{"another id", signed, header("del_2", "1000", standard), 1000, []string{secret}, false, false},
		{"another time", signed, header("del_1", "1001", standard), 1000, []string{secret}, false, false},
		{"another secret", signed, header("del_1", "1000", standard), 1000, []string{otherSecret}, false, false},
		{"another version", signed, header("del_1", "1000", strings.Replace(standard, "v1", "v2", 1)), 1000, []string{secret}, false, false},
		{"no secret", signed, header("del_1", "1000", standard), 1000, nil, false, false},
		{"no id", signed, header("", "1000", standard), 1000, []string{secret}, false, false},
		{"no time", signed, header("del_1", "", standard), 1000, []string{secret}, false, false},
		{"no signature", signed, header("del_1", "1000", ""), 1000, []string{secret}, false, false},
		{"odd time", signed, header("del_1", "1e3", standard), 1000, []string{secret}, false, false},
		{"endless time", signed, header("del_1", strings.Repeat("9", 40), standard), 1000, []string{secret}, false, false},
		{"odd secret", signed, header("del_1", "1000", standard), 1000, []string{"whsec_%"}, false, true},
		{"empty secret", signed, header("del_1", "1000", standard), 1000, []string{"whsec_"}, false, true},
	} {
		t.Run(x.name, func(t *testing.T) {
			v := client.Verifier{Secrets: x.secrets, Now: func() time.Time { return time.Unix(x.now, 0) }}
			err := v.Verify([]byte(x.body), x.header)
			if x.good != (err == nil) || !x.good && x.wrongSecret == errors.Is(err, client.ErrSignature) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

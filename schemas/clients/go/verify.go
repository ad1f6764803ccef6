package hookledger

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// ErrSignature: the request is not what was signed with the secret, or too old. Answer 400 and do nothing else with it.
var ErrSignature = errors.New("the request is not signed by Hookledger")

// DefaultTolerance is how far the clocks of service and receiver may be apart, with the request's travel.
const DefaultTolerance = 5 * time.Minute

// VerifySignature returns nil if signature, the header X-Webhook-Signature, is that of the body, byte by byte as it was
// received, with one of the webhook's secrets. It is over the body alone: an old request that is played again passes.
// Use a [Verifier] where you can.
func VerifySignature(body []byte, signature string, secrets ...string) error {
	good := false
	for _, secret := range secrets {
		if secret == "" {
			return errors.New("a webhook's secret is empty")
		}
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write(body)
		want := "sha256=" + hex.EncodeToString(mac.Sum(nil))
		good = hmac.Equal([]byte(want), []byte(signature)) || good
	}
	if !good {
		return fmt.Errorf("%w: X-Webhook-Signature is not that of this body and secret", ErrSignature)
	}
	return nil
}

// Verifier verifies the Standard Webhooks headers of a request.
type Verifier struct {
	// Secrets are the webhook's, `whsec_...`: several while you rotate it.
	Secrets []string
	// Tolerance is 0 for [DefaultTolerance].
	Tolerance time.Duration
	// Now is nil for time.Now.
	Now func() time.Time
}

// Verify returns nil if the body, byte by byte as it was received, was signed with one of the secrets, together with the
// headers webhook-id and webhook-timestamp, and not too long ago. Errors are ErrSignature, or say that a secret is none.
func (v Verifier) Verify(body []byte, header http.Header) error {
	var values [3]string
	for i, name := range []string{"Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"} {
		if values[i] = header.Get(name); values[i] == "" {
			return fmt.Errorf("%w: the header %s is missing", ErrSignature, strings.ToLower(name))
		}
	}
	at, err := strconv.ParseUint(values[1], 10, 40)
	if err != nil {
		return fmt.Errorf("%w: webhook-timestamp is not a number of seconds", ErrSignature)
	}
	good := false
	for _, secret := range v.Secrets {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
		if err != nil || len(key) == 0 {
			return errors.New("a webhook's secret is `whsec_` and base64")
		}
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(values[0] + "." + values[1] + "."))
		mac.Write(body)
		want := []byte(base64.StdEncoding.EncodeToString(mac.Sum(nil)))
		for signature := range strings.FieldsSeq(values[2]) {
			version, value, _ := strings.Cut(signature, ",")
			good = version == "v1" && hmac.Equal(want, []byte(value)) || good
		}
	}
	if !good {
		return fmt.Errorf("%w: no signature in webhook-signature is that of this request and secret", ErrSignature)
	}
	now := time.Now
	if v.Now != nil {
		now = v.Now
	}
	tolerance := v.Tolerance
	if tolerance == 0 {
		tolerance = DefaultTolerance
	}
	if age := now().Sub(time.Unix(int64(at), 0)); age.Abs() > tolerance {
		return fmt.Errorf("%w: it was signed %s ago, %s are allowed", ErrSignature, age.Round(time.Second), tolerance)
	}
	return nil
}

package sender

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Secret is a webhook's signing secret, "whsec_" and base64. It hides itself
// from fmt, encoding/json and log/slog.
type Secret string

func (Secret) String() string               { return "[secret]" }
func (Secret) GoString() string             { return "[secret]" }
func (Secret) MarshalText() ([]byte, error) { return []byte("[secret]"), nil }

// Secrets are what a request is signed with. Former ones sign too, newest first,
// during the overlaps of rotations that asked for one.
type Secrets struct {
	Current Secret
	Former  []Secret
}

// ErrSecret is returned for a secret that can't be a Standard Webhooks key.
var ErrSecret = errors.New("the signing secret is not whsec_ and base64: rotate the webhook's secret")

const secretPrefix = "whsec_"

// key is what Standard Webhooks signs with: the bytes behind the prefix.
func (s Secret) key() ([]byte, error) {
	encoded, ok := strings.CutPrefix(string(s), secretPrefix)
	if !ok {
		return nil, ErrSecret
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(key) == 0 {
		return nil, ErrSecret
	}
	return key, nil
}

// appendBodySignature appends the value of X-Webhook-Signature: the secret's
// string is the key as it stands.
func appendBodySignature(b []byte, secret Secret, body []byte) []byte {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	var sum [sha256.Size]byte
	return hex.AppendEncode(append(b, "sha256="...), mac.Sum(sum[:0]))
}

// appendStandardSignature appends the value of webhook-signature: one signature
// for each secret, the current one's first. prefix is "id.timestamp.".
func appendStandardSignature(b []byte, secrets Secrets, prefix, body []byte) ([]byte, error) {
	for i := range len(secrets.Former) + 1 {
		secret, name := secrets.Current, "current"
		if i > 0 {
			secret, name = secrets.Former[i-1], "former"
			b = append(b, ' ')
		}
		key, err := secret.key()
		if err != nil {
			return b, fmt.Errorf("%s secret: %w", name, err)
		}
		mac := hmac.New(sha256.New, key)
		mac.Write(prefix)
		mac.Write(body)
		var sum [sha256.Size]byte
		b = base64.StdEncoding.AppendEncode(append(b, "v1,"...), mac.Sum(sum[:0]))
	}
	return b, nil
}

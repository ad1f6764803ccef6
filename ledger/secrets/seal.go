package secrets

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"

	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// purpose begins the additional data, so that a box means nothing elsewhere.
const purpose = "hookledger/signing-secret\x00"

const signingPrefix = "whsec_"

// ErrSealed means that a sealed secret does not open. It was changed, or sealed for
// another webhook, or with another key of the same name.
var ErrSealed = errors.New("the sealed secret does not open")

// NewSigningSecret draws a secret: whsec_ and the base64 of 32 random bytes.
func NewSigningSecret(random io.Reader) (SigningSecret, error) {
	var drawn [keySize]byte
	if _, err := io.ReadFull(random, drawn[:]); err != nil {
		return SigningSecret{}, fmt.Errorf("draw a signing secret: %w", err)
	}
	return SigningSecret{hide(signingPrefix + base64.StdEncoding.EncodeToString(drawn[:]))}, nil
}

// ParseSigningSecret reads a secret's text.
func ParseSigningSecret(text string) (SigningSecret, error) {
	s := SigningSecret{hide(text)}
	if _, err := s.Key(); err != nil {
		return SigningSecret{}, err
	}
	return s, nil
}

// Key is the decoded bytes, which Standard Webhooks signs with.
// X-Webhook-Signature is keyed by the text (Reveal) instead.
func (s SigningSecret) Key() ([]byte, error) {
	encoded, ok := strings.CutPrefix(s.Reveal(), signingPrefix)
	key, err := base64.StdEncoding.DecodeString(encoded)
	if !ok || err != nil || len(key) == 0 {
		return nil, errors.New("not a signing secret: want whsec_ and base64") // the text is not shown
	}
	return key, nil
}

func additional(webhook ids.ID) []byte { return append([]byte(purpose), webhook[:]...) }

// Seal encrypts a secret for one webhook with the current key.
func (s *Set) Seal(random io.Reader, webhook ids.ID, secret SigningSecret) (*facts.Sealed, error) {
	name := s.Current(Sealing)
	box := make([]byte, chacha20poly1305.NonceSizeX, chacha20poly1305.NonceSizeX+len(secret.Reveal())+chacha20poly1305.Overhead)
	if _, err := io.ReadFull(random, box); err != nil {
		return nil, fmt.Errorf("draw a nonce: %w", err)
	}
	box = s.held().aeads[name].Seal(box, box, []byte(secret.Reveal()), additional(webhook))
	return &facts.Sealed{KeyId: name, Box: box}, nil
}

// Open decrypts what Seal made for the same webhook, with whichever key of the
// ring it names. ErrUnknownKey or ErrSealed if it can't.
func (s *Set) Open(webhook ids.ID, keyID string, box []byte) (SigningSecret, error) {
	fail := func(err error) (SigningSecret, error) {
		return SigningSecret{}, fmt.Errorf("open the secret of webhook %s: %w", webhook.Text(ids.Webhook), err)
	}
	if _, err := s.key(Sealing, keyID); err != nil {
		return fail(err)
	}
	if len(box) < chacha20poly1305.NonceSizeX {
		return fail(ErrSealed)
	}
	nonce, sealed := box[:chacha20poly1305.NonceSizeX], box[chacha20poly1305.NonceSizeX:]
	text, err := s.held().aeads[keyID].Open(nil, nonce, sealed, additional(webhook))
	if err != nil {
		return fail(ErrSealed)
	}
	return SigningSecret{hide(string(text))}, nil
}

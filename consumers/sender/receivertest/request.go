package receivertest

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Request is a request as it arrived, byte for byte.
type Request struct {
	// Received is when its last byte had been read.
	Received time.Time
	// Connection numbers the connection that it came by, from 1.
	Connection int64

	raw  []byte
	head int
}

// Clone is a copy that stays valid.
func (q *Request) Clone() *Request {
	c := *q
	c.raw = slices.Clone(q.raw)
	return &c
}

// Raw is the whole request as it was on the wire.
func (q *Request) Raw() []byte { return q.raw }

// Body is the request's body.
func (q *Request) Body() []byte { return q.raw[q.head:] }

// Target is path and query as in the request line.
func (q *Request) Target() string {
	line, _, _ := bytes.Cut(q.raw[:q.head], []byte("\r\n"))
	if _, rest, ok := bytes.Cut(line, []byte(" ")); ok {
		target, _, _ := bytes.Cut(rest, []byte(" "))
		return string(target)
	}
	return ""
}

// Header is the first value of a header, "" if there is none.
func (q *Request) Header(name string) string {
	v, _ := find(q.raw[:q.head], name)
	return string(v)
}

// Parsed is the request as net/http reads it.
func (q *Request) Parsed() (*http.Request, error) {
	return http.ReadRequest(bufio.NewReader(bytes.NewReader(q.raw)))
}

// find looks for a header line without allocating; name in any case.
func find(head []byte, name string) ([]byte, bool) {
	for {
		i := bytes.IndexByte(head, '\n')
		if i < 0 {
			return nil, false
		}
		head = head[i+1:]
		if len(head) > len(name) && head[len(name)] == ':' && bytes.EqualFold(head[:len(name)], []byte(name)) {
			value, _, _ := bytes.Cut(head[len(name)+1:], []byte("\r\n"))
			return bytes.TrimSpace(value), true
		}
	}
}

// Verify checks both signatures of the request against a secret (one of two,
// during an overlap, for the Standard Webhooks one). It shares no code with the
// sender: HMAC is written out from RFC 2104. The timestamp's age is the
// caller's to judge.
func (q *Request) Verify(secret string) error {
	want := "sha256=" + hex.EncodeToString(hmacSHA256([]byte(secret), q.Body()))
	if got := q.Header("X-Webhook-Signature"); got != want {
		return fmt.Errorf("X-Webhook-Signature is %q, want %q", got, want)
	}
	return q.VerifyStandard(secret)
}

// VerifyStandard checks the Standard Webhooks headers alone, as a receiver does
// that still has the old secret.
func (q *Request) VerifyStandard(secret string) error {
	encoded, ok := strings.CutPrefix(secret, "whsec_")
	if !ok {
		return errors.New("the secret does not begin with whsec_")
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return fmt.Errorf("the secret is not base64: %w", err)
	}
	signed := q.Header("webhook-id") + "." + q.Header("webhook-timestamp") + "." + string(q.Body())
	want := "v1," + base64.StdEncoding.EncodeToString(hmacSHA256(key, []byte(signed)))
	got := q.Header("webhook-signature")
	if !slices.Contains(strings.Split(got, " "), want) {
		return fmt.Errorf("webhook-signature is %q, want %q in it", got, want)
	}
	return nil
}

func hmacSHA256(key, message []byte) []byte {
	if len(key) > sha256.BlockSize {
		sum := sha256.Sum256(key)
		key = sum[:]
	}
	var inner, outer [sha256.BlockSize]byte
	copy(inner[:], key)
	copy(outer[:], key)
	for i := range inner {
		inner[i] ^= 0x36
		outer[i] ^= 0x5c
	}
	sum := sha256.Sum256(append(inner[:], message...))
	sum = sha256.Sum256(append(outer[:], sum[:]...))
	return sum[:]
}

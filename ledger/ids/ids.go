// Package ids makes and reads the identifiers of the platform.
//
// Every identifier of ours is 16 bytes. Its text form is a prefix that names
// the kind and 26 characters of base32hex (RFC 4648 section 7, lower case, no
// padding), so that text sorts as the bytes do.
//
// A webhook's id is random. A delivery's id is derived, never drawn: six bytes
// of milliseconds (the event record's time), the first four bytes of the
// webhook's id and six bytes of a hash over source and webhook, big-endian. So
// the same (event record, webhook) has the same id wherever and whenever it is
// derived, and an id alone bounds a search by time and by webhook.
//
// An event's id is text: the client's own, or evt_ and ours.
package ids

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// Size is the length of every identifier in bytes.
const Size = 16

// ID is an identifier without its kind.
type ID [Size]byte

// Kind is the prefix of an identifier's text form.
type Kind string

// The kinds of identifier, each the prefix of its text form.
const (
	Webhook   Kind = "wh_"
	Delivery  Kind = "del_"
	Attempt   Kind = "att_"
	Event     Kind = "evt_"
	TestEvent Kind = "evt_test_"
	Key       Kind = "key_"
	Request   Kind = "req_"
)

var encoding = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// textLen is the length of an id's text without its prefix.
const textLen = 26

// ErrMalformed is returned for text that is no identifier of the wanted kind.
var ErrMalformed = errors.New("malformed identifier")

// Text is the identifier as clients see it.
func (id ID) Text(kind Kind) string {
	b := make([]byte, len(kind), len(kind)+textLen)
	copy(b, kind)
	return string(encoding.AppendEncode(b, id[:]))
}

// IsZero reports whether the identifier is unset.
func (id ID) IsZero() bool { return id == ID{} }

// Time is the time that a delivery's id carries.
func (id ID) Time() time.Time {
	var ms [8]byte
	copy(ms[2:], id[:6])
	return time.UnixMilli(int64(binary.BigEndian.Uint64(ms[:]))).UTC()
}

// WebhookPrefix is the part of a delivery's id that is the beginning of its webhook's id.
func (id ID) WebhookPrefix() [4]byte { return [4]byte(id[6:10]) }

// Parse reads the text form of an identifier of the given kind. It accepts
// nothing but what Text returns: an identifier has one text.
func Parse(kind Kind, text string) (ID, error) {
	var id ID
	if len(text) != len(kind)+textLen || text[:len(kind)] != string(kind) {
		return id, fmt.Errorf("%w: want %q and %d characters", ErrMalformed, kind, textLen)
	}
	if _, err := encoding.Decode(id[:], []byte(text[len(kind):])); err != nil {
		return ID{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if id.Text(kind) != text { // the last character has two bits that say nothing
		return ID{}, fmt.Errorf("%w: not in its one form", ErrMalformed)
	}
	return id, nil
}

// FromBytes reads the 16 raw bytes of an identifier.
func FromBytes(b []byte) (ID, error) {
	if len(b) != Size {
		return ID{}, fmt.Errorf("%w: %d bytes, want %d", ErrMalformed, len(b), Size)
	}
	return ID(b), nil
}

// Random draws an identifier from r, crypto/rand's Reader outside tests.
func Random(r io.Reader) (ID, error) {
	var id ID
	if _, err := io.ReadFull(r, id[:]); err != nil {
		return ID{}, fmt.Errorf("draw an identifier: %w", err)
	}
	return id, nil
}

// Timed draws an identifier that begins with a time, so that ids sort by it.
func Timed(at time.Time, r io.Reader) (ID, error) {
	id, err := Random(r)
	if err != nil {
		return ID{}, err
	}
	putMillis(&id, at.UnixMilli())
	return id, nil
}

// ForDelivery derives the id of the delivery of an event record to a webhook.
// recordMillis is the time of the event's record.
func ForDelivery(recordMillis int64, partition int32, offset int64, webhook ID) ID {
	var in [28]byte
	binary.BigEndian.PutUint32(in[0:], uint32(partition))
	binary.BigEndian.PutUint64(in[4:], uint64(offset))
	copy(in[12:], webhook[:])
	sum := sha256.Sum256(in[:])
	var id ID
	putMillis(&id, recordMillis)
	copy(id[6:10], webhook[:4])
	copy(id[10:], sum[:6])
	return id
}

// FromKey derives the id of the n-th event of a request from the account and
// its Idempotency-Key, so that the same key is the same events everywhere.
func FromKey(account, key string, n int) ID {
	h := sha256.New()
	fmt.Fprintf(h, "%d:%s%d:%s%d", len(account), account, len(key), key, n)
	return ID(h.Sum(nil)[:Size])
}

func putMillis(id *ID, ms int64) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(max(ms, 0)))
	copy(id[:6], b[2:])
}

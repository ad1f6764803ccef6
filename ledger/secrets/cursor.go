package secrets

import (
	"crypto/hmac"
	"crypto/sha256"
)

// CursorTagSize is the length of a cursor's tag in bytes.
const CursorTagSize = 16

// cursorPurpose keeps tags of cursors apart from everything else that the keys
// of the tokens sign.
const cursorPurpose = "hookledger/cursor\x00"

// CursorTag proves that a list's cursor was given by a node of this
// installation: HMAC-SHA256 under the current key of the tokens, cut to 16 bytes.
func (s *Set) CursorTag(message []byte) []byte {
	return cursorTag(s.held().keys.Tokens.Keys[s.Current(Tokens)], message)
}

// CheckCursorTag says whether a tag is one that CursorTag made, now or with a
// former key that the ring still has. It compares in constant time.
func (s *Set) CheckCursorTag(message, tag []byte) bool {
	good := false
	for _, key := range s.held().keys.Tokens.Keys {
		good = hmac.Equal(cursorTag(key, message), tag) || good
	}
	return good
}

func cursorTag(key, message []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(cursorPurpose))
	mac.Write(message)
	return mac.Sum(nil)[:CursorTagSize]
}

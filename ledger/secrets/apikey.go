package secrets

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"strings"
)

// APIKeyPrefix begins every API key, and no JWT.
const APIKeyPrefix = "sk_"

// shownPrefix is how much of a key is shown in lists: 8 of its 52 characters
// leave 216 bits unknown.
const shownPrefix = len(APIKeyPrefix) + 8

// apiKeyLen is the prefix and the base32 of 32 bytes.
const apiKeyLen = len(APIKeyPrefix) + (sha256.Size*8+4)/5

// NewAPIKey is the key of a new key id, and the name of the master key it is derived from.
func (s *Set) NewAPIKey(keyID string) (key APIKeyText, masterID string) {
	masterID = s.Current(APIKeys)
	return derive(s.held().keys.APIKeys.Keys[masterID], keyID), masterID
}

// APIKey is the key of a key id again, by the name of its master key: what a
// repeated create is answered with.
func (s *Set) APIKey(masterID, keyID string) (APIKeyText, error) {
	master, err := s.key(APIKeys, masterID)
	if err != nil {
		return APIKeyText{}, err
	}
	return derive(master, keyID), nil
}

func derive(master []byte, keyID string) APIKeyText {
	mac := hmac.New(sha256.New, master)
	mac.Write([]byte(keyID))
	text := base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(mac.Sum(nil))
	return APIKeyText{hide(APIKeyPrefix + strings.ToLower(text))}
}

// Prefix is how the key begins, which may be shown.
func (k APIKeyText) Prefix() string { return k.Reveal()[:min(shownPrefix, len(k.Reveal()))] }

// Hash is what is stored of the key, and what it is found by.
func (k APIKeyText) Hash() [sha256.Size]byte { return sha256.Sum256([]byte(k.Reveal())) }

// ParseAPIKey reads an API key as a client sent it; ok is false for what can't be one.
func ParseAPIKey(text string) (key APIKeyText, ok bool) {
	if len(text) != apiKeyLen || !strings.HasPrefix(text, APIKeyPrefix) {
		return APIKeyText{}, false
	}
	return APIKeyText{hide(text)}, true
}

// Matches compares a key with a stored hash in constant time. Whoever finds a
// key by its hash in a map needs no second comparison, and learns nothing by
// its timing: the hash of a guess says nothing of how near it was.
func (k APIKeyText) Matches(hash []byte) bool {
	sum := k.Hash()
	return subtle.ConstantTimeCompare(sum[:], hash) == 1
}

package secrets

import (
	"bytes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"

	"golang.org/x/crypto/chacha20poly1305"
)

const (
	keySize       = 32
	formatVersion = 1
)

// Ring names one of the three uses of keys.
type Ring string

// The rings.
const (
	Sealing Ring = "sealing"
	APIKeys Ring = "api_keys"
	Tokens  Ring = "tokens"
)

func rings() []Ring { return []Ring{Sealing, APIKeys, Tokens} }

// Errors of key sets.
var (
	// ErrCorrupt: the text is no key set, or not whole.
	ErrCorrupt = errors.New("not a whole key set")
	// ErrUnknownKey: what is to be opened names a key that this set does not have.
	ErrUnknownKey = errors.New("the key set has no such key")
)

// ring is the keys of one use.
type ring struct {
	Current string            `json:"current"`
	Keys    map[string][]byte `json:"keys"`
}

// keys is a key set as the file has it.
type keys struct {
	Version  int    `json:"hookledger_keys"`
	Sealing  ring   `json:"sealing"`
	APIKeys  ring   `json:"api_keys"`
	Tokens   ring   `json:"tokens"`
	Checksum string `json:"checksum,omitempty"`
}

func (k *keys) ring(r Ring) *ring {
	switch r {
	case Sealing:
		return &k.Sealing
	case APIKeys:
		return &k.APIKeys
	default:
		return &k.Tokens
	}
}

// Set is a key set. It does not change; its methods are safe for concurrent use.
//
// What it holds lies behind a function, the one kind of value that fmt can't
// look into when it meets a Set in an unexported field, where it asks no method.
type Set struct {
	held func() *held
}

type held struct {
	keys  *keys
	aeads map[string]cipher.AEAD
}

// Format prints a placeholder for every verb.
func (Set) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redacted) }

// String is a placeholder.
func (Set) String() string { return redacted }

// GoString is a placeholder.
func (Set) GoString() string { return redacted }

// LogValue is a placeholder.
func (Set) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON is a placeholder.
func (Set) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// Generate makes a new set with one key in each ring, drawn from random.
func Generate(random io.Reader) (*Set, error) {
	k := &keys{Version: formatVersion}
	for _, r := range rings() {
		*k.ring(r) = ring{Keys: make(map[string][]byte)}
		name, err := k.add(r, random)
		if err != nil {
			return nil, err
		}
		k.ring(r).Current = name
	}
	return newSet(k)
}

func (k *keys) add(r Ring, random io.Reader) (string, error) {
	drawn := make([]byte, keySize+4)
	if _, err := io.ReadFull(random, drawn); err != nil {
		return "", fmt.Errorf("draw a key for %s: %w", r, err)
	}
	name := string(r[0]) + "-" + hex.EncodeToString(drawn[keySize:])
	if _, taken := k.ring(r).Keys[name]; taken {
		return "", fmt.Errorf("draw a key for %s: the name %q is taken: try again", r, name)
	}
	k.ring(r).Keys[name] = drawn[:keySize:keySize]
	return name, nil
}

func newSet(k *keys) (*Set, error) {
	h := &held{keys: k, aeads: make(map[string]cipher.AEAD)}
	for _, r := range rings() {
		ring := k.ring(r)
		if len(ring.Keys[ring.Current]) == 0 {
			return nil, fmt.Errorf("%w: ring %s has no current key", ErrCorrupt, r)
		}
		for name, key := range ring.Keys {
			if len(key) != keySize || name == "" {
				return nil, fmt.Errorf("%w: key %q of ring %s has %d bytes, want %d", ErrCorrupt, name, r, len(key), keySize)
			}
		}
	}
	for name, key := range k.Sealing.Keys {
		aead, err := chacha20poly1305.NewX(key)
		if err != nil {
			return nil, fmt.Errorf("%w: key %q: %w", ErrCorrupt, name, err)
		}
		h.aeads[name] = aead
	}
	return &Set{func() *held { return h }}, nil
}

// Parse reads a key set from its text, such as an environment variable. No
// error of it shows any of the text.
func Parse(text []byte) (*Set, error) {
	k := new(keys)
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(k); err != nil {
		return nil, fmt.Errorf("%w: %s", ErrCorrupt, describe(err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: something follows it", ErrCorrupt)
	}
	if k.Version != formatVersion {
		return nil, fmt.Errorf("%w: format version %d, this program knows %d", ErrCorrupt, k.Version, formatVersion)
	}
	if k.Checksum != "" && k.Checksum != k.checksum() {
		return nil, fmt.Errorf("%w: its checksum is wrong (after a change by hand, remove the line with the checksum)", ErrCorrupt)
	}
	return newSet(k)
}

// describe is what is wrong with the JSON, without quoting it.
func describe(err error) string {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	var encoding base64.CorruptInputError
	switch {
	case errors.Is(err, io.EOF):
		return "it is empty"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "it is cut off"
	case errors.As(err, &syntax):
		return fmt.Sprintf("no JSON at byte %d", syntax.Offset)
	case errors.As(err, &kind):
		return fmt.Sprintf("field %q is of the wrong kind", kind.Field)
	case errors.As(err, &encoding):
		return "a key is not base64"
	default:
		return "a field is unknown or wrong"
	}
}

// checksum is over the text without it; json sorts the keys of maps.
func (k *keys) checksum() string {
	bare := *k
	bare.Checksum = ""
	b, err := json.Marshal(bare)
	if err != nil { // a struct of strings and bytes
		panic(err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// text is the set as the file has it.
func (s *Set) text() ([]byte, error) {
	k := *s.held().keys
	k.Checksum = k.checksum()
	b, err := json.MarshalIndent(k, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the key set: %w", err)
	}
	return append(b, '\n'), nil
}

// Current is the name of the ring's current key.
func (s *Set) Current(r Ring) string { return s.held().keys.ring(r).Current }

// Names are the names of the ring's keys.
func (s *Set) Names(r Ring) []string { return slices.Sorted(maps.Keys(s.held().keys.ring(r).Keys)) }

// key returns a key by name.
func (s *Set) key(r Ring, name string) ([]byte, error) {
	key, ok := s.held().keys.ring(r).Keys[name]
	if !ok {
		return nil, fmt.Errorf("%w: %q in ring %s: give this node the key file that has it", ErrUnknownKey, name, r)
	}
	return key, nil
}

// Add returns the set with one more key in a ring, not yet the current one: on
// several nodes, give the file to all before any of them uses the key.
func (s *Set) Add(r Ring, random io.Reader) (*Set, string, error) {
	k := s.copy()
	name, err := k.add(r, random)
	if err != nil {
		return nil, "", err
	}
	set, err := newSet(k)
	return set, name, err
}

// Use returns the set with another current key in a ring.
func (s *Set) Use(r Ring, name string) (*Set, error) {
	if _, err := s.key(r, name); err != nil {
		return nil, err
	}
	k := s.copy()
	k.ring(r).Current = name
	return newSet(k)
}

// Drop returns the set without a key that is not the current one. What was
// made with it can't be opened any more.
func (s *Set) Drop(r Ring, name string) (*Set, error) {
	if _, err := s.key(r, name); err != nil {
		return nil, err
	}
	if s.Current(r) == name {
		return nil, fmt.Errorf("key %q of ring %s is the current one: use another first", name, r)
	}
	k := s.copy()
	delete(k.ring(r).Keys, name)
	return newSet(k)
}

func (s *Set) copy() *keys {
	k := *s.held().keys
	for _, r := range rings() {
		k.ring(r).Keys = maps.Clone(k.ring(r).Keys)
	}
	return &k
}

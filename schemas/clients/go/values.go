package hookledger

import (
	"bytes"
	"encoding/json"
	"time"
)

// Time is a timestamp of the API: RFC 3339, UTC, milliseconds.
type Time = time.Time

// Opt is a field of a change: left out (the zero value: it stays), null (it is cleared) or a value. See [Some] and [Null].
type Opt[T any] struct {
	Set   bool
	Null  bool
	Value T
}

// Some is a value.
func Some[T any](value T) Opt[T] { return Opt[T]{Set: true, Value: value} }

// Null clears the field.
func Null[T any]() Opt[T] { return Opt[T]{Set: true, Null: true} }

// IsZero makes `omitzero` leave out what is not set.
func (o Opt[T]) IsZero() bool { return !o.Set }

// MarshalJSON writes the value, or null.
func (o Opt[T]) MarshalJSON() ([]byte, error) {
	if !o.Set || o.Null {
		return []byte("null"), nil
	}
	return json.Marshal(o.Value)
}

// UnmarshalJSON is called only for a field that is there, null included.
func (o *Opt[T]) UnmarshalJSON(b []byte) error {
	*o = Opt[T]{Set: true, Null: bytes.Equal(b, []byte("null"))}
	if o.Null {
		return nil
	}
	return json.Unmarshal(b, &o.Value)
}

// WebhookWithSecret is what creating a webhook returns. The secret is shown there only.
type WebhookWithSecret struct {
	Webhook
	Secret string `json:"secret"`
}

// APIKeyWithValue is what creating or rotating an API key returns. The key's value is shown there only.
type APIKeyWithValue struct {
	APIKey
	Key string `json:"key"`
}

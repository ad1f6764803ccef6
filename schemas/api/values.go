package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// Time is a timestamp as the API writes it: RFC 3339, UTC, always three digits of milliseconds (time.Time alone
// would leave out trailing zeros and keep its zone). Finer digits are cut, never rounded, so that a time never
// shows later than it was.
type Time time.Time

// timeLayout has the literal Z because the value is put into UTC first.
const timeLayout = "2006-01-02T15:04:05.000Z"

// NewTime returns a pointer, for the nullable fields; the zero time is null.
func NewTime(t time.Time) *Time {
	if t.IsZero() {
		return nil
	}
	v := Time(t)
	return &v
}

// String returns t as it stands in JSON.
func (t Time) String() string { return time.Time(t).UTC().Format(timeLayout) }

// MarshalJSON writes t in the API's one form.
func (t Time) MarshalJSON() ([]byte, error) {
	u := time.Time(t).UTC()
	if y := u.Year(); y < 0 || y > 9999 {
		return nil, fmt.Errorf("write timestamp: year %d does not fit RFC 3339", y)
	}
	return u.AppendFormat(make([]byte, 0, len(timeLayout)+2), `"`+timeLayout+`"`), nil
}

// UnmarshalJSON reads any RFC 3339 timestamp.
func (t *Time) UnmarshalJSON(b []byte) error {
	var u time.Time
	if err := u.UnmarshalJSON(b); err != nil {
		return err
	}
	*t = Time(u)
	return nil
}

// Opt is a field that tells apart being left out (Set false), an explicit null (Set and Null) and a value:
// what PATCH needs for `index_ids` and `metadata`. A pointer cannot, and the published type for it is
// a map, which cannot be compared or copied.
type Opt[T any] struct {
	Set   bool
	Null  bool
	Value T
}

// UnmarshalJSON is called only for a field that is there, null included.
func (o *Opt[T]) UnmarshalJSON(b []byte) error {
	*o = Opt[T]{Set: true}
	if bytes.Equal(b, []byte("null")) {
		o.Null = true
		return nil
	}
	return json.Unmarshal(b, &o.Value)
}

// IsZero lets `omitzero` leave out what was left out.
func (o Opt[T]) IsZero() bool { return !o.Set }

// MarshalJSON writes the value, or null.
func (o Opt[T]) MarshalJSON() ([]byte, error) {
	if !o.Set || o.Null {
		return []byte("null"), nil
	}
	return json.Marshal(o.Value)
}

// WebhookWithSecret is what creating a webhook answers: the webhook, and beside it the secret.
type WebhookWithSecret struct {
	Webhook
	Secret string `json:"secret"`
}

// APIKeyWithValue is what creating or rotating an API key answers: the key's record, and beside it its value.
type APIKeyWithValue struct {
	APIKey
	Key string `json:"key"`
}

// NewEvent is one event as a publisher gave it, checked against EventInput of the specification by [ReadEvents].
type NewEvent struct {
	// ID is empty if the publisher gave none.
	ID string `json:"id,omitempty"`
	// Event is a name of the catalogue.
	Event string `json:"event"`
	// Data is the JSON object byte by byte as it was sent. It shares memory with the body that was read: copy
	// it before keeping it longer than the request.
	Data json.RawMessage `json:"data"`
	// IndexID and OrderingKey are empty if not given: an empty one is refused.
	IndexID     string `json:"index_id,omitempty"`
	OrderingKey string `json:"ordering_key,omitempty"`
	// CreatedAt is the publisher's, in UTC; zero if not given.
	CreatedAt time.Time `json:"created_at,omitzero"`
}

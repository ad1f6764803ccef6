package secrets

import (
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[secret]"

// hidden is a text that prints as a placeholder. It lies behind a pointer,
// because fmt reads unexported fields of other structs without asking methods,
// and prints an address then.
type hidden struct{ text *string }

func hide(text string) hidden { return hidden{&text} }

// Reveal is the text itself.
func (h hidden) Reveal() string {
	if h.text == nil {
		return ""
	}
	return *h.text
}

// IsZero says whether there is no text.
func (h hidden) IsZero() bool { return h.text == nil || *h.text == "" }

// Format prints the placeholder for every verb.
func (hidden) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redacted) }

// String is the placeholder.
func (hidden) String() string { return redacted }

// GoString is the placeholder.
func (hidden) GoString() string { return redacted }

// LogValue is the placeholder.
func (hidden) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText is the placeholder.
func (hidden) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON is the placeholder.
func (hidden) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// SigningSecret is what a webhook's deliveries are signed with.
type SigningSecret struct{ hidden }

// APIKeyText is an API key as its owner holds it.
type APIKeyText struct{ hidden }

// Token is a signed JWT.
type Token struct{ hidden }

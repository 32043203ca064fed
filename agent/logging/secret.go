package logging

import (
	"crypto/subtle"
	"fmt"
	"log/slog"
)

const hidden = "<hidden>"

// Secret is a string that must never be printed: a token, a gossip key. Every way of printing or encoding it gives
// "<hidden>"; Reveal alone gives the string. The zero value is the empty secret.
type Secret struct {
	// A pointer, because fmt prints the unexported fields of an enclosing struct without asking their methods.
	value *string
}

// NewSecret wraps value.
func NewSecret(value string) Secret {
	if value == "" {
		return Secret{}
	}
	return Secret{&value}
}

// Reveal returns the string itself.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// Empty reports whether there is no secret.
func (s Secret) Empty() bool { return s.value == nil }

// Equal compares in a time that tells nothing but the lengths.
func (s Secret) Equal(t Secret) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(t.Reveal())) == 1
}

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// Format implements fmt.Formatter, for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// String implements fmt.Stringer.
func (s Secret) String() string { return hidden }

// MarshalText implements encoding.TextMarshaler, and so covers JSON, XML and map keys.
func (s Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

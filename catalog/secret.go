package catalog

import (
	"encoding/json"
	"errors"
	"log/slog"
)

// Secret is text that only the servers' log and snapshots carry: their codecs know it by an extension. It
// shows itself nowhere else. Formatted, logged or in JSON it is a mark that there is one, and on the wire
// between agents it is an error.
type Secret struct{ text string }

// NewSecret hides a text.
func NewSecret(text string) Secret { return Secret{text} }

// Reveal returns the text, for whoever has to use it.
func (s Secret) Reveal() string { return s.text }

// hidden is what is shown in place of a secret.
const hidden = "(hidden)"

// String implements fmt.Stringer, and GoString fmt.GoStringer.
func (s Secret) String() string   { return hidden }
func (s Secret) GoString() string { return hidden }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalJSON implements json.Marshaler: snapshots are shown as JSON.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(hidden) }

var errSecret = errors.New("a secret leaves the servers only in their log and snapshots")

// UnmarshalJSON implements json.Unmarshaler.
func (s *Secret) UnmarshalJSON([]byte) error { return errSecret }

// MarshalBinary implements encoding.BinaryMarshaler, which codecs without the extension go by.
func (s Secret) MarshalBinary() ([]byte, error) { return nil, errSecret }

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (s *Secret) UnmarshalBinary([]byte) error { return errSecret }

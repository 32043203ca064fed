package catalog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
)

// Duration is a time span that JSON carries as text ("10s"). It also reads a bare number as
// nanoseconds, as Consul's API does.
type Duration time.Duration

// String is the span in Go's notation.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalJSON writes the span as text.
func (d Duration) MarshalJSON() ([]byte, error) {
	return strconv.AppendQuote(nil, time.Duration(d).String()), nil
}

// UnmarshalJSON reads text in Go's notation or a number of nanoseconds.
func (d *Duration) UnmarshalJSON(b []byte) error {
	if bytes.Equal(b, []byte("null")) {
		return nil
	}
	if len(b) > 0 && b[0] == '"' {
		var text string
		if err := json.Unmarshal(b, &text); err != nil {
			return err
		}
		return d.UnmarshalString(text)
	}
	n, err := strconv.ParseFloat(string(b), 64)
	if err != nil || !(n >= math.MinInt64 && n < math.MaxInt64) { // the bounds as floats: the second is one too many
		return fmt.Errorf("invalid duration %s: want text such as \"10s\"", b)
	}
	*d = Duration(n)
	return nil
}

// UnmarshalString reads text in Go's notation; empty text is zero and a bare number is nanoseconds.
func (d *Duration) UnmarshalString(text string) error {
	if text == "" {
		*d = 0
		return nil
	}
	span, err := time.ParseDuration(text)
	if err != nil {
		n, nerr := strconv.ParseInt(text, 10, 64)
		if nerr != nil {
			return fmt.Errorf("invalid duration %q: want a number with a unit, such as 10s", text)
		}
		span = time.Duration(n)
	}
	*d = Duration(span)
	return nil
}

package decode

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/curia-mesh/curia/catalog"
)

// under puts an error below a key.
func under(err error, key []byte) error {
	if err == nil {
		return nil
	}
	return prefix(err, clean(string(key)))
}

func prefix(err error, segment string) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	if e.Path != "" && e.Path[0] != '[' {
		segment += "."
	}
	e.Path = segment + e.Path
	return e
}

// clean makes a key fit to be shown: short, and nothing in it that a terminal or log would act on.
func clean(key string) string {
	key = shorten(key)
	for _, r := range key {
		if !unicode.IsPrint(r) || r == '"' {
			return strconv.Quote(key)
		}
	}
	return key
}

func shorten(text string) string {
	const most = 64
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// position returns the line and column of an offset, both from 1.
func position(data []byte, offset int) (line, column int) {
	before := data[:max(0, min(offset, len(data)))]
	return bytes.Count(before, []byte("\n")) + 1, len(before) - bytes.LastIndexByte(before, '\n')
}

// lineIndex returns a function from an offset in data to its line.
func lineIndex(data []byte) func(offset int) int {
	var starts []int
	for i, c := range data {
		if c == '\n' {
			starts = append(starts, i+1)
		}
	}
	return func(offset int) int {
		before, found := slices.BinarySearch(starts, offset)
		if found {
			before++
		}
		return before + 1
	}
}

// suggest returns words that point to the field whose name is nearest to key, "" when none is near.
func (p *plan) suggest(key string, snake bool) string {
	names := make([]string, len(p.fields))
	for i, f := range p.fields {
		if names[i] = f.name; snake {
			names[i] = Snake(f.name)
		}
	}
	if name := catalog.Nearest(key, names); name != "" {
		return ", did you mean " + name + "?"
	}
	return ""
}

// Snake writes a field's name as files do: TLSSkipVerify becomes tls_skip_verify.
func Snake(name string) string {
	var b strings.Builder
	upper := func(i int) bool { return i < len(name) && name[i] >= 'A' && name[i] <= 'Z' }
	for i := range len(name) {
		c := name[i]
		if upper(i) {
			if i > 0 && name[i-1] != '_' && (!upper(i-1) || i+1 < len(name) && !upper(i+1)) {
				b.WriteByte('_')
			}
			c += 'a' - 'A'
		}
		b.WriteByte(c)
	}
	return b.String()
}

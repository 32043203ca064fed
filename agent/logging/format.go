package logging

import (
	"encoding"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"reflect"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"
)

// The forms of time that hclog writes, which is what readers of Consul's logs parse.
const (
	textTime = "2006-01-02T15:04:05.000Z0700"
	jsonTime = "2006-01-02T15:04:05.000000Z07:00"
)

// What one record may take, in bytes: a longer value is cut with a note of how much is missing, and a record that
// would grow past maxLine loses its remaining fields.
const (
	maxValue = 4 << 10
	maxLine  = 16 << 10
)

// fields are the rendered key and value pairs of a record, for either form of line: text as ` key=value`, json as
// `,"key":value`.
type fields struct {
	text, json []byte
}

// add renders one attribute. Groups are flattened into dotted keys; withJSON is false where no reader wants JSON.
func (f *fields) add(groups string, a slog.Attr, withJSON bool) {
	v := a.Value.Resolve()
	if a.Key == "" && v.Equal(slog.Value{}) || len(f.text) > maxLine {
		return
	}
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			groups += a.Key + "."
		}
		for _, member := range v.Group() {
			f.add(groups, member, withJSON)
		}
		return
	}
	val := render(v)
	f.text = append(f.text, ' ')
	f.text = appendPrintable(f.text, groups)
	f.text = appendPrintable(f.text, a.Key)
	f.text = append(f.text, '=')
	if !val.bare && needsQuotes(val.text) {
		f.text = strconv.AppendQuote(f.text, val.text)
	} else {
		f.text = append(f.text, val.text...)
	}
	if !withJSON {
		return
	}
	f.json = append(f.json, ',')
	f.json = appendJSON(f.json, groups+a.Key)
	f.json = append(f.json, ':')
	if val.json != "" {
		f.json = append(f.json, val.json...)
	} else {
		f.json = appendJSON(f.json, val.text)
	}
}

// rendered is a value as text, and as JSON where that is something else than the text as a JSON string. A bare text
// is never quoted in a text line.
type rendered struct {
	text, json string
	bare       bool
}

func number(s string) rendered { return rendered{text: s, json: s, bare: true} }

func render(v slog.Value) rendered {
	switch v.Kind() {
	case slog.KindString:
		return rendered{text: cut(v.String())}
	case slog.KindInt64:
		return number(strconv.FormatInt(v.Int64(), 10))
	case slog.KindUint64:
		return number(strconv.FormatUint(v.Uint64(), 10))
	case slog.KindBool:
		return number(strconv.FormatBool(v.Bool()))
	case slog.KindFloat64:
		f := v.Float64()
		s := strconv.FormatFloat(f, 'g', -1, 64)
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return rendered{text: s} // JSON has no number for these
		}
		return number(s)
	case slog.KindDuration:
		return rendered{text: v.Duration().String(), json: strconv.FormatInt(int64(v.Duration()), 10), bare: true}
	case slog.KindTime:
		return rendered{text: v.Time().Format(time.RFC3339Nano)}
	}
	return renderAny(v.Any())
}

// renderAny renders what only its own methods or reflection can. Those methods are other people's code, so a panic in
// one becomes the value's text instead of the end of the agent.
func renderAny(x any) (out rendered) {
	defer func() {
		if p := recover(); p != nil {
			if v := reflect.ValueOf(x); v.Kind() == reflect.Pointer && v.IsNil() {
				out = rendered{text: "<nil>"}
				return
			}
			out = rendered{text: cut(fmt.Sprintf("!PANIC: %v", p))}
		}
	}()
	switch x := x.(type) {
	case nil:
		return rendered{text: "<nil>", json: "null"}
	case error:
		return rendered{text: cut(x.Error())}
	case fmt.Stringer:
		return rendered{text: cut(x.String())}
	case []byte:
		return rendered{text: cut(string(x))}
	case []string:
		return renderList(x)
	case encoding.TextMarshaler:
		if b, err := x.MarshalText(); err == nil {
			return rendered{text: cut(string(b))}
		}
	}
	out.text = cut(fmt.Sprintf("%v", x))
	if b, err := json.Marshal(x); err == nil && len(b) <= maxValue {
		out.json = string(b)
	}
	return out
}

// renderList writes a list of strings as hclog does, ["a", "b"], cut after about maxValue bytes.
func renderList(list []string) rendered {
	text, js := []byte{'['}, []byte{'['}
	for i, s := range list {
		if i > 0 {
			text, js = append(text, ", "...), append(js, ',')
		}
		full := len(text) > maxValue
		if full {
			s = fmt.Sprintf("...(%d more)", len(list)-i)
		}
		s = cut(s)
		text, js = strconv.AppendQuote(text, s), appendJSON(js, s)
		if full {
			break
		}
	}
	return rendered{text: string(append(text, ']')), json: string(append(js, ']')), bare: true}
}

// cut shortens s to maxValue bytes, at a rune, saying how many bytes are missing.
func cut(s string) string {
	if len(s) <= maxValue {
		return s
	}
	n := maxValue
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "...(" + strconv.Itoa(len(s)-n) + " more bytes)"
}

func needsQuotes(s string) bool {
	if s == "" {
		return true
	}
	for _, r := range s {
		if r <= ' ' || r == '"' || r == '=' || !printable(r) {
			return true
		}
	}
	return false
}

// printable reports whether r may stand in a line as it is. U+FFFD is what ranging over invalid UTF-8 gives.
func printable(r rune) bool {
	return r >= ' ' && r < 0x7f || r > 0x7f && r != utf8.RuneError && unicode.IsPrint(r)
}

// appendPrintable appends s with everything that is not printable escaped, so that it stays on its line.
func appendPrintable(b []byte, s string) []byte {
	for i, r := range s {
		if printable(r) {
			b = utf8.AppendRune(b, r)
			continue
		}
		if r == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(s[i:]); size == 1 {
				b = fmt.Appendf(b, `\x%02x`, s[i])
				continue
			}
		}
		q := strconv.AppendQuoteRune(nil, r)
		b = append(b, q[1:len(q)-1]...)
	}
	return b
}

// appendJSON appends s as a JSON string (RFC 8259); invalid UTF-8 becomes U+FFFD.
func appendJSON(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, '\\', 'n')
		case r == '\t':
			b = append(b, '\\', 't')
		case r < ' ' || r == 0x7f || r == 0x2028 || r == 0x2029:
			b = fmt.Appendf(b, `\u%04x`, r)
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}

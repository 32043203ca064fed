package decode

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

func (w *walker) literal(text string) error {
	if !bytes.HasPrefix(w.in[w.pos:], []byte(text)) {
		return errSyntax
	}
	w.pos += len(text)
	return nil
}

// text walks over a string and returns what it says.
func (w *walker) text() ([]byte, error) {
	start := w.pos
	escaped := false
	for i := start + 1; i < len(w.in); i++ {
		switch w.in[i] {
		case '\\':
			escaped = true
			i++
		case '"':
			w.pos = i + 1
			if !escaped {
				return w.in[start+1 : i], nil
			}
			var said string
			if json.Unmarshal(w.in[start:w.pos], &said) != nil {
				return nil, errSyntax
			}
			return []byte(said), nil
		}
	}
	return nil, errSyntax
}

func number(c byte) bool { return c == '-' || c >= '0' && c <= '9' }

func (w *walker) number() []byte {
	start := w.pos
	for w.pos < len(w.in) && strings.IndexByte("+-.0123456789eE", w.in[w.pos]) >= 0 {
		w.pos++
	}
	return w.in[start:w.pos]
}

// integer walks over a whole number; it may be written as 80.0.
func (w *walker) integer() error {
	start := w.pos
	written := w.number()
	if !bytes.ContainsAny(written, ".eE") {
		return nil
	}
	f, err := strconv.ParseFloat(string(written), 64)
	if err != nil || f != float64(int64(f)) || f > 1<<53 || f < -1<<53 {
		return &Error{Msg: "want whole number, got " + shorten(string(written)), offset: start}
	}
	w.replace(start, w.pos, strconv.FormatInt(int64(f), 10))
	return nil
}

func (w *walker) duration(p *plan, c byte) error {
	start := w.pos
	switch {
	case number(c) && p.kind == kindSpan && (w.weak || !w.file):
		return w.integer()
	case number(c):
		if n := w.number(); w.file && !w.weak && string(n) != "0" {
			return &Error{Msg: "want " + p.want() + ", got number without a unit", offset: start}
		}
		return nil
	}
	if c != '"' {
		return w.mismatch(p, c)
	}
	said, err := w.text()
	if err != nil {
		return err
	}
	var d catalog.Duration
	err = d.UnmarshalString(string(said))
	unitless := false
	if w.file && !w.weak && err == nil && d != 0 {
		_, nerr := strconv.ParseInt(string(said), 10, 64)
		unitless = nerr == nil
	}
	if err != nil || unitless {
		return &Error{Msg: "invalid duration " + strconv.Quote(shorten(string(said))) + ": want " + p.want(), offset: start}
	}
	if p.kind == kindSpan {
		w.replace(start, w.pos, strconv.FormatInt(int64(time.Duration(d)), 10))
	}
	return nil
}

func (w *walker) mismatch(p *plan, c byte) error {
	var got string
	switch {
	case c == '{':
		got = "object"
	case c == '[':
		got = "list"
	case c == '"':
		got = "string"
	case c == 't', c == 'f':
		got = "true or false"
	case number(c):
		got = "number"
	default:
		return errSyntax
	}
	return &Error{Msg: "want " + p.want() + ", got " + got, offset: w.pos}
}

// fits decodes in[start:pos] by itself.
func (w *walker) fits(p *plan, start int) error {
	raw := w.in[start:w.pos]
	if p.typ == nil || p.kind == kindSpan && raw[0] == '"' {
		return nil
	}
	if (p.kind == kindInt || p.kind == kindSpan) && bytes.ContainsAny(raw, ".eE") {
		f, _ := strconv.ParseFloat(string(raw), 64)
		raw = strconv.AppendInt(nil, int64(f), 10)
	}
	err := json.Unmarshal(raw, reflect.New(p.typ).Interface())
	if err == nil {
		return nil
	}
	e := &Error{Msg: err.Error(), offset: start}
	var kind *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return errSyntax
	case p.kind == kindBytes:
		e.Msg = "want " + p.want() + ", got other text"
	case p.kind == kindInt || p.kind == kindSpan:
		e.Msg = fmt.Sprintf("%s does not fit into %s", shorten(string(raw)), p.typ.Kind())
	case errors.As(err, &kind):
		e.Msg = fmt.Sprintf("want %s, got %s", kind.Type.Kind(), kind.Value)
	}
	return e
}

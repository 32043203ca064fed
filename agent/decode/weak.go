package decode

import (
	"encoding/json"
	"strconv"
)

// convert walks over a scalar that is of another type than p wants and can become that, and reports
// whether it did: numbers and truth values become text, text becomes a number or truth value, a number a
// truth value and the reverse. Empty text is zero.
func (w *walker) convert(p *plan, c byte) bool {
	switch p.kind {
	case kindString:
		if c == '"' {
			return false
		}
	case kindInt, kindFloat:
		if number(c) {
			return false
		}
	case kindBool:
		if c == 't' || c == 'f' {
			return false
		}
	default:
		return false
	}
	start := w.pos
	text, ok := w.scalar(c)
	if !ok {
		w.pos = start
		return false
	}
	converted := ""
	switch p.kind {
	case kindString:
		switch converted = strconv.Quote(text); text {
		case "true":
			converted = `"1"`
		case "false":
			converted = `"0"`
		}
	case kindBool:
		converted = asBool(c, text)
	case kindInt, kindFloat:
		converted = asNumber(p, c, text)
	}
	if converted == "" {
		w.pos = start
		return false
	}
	w.replace(start, w.pos, converted)
	return true
}

// scalar walks over text, a number or a truth value.
func (w *walker) scalar(c byte) (string, bool) {
	switch {
	case c == '"':
		text, err := w.text()
		return string(text), err == nil
	case number(c):
		return string(w.number()), true
	case c == 't':
		return "true", w.literal("true") == nil
	case c == 'f':
		return "false", w.literal("false") == nil
	}
	return "", false
}

func asBool(c byte, text string) string {
	switch {
	case number(c):
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return ""
		}
		return strconv.FormatBool(f != 0)
	case c == '"' && text == "":
		return "false"
	case c == '"':
		on, err := strconv.ParseBool(text)
		if err != nil {
			return ""
		}
		return strconv.FormatBool(on)
	}
	return ""
}

func asNumber(p *plan, c byte, text string) string {
	switch {
	case c == 't':
		return "1"
	case c == 'f', c == '"' && text == "":
		return "0"
	case c != '"':
		return ""
	}
	if n, err := strconv.ParseInt(text, 0, 64); err == nil {
		return strconv.FormatInt(n, 10)
	}
	if p.kind == kindFloat && json.Valid([]byte(text)) {
		if _, err := strconv.ParseFloat(text, 64); err == nil {
			return text
		}
	}
	return ""
}

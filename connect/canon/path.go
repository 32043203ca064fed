// Package canon writes the path of a request in one form, so that who decides by paths, who routes by them and the
// application that the request goes to cannot be told three different things.
//
// Whoever decides by a path passes on the form that it decided by. Sources: RFC 3986, sections 5.2.4 and 6.2.2.
package canon

import "errors"

// Slashes says what becomes of slashes that are written as an escape, and of backslashes, which some applications take
// for slashes.
type Slashes uint8

// What becomes of escaped slashes.
const (
	Refuse Slashes = iota // the path is an error
	Keep                  // they are escapes, in one form
	Decode                // they are slashes
)

// Rules say how to write paths. The zero value is the safe one.
type Rules struct {
	Slashes Slashes
	// KeepEmpty keeps segments without a name, such as the one in /a//b; else they are left out.
	KeepEmpty bool
}

// Why a path has no canonical form.
var (
	ErrRelative  = errors.New("the path does not begin with a slash")
	ErrEscape    = errors.New("the path has a malformed escape")
	ErrCharacter = errors.New("the path has a character that no path has")
	ErrSlash     = errors.New("the path has an escaped slash or a backslash")
	ErrDots      = errors.New("the path has a dot segment with parameters")
)

// Path appends the canonical form of a path, which is without the query, to dst. In it
//   - what may be escaped or not is not, and what has to be is, with digits in upper case;
//   - no segment is "." or "..";
//   - no segment but the last is empty, unless KeepEmpty.
//
// A semicolon is kept as it is written: what it means differs from application to application (see Bare).
func (r Rules) Path(dst, path []byte) ([]byte, error) {
	if len(path) == 0 || path[0] != '/' {
		return dst, ErrRelative
	}
	if plain(path) {
		return append(dst, path...), nil
	}
	from := len(dst)
	dst = append(dst, '/')
	segment := len(dst)
	for i := 1; i < len(path); i++ {
		c, escaped := path[i], false
		if c == '%' {
			if i+2 >= len(path) || hex(path[i+1]) < 0 || hex(path[i+2]) < 0 {
				return dst, ErrEscape
			}
			c, escaped = byte(hex(path[i+1])<<4|hex(path[i+2])), true
			i += 2
		}
		switch slash := c == '/' && escaped || c == '\\'; {
		case slash && r.Slashes == Refuse:
			return dst, ErrSlash
		case slash && r.Slashes == Keep:
			dst = escape(dst, c)
		case slash || c == '/':
			var err error
			if dst, err = r.end(dst, from, segment, false); err != nil {
				return dst, err
			}
			segment = len(dst)
		case c == 0 || !escaped && (c <= ' ' || c == 0x7f || c == '#' || c == '?'):
			return dst, ErrCharacter
		case literal[c] || c == ';' && !escaped:
			dst = append(dst, c)
		default:
			dst = escape(dst, c)
		}
	}
	return r.end(dst, from, segment, true)
}

// end ends the segment at the end of dst, which holds the path from a place on, with a slash unless it is the last.
func (r Rules) end(dst []byte, from, segment int, last bool) ([]byte, error) {
	name := dst[segment:]
	bare := name[:nameOf(name)]
	dots := string(bare) == "." || string(bare) == ".."
	switch {
	case dots && len(bare) < len(name):
		return dst, ErrDots
	case dots && len(bare) == 1:
		return dst[:segment], nil
	case dots:
		at := segment - 1 // of the slash before
		for at > from && dst[at-1] != '/' {
			at--
		}
		return dst[:max(at, from+1)], nil
	case last, len(name) == 0 && !r.KeepEmpty:
		return dst, nil
	}
	return append(dst, '/'), nil
}

// Bare appends a canonical path without the parameters of its segments, which begin with a semicolon: for some
// applications /admin;a=b is /admin. It reports whether there were any.
func Bare(dst, path []byte) ([]byte, bool) {
	some, skip := false, false
	for _, c := range path {
		switch {
		case c == ';':
			some, skip = true, true
		case c == '/':
			skip = false
		}
		if !skip {
			dst = append(dst, c)
		}
	}
	return dst, some
}

// nameOf is how long a segment is without its parameters.
func nameOf(segment []byte) int {
	for i, c := range segment {
		if c == ';' {
			return i
		}
	}
	return len(segment)
}

// plain reports whether a path is in canonical form at first sight.
func plain(path []byte) bool {
	after := byte('x')
	for _, c := range path {
		if after == '/' && (c == '.' || c == '/') || c != '/' && !literal[c] {
			return false
		}
		after = c
	}
	return true
}

// literal are the characters that stand for themselves in a segment, written as an escape or not.
// Source: RFC 3986, 3.3, but for the semicolon
var literal = func() (set [256]bool) {
	for c := range set {
		set[c] = 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9'
	}
	for _, c := range "-._~!$&'()*+,=:@" {
		set[c] = true
	}
	return set
}()

func escape(dst []byte, c byte) []byte {
	const digits = "0123456789ABCDEF"
	return append(dst, '%', digits[c>>4], digits[c&15])
}

func hex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

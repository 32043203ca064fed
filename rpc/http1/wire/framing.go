package wire

import (
	"bytes"
	"encoding/binary"
	"net/http"
)

// known takes note of the fields that say how the message and the connection go on.
func (h *Head) known(b []byte, f Field) error {
	switch value := f.Value.Of(b); f.Kind {
	case Host:
		return h.host(f.Value, value)
	case Expect:
		if h.Status != 0 {
			return nil
		}
		if !Same(value, "100-continue") {
			return &Error{http.StatusExpectationFailed, "unknown expectation"}
		}
		h.Continue = true
	case Connection:
		h.connection(value)
	case ContentLength:
		return h.length(value)
	case TransferEncoding:
		if h.codings++; h.codings > 1 || !Same(value, "chunked") {
			return &Error{http.StatusNotImplemented, "unsupported transfer encoding"}
		}
	}
	return nil
}

func (h *Head) host(at Span, value []byte) error {
	if h.Status != 0 {
		return nil
	}
	if h.hosts++; h.hosts > 1 {
		return Bad("too many Host headers")
	}
	if !authority.All(value) {
		return Bad("malformed Host header")
	}
	h.Host = at
	return nil
}

func (h *Head) connection(value []byte) {
	for part := range bytes.SplitSeq(value, []byte{','}) {
		switch part = bytes.Trim(part, " \t"); {
		case Same(part, "close"):
			h.Close = true
		case Same(part, "keep-alive"):
			h.alive = true
		case Same(part, "upgrade"):
			h.Upgrade = true
		case len(part) > 0 && !Same(part, "te"):
			h.Nominates = true
		}
	}
}

// maxDigits is how many digits a length may have: fewer than overflow.
const maxDigits = 18

func (h *Head) length(value []byte) error {
	if h.lengths++; h.lengths > 1 {
		return Bad("more than one Content-Length")
	}
	if len(value) == 0 || len(value) > maxDigits {
		return Bad("bad Content-Length")
	}
	for _, c := range value {
		if !digit(c) {
			return Bad("bad Content-Length")
		}
		h.Length = h.Length*10 + int64(c-'0')
	}
	h.Declared = h.Length
	return nil
}

// frame decides where the body of a request ends and whether the connection stays, when all fields are known.
func (h *Head) frame() error {
	switch {
	case h.codings > 0 && h.lengths > 0:
		return Bad("both Content-Length and Transfer-Encoding")
	case h.codings > 0 && h.Minor == 0:
		return Bad("Transfer-Encoding in HTTP/1.0")
	case h.hosts == 0 && h.Minor > 0:
		return Bad("missing required Host header")
	case h.codings > 0:
		h.Length = Chunked
	}
	if h.Minor == 0 {
		h.Close, h.Continue = h.Close || !h.alive, false
	}
	return nil
}

// Class is a set of bytes.
type Class [256]bool

// The bytes of names and of values of fields, and of targets of requests.
var (
	Token     = classOf(func(c byte) bool { return digit(c) || letter(c) || bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) >= 0 })
	Target    = classOf(func(c byte) bool { return c > ' ' && c != 0x7f })
	Text      = classOf(func(c byte) bool { return c >= ' ' && c != 0x7f || c == '\t' })
	authority = classOf(func(c byte) bool {
		return digit(c) || letter(c) || bytes.IndexByte([]byte("!$%&'()*+,-.:;=[]_~"), c) >= 0 // RFC 3986, 3.2.2
	})
)

func classOf(in func(byte) bool) (c Class) {
	for i := range c {
		c[i] = in(byte(i))
	}
	return c
}

func digit(c byte) bool  { return '0' <= c && c <= '9' }
func letter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// All reports whether each byte is in the class.
func (c *Class) All(b []byte) bool {
	for _, x := range b {
		if !c[x] {
			return false
		}
	}
	return true
}

// IsText reports whether each byte is one of Text.
func IsText(b []byte) bool {
	const ones = 0x0101010101010101
	for ; len(b) >= 8; b = b[8:] {
		x := binary.LittleEndian.Uint64(b)
		del := x ^ 0x7f*ones
		if ((x-' '*ones)&^x|(del-ones)&^del)&(0x80*ones) != 0 && !Text.All(b[:8]) { // one is below space or is DEL, but it may be a tab
			return false
		}
	}
	return Text.All(b)
}

// Same reports whether b is a word in whatever case; lower is in lower case.
func Same(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// Unreserved reports whether a byte means the same in a URI whether it is escaped or not.
// Source: RFC 3986, 2.3
func Unreserved(c byte) bool {
	return letter(c) || digit(c) || c == '-' || c == '_' || c == '.' || c == '~'
}

// Fold reports whether b and a name are the same in whatever case.
func Fold(b []byte, name string) bool {
	if len(b) != len(name) {
		return false
	}
	for i, c := range b {
		if lower(c) != lower(name[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c |= 0x20
	}
	return c
}

package http1

import (
	"bytes"
	"net/http"
)

// known takes note of the fields that say how the message and the connection go on.
func (h *Head) known(b []byte, f Field) error {
	name, value := f.Name.of(b), f.Value.of(b)
	switch len(name) {
	case len("host"):
		if same(name, "host") {
			return h.host(f.Value, value)
		}
	case len("expect"):
		if same(name, "expect") {
			if !same(value, "100-continue") {
				return &Error{http.StatusExpectationFailed, "unknown expectation"}
			}
			h.Continue = true
		}
	case len("connection"):
		if same(name, "connection") {
			h.connection(value)
		}
	case len("content-length"):
		if same(name, "content-length") {
			return h.length(value)
		}
	case len("transfer-encoding"):
		if same(name, "transfer-encoding") {
			if h.codings++; h.codings > 1 || !same(value, "chunked") {
				return &Error{http.StatusNotImplemented, "unsupported transfer encoding"}
			}
		}
	}
	return nil
}

func (h *Head) host(at Span, value []byte) error {
	if h.hosts++; h.hosts > 1 {
		return bad("too many Host headers")
	}
	if !all(&host, value) {
		return bad("malformed Host header")
	}
	h.Host = at
	return nil
}

func (h *Head) connection(value []byte) {
	for part := range bytes.SplitSeq(value, []byte{','}) {
		switch part = bytes.Trim(part, " \t"); {
		case same(part, "close"):
			h.Close = true
		case same(part, "keep-alive"):
			h.alive = true
		}
	}
}

// maxDigits is how many digits a length may have: fewer than overflow.
const maxDigits = 18

func (h *Head) length(value []byte) error {
	if h.lengths++; h.lengths > 1 {
		return bad("more than one Content-Length")
	}
	if len(value) == 0 || len(value) > maxDigits {
		return bad("bad Content-Length")
	}
	for _, c := range value {
		if !digit(c) {
			return bad("bad Content-Length")
		}
		h.Length = h.Length*10 + int64(c-'0')
	}
	return nil
}

// frame decides where the body ends and whether the connection stays, when all fields are known.
func (h *Head) frame() error {
	switch {
	case h.codings > 0 && h.lengths > 0:
		return bad("both Content-Length and Transfer-Encoding")
	case h.codings > 0 && h.Minor == 0:
		return bad("Transfer-Encoding in HTTP/1.0")
	case h.hosts == 0 && h.Minor > 0:
		return bad("missing required Host header")
	case h.codings > 0:
		h.Length = Chunked
	}
	if h.Minor == 0 {
		h.Close, h.Continue = h.Close || !h.alive, false
	}
	return nil
}

// class is a set of bytes.
type class [256]bool

var (
	token  = classOf(func(c byte) bool { return digit(c) || letter(c) || bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) >= 0 })
	target = classOf(func(c byte) bool { return c > ' ' && c != 0x7f })
	text   = classOf(func(c byte) bool { return c >= ' ' && c != 0x7f || c == '\t' })
	host   = classOf(func(c byte) bool {
		return digit(c) || letter(c) || bytes.IndexByte([]byte("!$%&'()*+,-.:;=[]_~"), c) >= 0 // RFC 3986, 3.2.2
	})
)

func classOf(in func(byte) bool) (c class) {
	for i := range c {
		c[i] = in(byte(i))
	}
	return c
}

func digit(c byte) bool  { return '0' <= c && c <= '9' }
func letter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func all(c *class, b []byte) bool {
	for _, x := range b {
		if !c[x] {
			return false
		}
	}
	return true
}

// same reports whether b is a word in whatever case; lower is in lower case.
func same(b []byte, lower string) bool {
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

package wire

import (
	"bytes"
	"fmt"
	"net/http"
)

// Span is a part of the bytes that a head was read from.
type Span struct{ From, To int }

// Of is the part of b.
func (s Span) Of(b []byte) []byte { return b[s.From:s.To] }

// In is the part of t.
func (s Span) In(t string) string { return t[s.From:s.To] }

// Field is one line of a head. It begins where its name does and goes to where the next one begins.
type Field struct {
	Name, Value Span
	Kind        Kind
}

// Head is the head of a request or response, as places in the bytes that it was read from. It can be used again and
// then takes no memory.
type Head struct {
	Method, Target Span // of a request
	Status         int  // of a response
	Reason         Span // of a response
	Minor          int  // of the version, which is 1.0 or 1.1
	Fields         []Field

	// Length is that of the body in bytes, Chunked where the body says itself where it ends, UntilClose where the
	// connection does. It is 0 where there cannot be one.
	Length int64
	// Declared is what Content-Length says, which is of no body in the answer to HEAD; -1 where it says nothing.
	Declared int64
	// Close is whether the sender wants the connection to end after this exchange.
	Close bool
	// Continue is whether the client waits with the body for a word.
	Continue bool
	// Upgrade is whether Connection asks for another protocol.
	Upgrade bool
	// Nominates is whether Connection names fields that are for the next hop only, beside those of a Kind.
	Nominates bool
	// Host is the value of the field of that name, empty where HTTP/1.0 has none.
	Host Span

	lengths, codings, hosts int
	alive                   bool // HTTP/1.0 and the sender wants the connection to stay
}

// Lengths of bodies that no field says.
const (
	Chunked    = -1
	UntilClose = -2
)

// MaxFields is how many lines a head may have.
const MaxFields = 256

// Error is a message that is refused; of a request with the status of the answer.
type Error struct {
	Status int
	Reason string
}

// Error implements error.
func (e *Error) Error() string { return "http1: " + e.Reason }

// Bad is a request that is refused as malformed.
func Bad(reason string) error { return &Error{http.StatusBadRequest, reason} }

// End finds where a head ends in what has come of it so far.
type End struct{ line, seen int } // where its last line begins, how far it was looked at

// Find returns how many bytes the head has with the empty line that ends it, 0 while that has not come. Lines end with
// CR LF: a lone LF ends one for some and not for others.
func (e *End) Find(b []byte) (int, error) {
	for {
		i := bytes.IndexByte(b[e.seen:], '\n')
		if i < 0 {
			e.seen = len(b)
			return 0, nil
		}
		at := e.seen + i
		if at == 0 || b[at-1] != '\r' {
			return 0, Bad("a line ends without CR")
		}
		if e.line == at-1 && at > 1 {
			return at + 1, nil
		}
		e.line, e.seen = at+1, at+1
	}
}

// Parse reads the head of a request, which ends with an empty line. It refuses, with an Error,
//   - lines that end with LF alone, that are continued on the next, or that hold control characters;
//   - a name that is no token, or has space before its colon;
//   - another number of Host fields than one, in HTTP/1.1;
//   - more than one Content-Length, one that is more than digits, one beside Transfer-Encoding;
//   - any Transfer-Encoding other than chunked, and each in HTTP/1.0.
//
// Source: RFC 9112, sections 2 to 6
func (h *Head) Parse(b []byte) error {
	at := 0
	if b[0] == '\r' && b[1] == '\n' { // one empty line may come before: RFC 9112, 2.2
		at = 2
	}
	if err := h.parse(b, at, h.requestLine); err != nil {
		return err
	}
	return h.frame()
}

// parse reads a first line and fields.
func (h *Head) parse(b []byte, at int, first func(b []byte, from, to int) error) error {
	*h = Head{Fields: h.Fields[:0], Declared: -1}
	n := bytes.IndexByte(b[at:], '\n')
	if n < 1 {
		return Bad("no first line")
	}
	if err := first(b, at, at+n-1); err != nil {
		return err
	}
	for at += n + 1; at < len(b)-2; {
		n := bytes.IndexByte(b[at:], '\n')
		if len(h.Fields) == MaxFields {
			return &Error{http.StatusRequestHeaderFieldsTooLarge, fmt.Sprintf("more than %d header fields", MaxFields)}
		}
		if n < 1 || b[at+n-1] != '\r' {
			return Bad("a line ends without CR")
		}
		if err := h.field(b, at, at+n-1); err != nil {
			return err
		}
		at += n + 1
	}
	return nil
}

// requestLine reads method, target and version, with one space between them.
func (h *Head) requestLine(b []byte, from, to int) error {
	line := b[from:to]
	n := bytes.IndexByte(line, ' ')
	if n < 1 || !Token.All(line[:n]) {
		return Bad("invalid method")
	}
	m := bytes.LastIndexByte(line, ' ')
	if m == n || !Target.All(line[n+1:m]) || m == n+1 {
		return Bad("malformed request line")
	}
	h.Method, h.Target = Span{from, from + n}, Span{from + n + 1, from + m}
	return h.version(line[m+1:])
}

func (h *Head) version(version []byte) error {
	switch string(version) {
	case "HTTP/1.1":
		h.Minor = 1
	case "HTTP/1.0":
	default:
		if len(version) == 8 && string(version[:5]) == "HTTP/" && digit(version[5]) && version[6] == '.' && digit(version[7]) {
			return &Error{http.StatusHTTPVersionNotSupported, "unsupported protocol version"}
		}
		return Bad("malformed HTTP version")
	}
	return nil
}

// field reads one line: a name, a colon, and a value with space around it.
func (h *Head) field(b []byte, from, to int) error {
	i := from
	for i < to && Token[b[i]] {
		i++
	}
	if i == from || i == to || b[i] != ':' {
		return Bad("invalid header field name")
	}
	f := Field{Span{from, i}, trim(b, i+1, to), KindOf(b[from:i])}
	if !IsText(f.Value.Of(b)) {
		return Bad("invalid header field value")
	}
	h.Fields = append(h.Fields, f)
	return h.known(b, f)
}

func trim(b []byte, from, to int) Span {
	for from < to && (b[from] == ' ' || b[from] == '\t') {
		from++
	}
	for from < to && (b[to-1] == ' ' || b[to-1] == '\t') {
		to--
	}
	return Span{from, to}
}

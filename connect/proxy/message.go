package proxy

import (
	"bytes"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/curia-mesh/curia/rpc/http1/wire"
)

// Fields that are not passed on as they came: those for the next hop only, which decide how a message goes on, and those
// that tell for whom a caller acts, as bits by their kind.
const (
	framing uint32 = 1<<wire.Host | 1<<wire.Connection | 1<<wire.ContentLength | 1<<wire.TransferEncoding | 1<<wire.Expect |
		1<<wire.KeepAlive | 1<<wire.ProxyConnection | 1<<wire.TE | 1<<wire.Trailer | 1<<wire.Upgrade | 1<<wire.HTTP2Settings | 1<<wire.Unsent
	hopByHop  = framing &^ (1<<wire.Host | 1<<wire.Trailer)
	forwarded = 1<<wire.Forwarded | 1<<wire.ForwardedFor | 1<<wire.ForwardedHost | 1<<wire.ForwardedPort | 1<<wire.ForwardedProto | 1<<wire.ForwardedPrefix | 1<<wire.RealIP
	// protected are fields that a Connection field cannot have taken out of a message on its way.
	protected = framing | forwarded | 1<<wire.ClientCert | 1<<wire.Authorization | 1<<wire.Cookie
	// noTrailers are fields that have no place in a trailer section.
	noTrailers = protected | 1<<wire.ProxyAuthorization
)

// request is the head of a request as it is passed on, and how its body is framed. It is the same for every endpoint.
type request struct {
	head     *wire.Head
	text     []byte
	path     []byte // in canonical form
	query    []byte // with its question mark
	host     []byte // in place of the one in the head; nil where that is passed on
	drop     uint32 // kinds of fields
	named    []byte // fields that Connection names, between commas, in lower case
	edits    *edits
	lines    []byte // fields that are added
	length   int64
	trailers []byte
	upgrade  []byte    // to another protocol; nil for none
	te       bool      // the caller takes trailers
	leaveBy  time.Time // nobody waits for it after that
	secure   bool      // it goes over TLS
}

// append renders the head.
func (q *request) append(b []byte) []byte {
	b = append(append(b, q.head.Method.Of(q.text)...), ' ')
	b = append(append(append(b, q.path...), q.query...), " HTTP/1.1\r\n"...)
	if q.host != nil {
		b = append(append(append(b, "Host: "...), q.host...), '\r', '\n')
	}
	b = appendFields(b, q.head, q.text, q.drop, q.named, q.edits)
	b = append(append(b, q.lines...), q.edits.lines...)
	switch {
	case q.length == wire.Chunked:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case q.length > 0 || q.head.Declared == 0:
		b = appendLength(b, q.length)
	}
	if q.head.Continue {
		b = append(b, "Expect: 100-continue\r\n"...)
	}
	switch {
	case q.upgrade != nil:
		b = append(append(append(b, "Connection: Upgrade\r\nUpgrade: "...), q.upgrade...), '\r', '\n')
	case q.te:
		b = append(b, "Connection: TE\r\nTE: trailers\r\n"...)
	}
	return append(b, '\r', '\n')
}

func appendLength(b []byte, n int64) []byte {
	b = strconv.AppendInt(append(b, "Content-Length: "...), n, 10)
	return append(b, '\r', '\n')
}

// appendFields copies the fields of a head in runs, but for those that are not to be passed on.
func appendFields(b []byte, h *wire.Head, text []byte, drop uint32, named []byte, e *edits) []byte {
	from := -1
	plain := len(named) == 0 && len(e.drop) == 0
	for i := range h.Fields {
		f := &h.Fields[i]
		if drop>>f.Kind&1 != 0 || !plain && (listed(named, f, text) || e.drops(f, text)) {
			if from >= 0 {
				b = append(b, text[from:f.Name.From]...)
				from = -1
			}
		} else if from < 0 {
			from = f.Name.From
		}
	}
	if from >= 0 {
		b = append(b, text[from:len(text)-len("\r\n")]...)
	}
	return b
}

// listed reports whether a field is among those that Connection names.
func listed(named []byte, f *wire.Field, text []byte) bool {
	if len(named) == 0 || protected>>f.Kind&1 != 0 {
		return false
	}
	name := f.Name.Of(text)
	for rest := named; len(rest) > 0; {
		var one []byte
		one, rest, _ = bytes.Cut(rest, []byte{','})
		if wire.Same(name, view(one)) {
			return true
		}
	}
	return false
}

func (e *edits) drops(f *wire.Field, text []byte) bool {
	return framing>>f.Kind&1 == 0 && slices.ContainsFunc(e.drop, func(name string) bool { return wire.Same(f.Name.Of(text), name) })
}

// maxNamed is how many fields Connection may name: each is looked for among all others.
const maxNamed = 32

// nominated appends the names that the Connection fields of a head list, in lower case, each with a comma.
func nominated(b []byte, h *wire.Head, text []byte) ([]byte, error) {
	if !h.Nominates {
		return b, nil
	}
	n := 0
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.Kind != wire.Connection {
			continue
		}
		for rest := f.Value.Of(text); len(rest) > 0; {
			var one []byte
			one, rest, _ = bytes.Cut(rest, []byte{','})
			if one = bytes.Trim(one, " \t"); len(one) == 0 {
				continue
			}
			if n++; n > maxNamed {
				return b, &wire.Error{Status: http.StatusBadRequest, Reason: "too many names in Connection"}
			}
			for _, c := range one {
				if 'A' <= c && c <= 'Z' {
					c |= 0x20
				}
				b = append(b, c)
			}
			b = append(b, ',')
		}
	}
	return b, nil
}

// takesTrailers reports whether a TE field says so.
func takesTrailers(h *wire.Head, text []byte) bool {
	return fieldLists(h, text, wire.TE, "trailers")
}

// fieldLists reports whether a field of a kind has a word among others.
func fieldLists(h *wire.Head, text []byte, k wire.Kind, word string) bool {
	for i := range h.Fields {
		if f := &h.Fields[i]; f.Kind == k {
			for part := range bytes.SplitSeq(f.Value.Of(text), []byte{','}) {
				if wire.Same(bytes.Trim(part, " \t"), word) {
					return true
				}
			}
		}
	}
	return false
}

// trailersOf are those lines of a trailer section that may be passed on, in place: what says how a message goes on or who
// its sender is has no place in one.
// Source: RFC 9110, 6.5.1
func trailersOf(lines []byte) []byte {
	kept := lines[:0]
	for rest := lines; len(rest) > 0; {
		n := bytes.IndexByte(rest, '\n') + 1
		line := rest[:n]
		rest = rest[n:]
		name := line[:bytes.IndexByte(line, ':')]
		if noTrailers>>wire.KindOf(name)&1 == 0 && !unfitTrailer(name) {
			kept = append(kept, line...)
		}
	}
	return kept
}

// promises reports whether the Trailer fields of a head, if any, name only what trailersOf passes on. Else none of them is passed
// on: there are recipients that refuse a message for a Trailer of Content-Length.
func promises(h *wire.Head, text []byte) bool {
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.Kind != wire.Trailer {
			continue
		}
		for name := range bytes.SplitSeq(f.Value.Of(text), []byte{','}) {
			if name = bytes.Trim(name, " \t"); noTrailers>>wire.KindOf(name)&1 != 0 || unfitTrailer(name) {
				return false
			}
		}
	}
	return true
}

func unfitTrailer(name []byte) bool {
	for _, n := range []string{"content-type", "content-encoding", "content-range", "cache-control", "set-cookie", "max-forwards", "www-authenticate", "proxy-authenticate", "date", "location", "vary", "age", "expires"} {
		if wire.Same(name, n) {
			return true
		}
	}
	return false
}

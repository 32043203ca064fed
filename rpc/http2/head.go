package http2

import (
	"strconv"

	"github.com/curia-mesh/curia/rpc/http1/wire"
)

// assembly makes the head of a message in the form of HTTP/1.1 out of fields.
type assembly struct {
	lines   []byte
	cookies []byte
	pseudo  [len(pseudoNames)][]byte
	seen    [len(pseudoNames)]bool
	host    []byte
	hosts   int
	regular bool // fields that are not for control have come
	trailer bool
	length  int64 // of Content-Length, -1 for none
	size    int
	most    int
	bad     string // why it is none
	large   bool
	count   int
}

type pseudo int

const (
	pseudoMethod pseudo = iota
	pseudoScheme
	pseudoAuthority
	pseudoPath
	pseudoProtocol
	pseudoStatus
)

var pseudoNames = [...]string{":method", ":scheme", ":authority", ":path", ":protocol", ":status"}

func (a *assembly) begin(most int, trailer bool) {
	a.lines, a.cookies, a.host = a.lines[:0], a.cookies[:0], a.host[:0]
	for i := range a.pseudo {
		a.pseudo[i] = a.pseudo[i][:0]
	}
	clear(a.seen[:])
	a.hosts, a.regular, a.trailer, a.length, a.size, a.most, a.bad, a.large, a.count = 0, false, trailer, -1, 0, most, "", false, 0
}

func (a *assembly) refuse(why string) {
	if a.bad == "" {
		a.bad = why
	}
}

// add adds a field.
func (a *assembly) add(name, value []byte) {
	a.size += len(name) + len(value) + entrySize
	if a.count++; a.size > a.most || a.count > wire.MaxFields {
		a.large = true
		return
	}
	if len(name) == 0 {
		a.refuse("a field without a name")
		return
	}
	if name[0] == ':' {
		a.control(name, value)
		return
	}
	a.regular = true
	for _, c := range name {
		if !wire.Token[c] || 'A' <= c && c <= 'Z' {
			a.refuse("a name that is none")
			return
		}
	}
	if n := len(value); n > 0 && (value[0] == ' ' || value[0] == '\t' || value[n-1] == ' ' || value[n-1] == '\t') || !wire.IsText(value) {
		a.refuse("a value that is none")
		return
	}
	a.field(name, value)
}

// control adds a field for control.
func (a *assembly) control(name, value []byte) {
	if a.regular || a.trailer {
		a.refuse("a pseudo-header field out of place")
		return
	}
	for i, known := range pseudoNames {
		if string(name) == known {
			if a.seen[i] || !wire.IsText(value) {
				a.refuse("a pseudo-header field twice")
			}
			a.seen[i] = true
			a.pseudo[i] = append(a.pseudo[i], value...)
			return
		}
	}
	a.refuse("an unknown pseudo-header field")
}

// field adds one of those that are passed on, or rejects it.
// Source: RFC 9113, 8.2.2
func (a *assembly) field(name, value []byte) {
	switch wire.KindOf(name) {
	case wire.Connection, wire.ProxyConnection, wire.KeepAlive, wire.TransferEncoding, wire.Upgrade, wire.HTTP2Settings:
		a.refuse("a field for one connection")
		return
	case wire.TE:
		if string(value) != "trailers" {
			a.refuse("TE other than trailers")
			return
		}
	case wire.Host:
		if a.hosts++; a.hosts > 1 {
			a.refuse("more than one Host field")
		}
		a.host = append(a.host[:0], value...)
		return
	case wire.Cookie: // in crumbs: RFC 9113, 8.2.3
		if len(a.cookies) > 0 {
			a.cookies = append(a.cookies, "; "...)
		}
		a.cookies = append(a.cookies, value...)
		return
	case wire.ContentLength:
		n, err := strconv.ParseUint(string(value), 10, 60)
		if err != nil || a.length >= 0 || value[0] == '+' {
			a.refuse("a bad Content-Length")
			return
		}
		a.length = int64(n)
	}
	a.lines = append(append(append(append(a.lines, name...), ": "...), value...), "\r\n"...)
}

// request appends the head of a request to b.
func (a *assembly) request(b []byte, ended bool) []byte {
	method, path, authority := a.pseudo[pseudoMethod], a.pseudo[pseudoPath], a.pseudo[pseudoAuthority]
	connect := string(method) == "CONNECT"
	switch {
	case !a.seen[pseudoMethod], a.seen[pseudoStatus], len(method) == 0:
		a.refuse("no request")
	case connect && !a.seen[pseudoProtocol]:
		if a.seen[pseudoScheme] || a.seen[pseudoPath] || len(authority) == 0 {
			a.refuse("a malformed CONNECT")
		}
		path = authority
	case a.seen[pseudoProtocol] && (!connect || len(a.pseudo[pseudoProtocol]) == 0 || ended):
		a.refuse("a malformed extended CONNECT")
	case !a.seen[pseudoScheme] || len(path) == 0 || path[0] != '/' && (string(method) != "OPTIONS" || string(path) != "*"):
		a.refuse("no scheme, or no path")
	}
	if !wire.Token.All(method) || !wire.Target.All(path) { // which would end there in a line of HTTP/1.1
		a.refuse("a method or a path that is none")
	}
	if a.hosts > 0 && a.seen[pseudoAuthority] && string(a.host) != string(authority) {
		a.refuse("Host is not :authority")
	}
	if !a.seen[pseudoAuthority] {
		authority = a.host
	}
	if ended && a.length > 0 {
		a.refuse("a body that is shorter than Content-Length")
	}
	if connect && a.seen[pseudoProtocol] {
		b = append(b, "GET"...)
	} else {
		b = append(b, method...)
	}
	b = append(append(append(b, ' '), path...), " HTTP/1.1\r\nHost: "...)
	b = append(append(b, authority...), "\r\n"...)
	if connect && a.seen[pseudoProtocol] {
		b = append(append(append(b, "Connection: Upgrade\r\nUpgrade: "...), a.pseudo[pseudoProtocol]...), "\r\n"...)
	}
	return a.fields(b, ended || connect)
}

// response appends the head of a response to b, whose status is not an interim one's.
func (a *assembly) response(b []byte, ended bool) ([]byte, int) {
	s := a.pseudo[pseudoStatus]
	status, err := strconv.Atoi(string(s))
	if err != nil || len(s) != 3 || status < 100 || status == 101 || a.seen[pseudoMethod] || a.seen[pseudoPath] || a.seen[pseudoScheme] || a.seen[pseudoAuthority] || a.seen[pseudoProtocol] {
		a.refuse("no response")
	}
	if status < 200 && ended {
		a.refuse("nothing behind an interim response")
	}
	b = append(append(append(b, "HTTP/1.1 "...), s...), " \r\n"...)
	if a.hosts > 0 {
		b = append(append(append(b, "host: "...), a.host...), "\r\n"...)
	}
	return a.fields(b, status < 200), status
}

// fields appends what comes behind the first line.
func (a *assembly) fields(b []byte, bodiless bool) []byte {
	b = append(b, a.lines...)
	if len(a.cookies) > 0 {
		b = append(append(append(b, "cookie: "...), a.cookies...), "\r\n"...)
	}
	if a.length < 0 && !bodiless {
		b = append(b, "transfer-encoding: chunked\r\n"...)
	}
	return append(b, "\r\n"...)
}

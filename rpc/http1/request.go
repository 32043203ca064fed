package http1

import (
	"crypto/tls"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"

	"github.com/curia-mesh/curia/rpc/http1/wire"
)

// request is what an http.Request is made of, for one after the other.
type request struct {
	url    *url.URL
	header http.Header
	values []string // of the header's fields
	body   *body    // nil when there is none
}

func (q *request) clear() {
	clear(q.header)
	clear(q.values)
	*q.url = url.URL{}
	q.values, q.body = q.values[:0], nil
}

var chunkedCoding = []string{"chunked"}

// build makes the request of a head, whose text has the places that were found in it.
func (w *work) build(c *Conn, text string) (*http.Request, error) {
	h, q := &w.head, &w.request
	r := &http.Request{
		Method: h.Method.In(text), RequestURI: h.Target.In(text), Host: h.Host.In(text), RemoteAddr: c.remote,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: h.Minor,
		Header: q.header, ContentLength: h.Length, Close: h.Close, Body: http.NoBody, TLS: c.secured(),
	}
	if h.Minor == 0 {
		r.Proto = "HTTP/1.0"
	}
	if h.Length == wire.Chunked {
		r.TransferEncoding = chunkedCoding
	}
	if err := q.target(r); err != nil {
		return nil, err
	}
	if r.URL.Host != "" { // an absolute target speaks louder: RFC 9112, 3.2.2
		r.Host = r.URL.Host
	}
	q.fields(h, text)
	if h.Length != 0 {
		q.body = newBody(c, w, h)
		r.Body = q.body
	}
	return r, nil
}

// secured is the state of TLS, nil without.
func (c *Conn) secured() *tls.ConnectionState {
	if c.tls == nil {
		if t, ok := c.Conn.(*tls.Conn); ok {
			state := t.ConnectionState()
			c.tls = &state
		}
	}
	return c.tls
}

// target reads what is asked for. Most targets are a path that needs no reading.
func (q *request) target(r *http.Request) error {
	path, query, marked := strings.Cut(r.RequestURI, "?")
	if strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "//") && plain(path) {
		q.url.Path, q.url.RawQuery, q.url.ForceQuery = path, query, marked && query == ""
		r.URL = q.url
		return nil
	}
	raw := r.RequestURI
	authority := r.Method == http.MethodConnect && raw[0] != '/'
	if authority {
		raw = "http://" + raw
	}
	u, err := url.ParseRequestURI(raw)
	if err != nil {
		return wire.Bad("malformed request target")
	}
	if authority {
		u.Scheme = ""
	}
	r.URL = u
	return nil
}

// plain reports whether a path is what it says, and is written as package url would.
func plain(path string) bool {
	for i := range len(path) {
		if c := path[i]; !wire.Unreserved(c) && c != '/' {
			return false
		}
	}
	return true
}

// fields fills the header as package http does: Host and Transfer-Encoding are fields of the request.
func (q *request) fields(h *wire.Head, text string) {
	if cap(q.values) < len(h.Fields) {
		q.values = make([]string, 0, max(16, len(h.Fields)))
	}
	for _, f := range h.Fields {
		name := textproto.CanonicalMIMEHeaderKey(f.Name.In(text))
		if name == "Host" || name == "Transfer-Encoding" {
			continue
		}
		value := f.Value.In(text)
		if have := q.header[name]; have != nil {
			q.header[name] = append(have, value)
			continue
		}
		n := len(q.values)
		q.values = append(q.values, value)
		q.header[name] = q.values[n : n+1 : n+1]
	}
	if p := q.header["Pragma"]; len(p) > 0 && p[0] == "no-cache" && q.header["Cache-Control"] == nil { // RFC 9111, 5.4
		q.header["Cache-Control"] = []string{"no-cache"}
	}
}

// fresh replaces what somebody else has for good.
func (q *request) fresh() { *q = request{url: new(url.URL), header: make(http.Header, 8)} }

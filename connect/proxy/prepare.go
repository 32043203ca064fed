package proxy

import (
	"bytes"
	"net/http"
	"slices"
	"strings"

	"github.com/curia-mesh/curia/rpc/http1/wire"
)

func malformed(reason string) error {
	return &wire.Error{Status: http.StatusBadRequest, Reason: reason}
}

// prepare makes of the head that came what is decided by and passed on.
func (x *exchange) prepare(conf *Listener) error {
	if err := x.read(conf); err != nil {
		return err
	}
	x.drop = hopByHop | 1<<wire.ProxyAuthorization | 1<<wire.ClientCert
	if x.head.Length != wire.Chunked || !promises(x.head, x.text) {
		x.drop |= 1 << wire.Trailer
	}
	var err error
	if x.named, err = nominated(x.named[:0], x.head, x.text); err != nil {
		return err
	}
	x.te = takesTrailers(x.head, x.text)
	x.upgrade = x.upgrades(conf)
	x.lines = append(x.lines[:0], x.client.lines...)
	if !conf.TrustForwarded {
		x.drop |= forwarded
		x.forward()
	}
	return nil
}

// read reads the target of the request.
func (x *exchange) read(conf *Listener) error {
	method, target := x.head.Method.Of(x.text), x.head.Target.Of(x.text)
	if bytes.IndexByte(target, '#') >= 0 {
		return malformed("the target has a fragment")
	}
	switch {
	case string(method) == http.MethodConnect:
		return &wire.Error{Status: http.StatusNotImplemented, Reason: "CONNECT is not for this proxy"}
	case string(target) == "*":
		if string(method) != http.MethodOptions {
			return malformed("the target * is for OPTIONS")
		}
		x.path = append(x.path[:0], '*')
		return nil
	case target[0] != '/':
		rest, err := x.absolute(target)
		if err != nil {
			return err
		}
		target = rest
	case x.head.Host == (wire.Span{}): // HTTP/1.0
		x.host = []byte("-")
	}
	path, query := target, []byte(nil)
	if i := bytes.IndexByte(target, '?'); i >= 0 {
		path, query = target[:i], target[i:]
	}
	var err error
	if x.path, err = conf.Paths.Path(x.path[:0], path); err != nil {
		return malformed(err.Error())
	}
	x.query = query
	return nil
}

// absolute reads a target that names the host too, which counts then in place of the Host field.
// Source: RFC 9112, 3.2.2
func (x *exchange) absolute(target []byte) (rest []byte, err error) {
	i := bytes.Index(target, []byte("://"))
	if i < 0 || !wire.Same(target[:i], "http") && !wire.Same(target[:i], "https") {
		return nil, malformed("malformed request target")
	}
	authority := target[i+len("://"):]
	rest = []byte("/")
	if n := bytes.IndexAny(authority, "/?"); n >= 0 {
		authority, rest = authority[:n], authority[n:]
		if rest[0] == '?' {
			x.target = append(append(x.target[:0], '/'), rest...)
			rest = x.target
		}
	}
	if len(authority) == 0 || bytes.ContainsAny(authority, "@\\\"<>^`{|}") {
		return nil, malformed("malformed authority in the request target")
	}
	x.host = authority
	x.drop |= 1 << wire.Host
	return rest, nil
}

// rewrite writes the path anew as the route says.
func (x *exchange) rewrite(conf *Listener) error {
	if x.host != nil {
		x.drop |= 1 << wire.Host
	}
	r := x.route
	if !r.rewrite || len(x.path) < len(r.from) {
		return nil
	}
	rest := x.path[len(r.from):]
	x.target = append(x.target[:0], r.to...)
	if strings.HasSuffix(r.to, "/") && len(rest) > 0 && rest[0] == '/' {
		rest = rest[1:]
	}
	x.target = append(x.target, rest...)
	if len(x.target) == 0 || x.target[0] != '/' {
		x.target = append([]byte{'/'}, x.target...)
	}
	var err error
	if x.path, err = conf.Paths.Path(x.path[:0], x.target); err != nil {
		return malformed(err.Error())
	}
	return nil
}

// upgrades is the protocol that the client asks to change to, nil where it does not or may not.
func (x *exchange) upgrades(conf *Listener) []byte {
	if !x.head.Upgrade || x.head.Minor == 0 || x.head.Length != 0 {
		return nil
	}
	for i := range x.head.Fields {
		f := &x.head.Fields[i]
		if f.Kind != wire.Upgrade {
			continue
		}
		if value := f.Value.Of(x.text); wire.Same(value, "websocket") || slices.ContainsFunc(conf.Upgrades, func(u string) bool { return wire.Same(value, u) }) {
			return value
		}
		return nil
	}
	return nil
}

// forward adds what is known of the caller.
func (x *exchange) forward() {
	x.lines = append(x.lines, x.client.forwarded...)
	host := x.host
	if host == nil {
		host = x.head.Host.Of(x.text)
	}
	if len(host) > 0 {
		x.lines = append(append(append(x.lines, "X-Forwarded-Host: "...), host...), '\r', '\n')
	}
}

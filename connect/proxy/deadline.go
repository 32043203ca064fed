package proxy

import (
	"bytes"
	"strconv"
	"time"

	"github.com/curia-mesh/curia/rpc/http1/wire"
)

// timeoutField says how long the sender of a request waits for the whole of the response, in the form of gRPC's field,
// which says it for requests of gRPC.
// Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
const timeoutField = "X-Curia-Timeout"

// appendTimeout renders how long is left, rounded down, in the finest unit that eight digits suffice for.
func appendTimeout(b []byte, left time.Duration) []byte {
	for _, u := range units {
		if n := left / u.of; n < 1e8 || u.name == 'H' {
			return append(strconv.AppendInt(b, int64(max(n, 0)), 10), u.name)
		}
	}
	return b
}

var units = [...]struct {
	name byte
	of   time.Duration
}{{'n', time.Nanosecond}, {'u', time.Microsecond}, {'m', time.Millisecond}, {'S', time.Second}, {'M', time.Minute}, {'H', time.Hour}}

// parseTimeout reads such a value. It reports whether it is one.
func parseTimeout(b []byte) (time.Duration, bool) {
	if len(b) < 2 || len(b) > 9 {
		return 0, false
	}
	n := time.Duration(0)
	for _, c := range b[:len(b)-1] {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + time.Duration(c-'0')
	}
	for _, u := range units {
		if u.name == b[len(b)-1] {
			if n > maxTimeout/u.of {
				return maxTimeout, true
			}
			return n * u.of, true
		}
	}
	return 0, false
}

// maxTimeout is as good as none.
const maxTimeout = 365 * 24 * time.Hour

// patience is how long the caller says it waits; false where it does not say. It is not passed on as it came. It also
// finds out whether the request is one of gRPC.
func (x *exchange) patience() (left time.Duration, said bool) {
	for i := range x.head.Fields {
		switch f := &x.head.Fields[i]; f.Kind {
		case wire.ContentType:
			x.grpc = isGRPC(f.Value.Of(x.text))
		case wire.Timeout:
			x.drop |= 1 << wire.Timeout
			if d, ok := parseTimeout(f.Value.Of(x.text)); ok && (!said || d < left) {
				left, said = d, true
			}
		}
	}
	return left, said
}

func isGRPC(contentType []byte) bool {
	const prefix = "application/grpc"
	if len(contentType) < len(prefix) || !wire.Same(contentType[:len(prefix)], prefix) {
		return false
	}
	rest := contentType[len(prefix):]
	return len(rest) == 0 || rest[0] == '+' || rest[0] == ';'
}

// due sets until when the response of this attempt has to begin, and all of it to be there, and has the endpoint told how
// long that is.
func (x *exchange) due() {
	x.limit = x.callerBy
	configured := or(or(x.route.timeout, x.leg.timeout), x.to.RequestTimeout)
	if by := x.begun.Add(configured); configured > 0 && (x.limit.IsZero() || by.Before(x.limit)) {
		x.limit = by
	}
	x.by = x.begun.Add(or(configured, defaultRequestTimeout))
	if x.callerBy.Before(x.by) && !x.callerBy.IsZero() {
		x.by = x.callerBy
	}
	x.tryBy = x.by
	if t := x.to.TryTimeout; t > 0 && x.route.retries != nil {
		if by := x.since.Add(t); by.Before(x.by) {
			x.tryBy = by
		}
	}
	x.leaveBy = x.tryBy
	x.lines = x.lines[:x.ownLines]
	if x.limit.IsZero() {
		return
	}
	name := timeoutField
	if x.grpc {
		name = "grpc-timeout"
	}
	x.lines = append(append(x.lines, name...), ": "...)
	x.lines = append(appendTimeout(x.lines, time.Until(x.limit)), '\r', '\n')
}

// impatient reports whether it is only the caller for whom a response is too late. The endpoint is not to blame then.
func (x *exchange) impatient() bool { return !x.callerBy.IsZero() && !x.by.Before(x.callerBy) }

// grpcStatus is the value of that name among the lines of trailers, -1 where it is not.
func grpcStatus(lines []byte) int {
	for len(lines) > 0 {
		var line []byte
		line, lines, _ = bytes.Cut(lines, []byte("\r\n"))
		if name, value, found := bytes.Cut(line, []byte{':'}); found && wire.Same(name, "grpc-status") {
			return codeOf(bytes.TrimSpace(value))
		}
	}
	return -1
}

func codeOf(value []byte) int {
	if len(value) == 0 || len(value) > 2 {
		return -1
	}
	n := 0
	for _, c := range value {
		if c < '0' || c > '9' {
			return -1
		}
		n = n*10 + int(c-'0')
	}
	return n
}

// grpcHead is the status of gRPC in a head, where the response is nothing else; -1 where it is not.
func (x *exchange) grpcHead(h *wire.Head, text []byte) int {
	if !x.grpc {
		return -1
	}
	for i := range h.Fields {
		if f := &h.Fields[i]; f.Kind == wire.Other && wire.Same(f.Name.Of(text), "grpc-status") {
			return codeOf(f.Value.Of(text))
		}
	}
	return -1
}

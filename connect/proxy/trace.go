package proxy

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"time"

	"github.com/curia-mesh/curia/rpc/http1/wire"
)

// TraceID names a trace, and SpanID one of its spans; zero is none.
type (
	TraceID [16]byte
	SpanID  [8]byte
)

// String returns the id in hexadecimal digits; none is empty.
func (id TraceID) String() string {
	if id == (TraceID{}) {
		return ""
	}
	return hex.EncodeToString(id[:])
}

// String returns the id in hexadecimal digits; none is empty.
func (id SpanID) String() string {
	if id == (SpanID{}) {
		return ""
	}
	return hex.EncodeToString(id[:])
}

// span is the part of an exchange in a trace.
type span struct {
	trace      TraceID
	id, parent SpanID
	sampled    bool
	b3         b3Form
}

// b3Form is how the caller writes what B3 says.
type b3Form uint8

const (
	noB3 b3Form = iota
	oneB3
	manyB3
)

// trace has the exchange take part in the caller's trace, or begin one, and tells the next hop.
func (x *exchange) trace(t *TracerConfig) {
	if t == nil {
		return
	}
	x.span = span{}
	found := false
	for i := range x.head.Fields {
		switch f := &x.head.Fields[i]; f.Kind {
		case wire.TraceParent:
			x.drop |= 1 << wire.TraceParent
			if s, ok := parseTraceParent(f.Value.Of(x.text)); ok && !found {
				s.b3, x.span, found = x.span.b3, s, true
			}
		case wire.B3:
			x.drop |= 1 << wire.B3
		}
	}
	if x.drop>>wire.B3&1 != 0 {
		s, ok := x.readB3()
		if ok && !found {
			x.span, found = s, true
		}
		x.span.b3 = s.b3
	}
	if !found {
		binary.BigEndian.PutUint64(x.span.trace[:8], rand.Uint64())
		binary.BigEndian.PutUint64(x.span.trace[8:], rand.Uint64()|1)
		x.span.sampled = rand.Float64()*100 < t.Percent
	}
	x.span.parent = x.span.id
	binary.BigEndian.PutUint64(x.span.id[:], rand.Uint64()|1)
	x.lines = x.span.append(x.lines)
}

// parseTraceParent reads the field of that name.
// Source: https://www.w3.org/TR/trace-context
func parseTraceParent(b []byte) (s span, ok bool) {
	const size = len("00-00000000000000000000000000000000-0000000000000000-00")
	if len(b) < size || b[2] != '-' || b[35] != '-' || b[52] != '-' || len(b) > size && (b[size] != '-' || string(b[:2]) == "00") {
		return s, false
	}
	var version, flags [1]byte
	if !unhex(version[:], b[:2]) || version[0] == 0xff || !unhex(s.trace[:], b[3:35]) || !unhex(s.id[:], b[36:52]) || !unhex(flags[:], b[53:55]) {
		return span{}, false
	}
	s.sampled = flags[0]&1 != 0
	return s, s.trace != TraceID{} && s.id != SpanID{}
}

// unhex reads digits in lower case.
func unhex(dst, digits []byte) bool {
	for _, c := range digits {
		if 'A' <= c && c <= 'F' {
			return false
		}
	}
	n, err := hex.Decode(dst, digits)
	return err == nil && n == len(dst)
}

// readB3 reads the field b3, or those that begin with X-B3-. Trace ids of 64 bits are the lower half of one.
// Source: https://github.com/openzipkin/b3-propagation
func (x *exchange) readB3() (s span, ok bool) {
	var trace, id, sampled []byte
	for i := range x.head.Fields {
		f := &x.head.Fields[i]
		if f.Kind != wire.B3 {
			continue
		}
		value := f.Value.Of(x.text)
		switch name := f.Name.Of(x.text); {
		case len(name) == len("b3"):
			s.b3 = oneB3
			trace, id, sampled = splitB3(value)
		case s.b3 == oneB3:
		case wire.Same(name, "x-b3-traceid"):
			s.b3, trace = manyB3, value
		case wire.Same(name, "x-b3-spanid"):
			s.b3, id = manyB3, value
		case wire.Same(name, "x-b3-sampled"):
			s.b3, sampled = manyB3, value
		case wire.Same(name, "x-b3-flags") && string(value) == "1":
			s.b3, sampled = manyB3, []byte("d")
		}
	}
	if n := len(trace); n == 16 && unhex(s.trace[8:], trace) || n == 32 && unhex(s.trace[:], trace) {
		ok = len(id) == 16 && unhex(s.id[:], id) && s.trace != TraceID{} && s.id != SpanID{}
	}
	if !ok {
		return span{b3: s.b3}, false
	}
	s.sampled = len(sampled) == 1 && (sampled[0] == '1' || sampled[0] == 'd') || string(sampled) == "true"
	return s, true
}

func splitB3(value []byte) (trace, id, sampled []byte) {
	parts := [3][]byte{}
	n, from := 0, 0
	for i := 0; i <= len(value) && n < len(parts); i++ {
		if i == len(value) || value[i] == '-' {
			parts[n] = value[from:i]
			n, from = n+1, i+1
		}
	}
	return parts[0], parts[1], parts[2]
}

// append renders the fields that tell the next hop of the span.
func (s *span) append(b []byte) []byte {
	flag := byte('0')
	if s.sampled {
		flag = '1'
	}
	b = append(b, "traceparent: 00-"...)
	b = append(hex.AppendEncode(b, s.trace[:]), '-')
	b = append(hex.AppendEncode(b, s.id[:]), '-', '0', flag, '\r', '\n')
	switch s.b3 {
	case oneB3:
		b = append(hex.AppendEncode(append(b, "b3: "...), s.trace[:]), '-')
		b = append(hex.AppendEncode(b, s.id[:]), '-', flag)
		if s.parent != (SpanID{}) {
			b = hex.AppendEncode(append(b, '-'), s.parent[:])
		}
		b = append(b, '\r', '\n')
	case manyB3:
		b = hex.AppendEncode(append(b, "X-B3-TraceId: "...), s.trace[:])
		b = hex.AppendEncode(append(b, "\r\nX-B3-SpanId: "...), s.id[:])
		if s.parent != (SpanID{}) {
			b = hex.AppendEncode(append(b, "\r\nX-B3-ParentSpanId: "...), s.parent[:])
		}
		b = append(append(b, "\r\nX-B3-Sampled: "...), flag, '\r', '\n')
	}
	return b
}

// finish hands the span of an exchange over.
func (x *exchange) finish(t *Tracer, conf *Listener, took time.Duration) {
	if !x.span.sampled || x.span.id == (SpanID{}) {
		return
	}
	t.add(func(s *Span) {
		s.trace, s.id, s.parent = x.span.trace, x.span.id, x.span.parent
		s.begun, s.took, s.server = x.begun, took, conf.Certs != nil
		s.service, s.listener = or(conf.Service, conf.Name), conf.Name
		s.target, s.peer, s.route, s.status, s.flag, s.attempts = "", x.client.caller.Service, "", x.status, x.flag, x.tries
		if x.to != nil {
			s.target = x.to.Name
		}
		if x.route != nil {
			s.route = x.route.name
		}
		s.endpoint = x.last
		s.method, s.path = string(x.head.Method.Of(x.text)), string(x.path)
	})
}

package proxy

import (
	"github.com/curia-mesh/curia/rpc/http1/wire"
	"github.com/curia-mesh/curia/rpc/http2"
)

// Encode implements http2.Fields: it is append for HTTP/2.
func (q *request) Encode(e *http2.Encoder) {
	scheme := "http"
	if q.secure {
		scheme = "https"
	}
	host := q.host
	if host == nil {
		host = q.head.Host.Of(q.text)
	}
	if q.upgrade != nil {
		e.Text(":method", "CONNECT")
		e.Field(pseudoProtocol, q.upgrade)
	} else {
		e.Field(pseudoMethod, q.head.Method.Of(q.text))
	}
	e.Text(":scheme", scheme)
	e.Pair(pseudoPath, q.path, q.query)
	if len(host) > 0 {
		e.Field(pseudoAuthority, host)
	}
	encodeFields(e, q.head, q.text, q.drop|1<<wire.Host, q.named, q.edits)
	e.Lines(q.lines)
	e.Lines(q.edits.lines)
	if q.length > 0 || q.length == 0 && q.head.Declared == 0 {
		e.Number("content-length", q.length)
	}
	if q.head.Continue {
		e.Text("expect", "100-continue")
	}
	if q.te {
		e.Text("te", "trailers")
	}
}

var (
	pseudoMethod    = []byte(":method")
	pseudoProtocol  = []byte(":protocol")
	pseudoPath      = []byte(":path")
	pseudoAuthority = []byte(":authority")
)

// encodeFields adds the fields of a head, but for those that are not to be passed on.
func encodeFields(e *http2.Encoder, h *wire.Head, text []byte, drop uint32, named []byte, edits *edits) {
	plain := len(named) == 0 && len(edits.drop) == 0
	for i := range h.Fields {
		f := &h.Fields[i]
		if drop>>f.Kind&1 != 0 || !plain && (listed(named, f, text) || edits.drops(f, text)) {
			continue
		}
		e.Field(f.Name.Of(text), f.Value.Of(text))
	}
}

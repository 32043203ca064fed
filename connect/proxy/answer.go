package proxy

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/curia-mesh/curia/rpc/http2"
)

// answer implements near. A caller of gRPC is told in its own terms.
func (d *nearStream) answer(status int, reason, fields string, headOnly, _ bool) bool {
	if d.started {
		return false
	}
	d.out, d.code, d.extra, d.reason, d.rpcCode = nil, status, fields, reason, -1
	if d.rpc {
		d.code, d.rpcCode = http.StatusOK, grpcOf(status)
		return d.s.Send(d, nil, true, true) == nil
	}
	d.reason = strconv.Itoa(status) + " " + http.StatusText(status) + ": " + reason + "\n"
	if headOnly {
		return d.s.Send(d, nil, true, true) == nil
	}
	return d.s.Send(d, []byte(d.reason), true, true) == nil
}

func (d *nearStream) encodeAnswer(e *http2.Encoder) {
	if d.rpcCode >= 0 {
		e.Text("content-type", "application/grpc")
		e.Number("grpc-status", int64(d.rpcCode))
		e.Text("grpc-message", percent(d.reason))
	} else {
		e.Text("content-type", "text/plain; charset=utf-8")
		e.Number("content-length", int64(len(d.reason)))
	}
	e.Lines([]byte(d.extra))
}

// percent writes a message as gRPC wants it.
// Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
func percent(text string) string {
	out := make([]byte, 0, len(text))
	for i := range len(text) {
		if c := text[i]; c >= ' ' && c <= '~' && c != '%' {
			out = append(out, c)
		} else {
			out = fmt.Appendf(out, "%%%02X", c)
		}
	}
	return string(out)
}

// grpcOf is the code of gRPC that stands for a status.
// Source: https://grpc.github.io/grpc/core/md_doc_http-grpc-status-mapping.html, but for what is known better here
func grpcOf(status int) int {
	switch status {
	case http.StatusBadRequest:
		return grpcInternal
	case http.StatusUnauthorized:
		return 16
	case http.StatusForbidden:
		return 7
	case http.StatusNotFound:
		return 12
	case http.StatusGatewayTimeout:
		return grpcDeadlineExceeded
	case http.StatusRequestHeaderFieldsTooLarge:
		return grpcResourceExhausted
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable:
		return grpcUnavailable
	}
	return grpcUnknown
}

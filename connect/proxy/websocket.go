package proxy

import (
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"net/http"

	"github.com/curia-mesh/curia/rpc/http1/wire"
)

// HTTP/2 begins a WebSocket without the key and its answer that HTTP/1.1 has, so they are made up where one side is
// spoken to in the one and the other in the other.
// Source: RFC 8441, 5; RFC 6455, 4.1 and 4.2.2
const (
	keyField    = "sec-websocket-key"
	acceptField = "sec-websocket-accept"
	acceptSalt  = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
)

func valueOf(h *wire.Head, text []byte, name string) []byte {
	for i := range h.Fields {
		if f := &h.Fields[i]; wire.Same(f.Name.Of(text), name) {
			return f.Value.Of(text)
		}
	}
	return nil
}

// appendLine adds a field at the end of a head.
func appendLine(text []byte, name, value string) []byte {
	text = text[:len(text)-len("\r\n")]
	return append(append(append(append(append(text, name...), ": "...), value...), "\r\n"...), "\r\n"...)
}

// keyed is the head of a request for a WebSocket with a key in it.
func keyed(h *wire.Head, text []byte) []byte {
	if valueOf(h, text, keyField) != nil {
		return text
	}
	var key [16]byte
	rand.Read(key[:])
	return appendLine(text, keyField, base64.StdEncoding.EncodeToString(key[:]))
}

// accepted is the head of the response with the answer to a key in it.
func accepted(h *wire.Head, text, key []byte) []byte {
	if key == nil || valueOf(h, text, acceptField) != nil {
		return text
	}
	sum := sha1.Sum(append(append([]byte(nil), key...), acceptSalt...))
	return appendLine(append([]byte(nil), text...), acceptField, base64.StdEncoding.EncodeToString(sum[:]))
}

var errNoTunnels = &wire.Error{Status: http.StatusBadGateway, Reason: "it takes no upgrades over HTTP/2"}

package rpc

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/hashicorp/go-msgpack/v2/codec"
)

// Raw is a value that is msgpack already. As Call.Body it is sent as it is, and an answer whose call has
// no NewReply carries a Raw: so a server that forwards a call copies both bodies unread.
type Raw []byte

// bodies is the codec of what is sent and received.
var bodies = NewCodec(newHandle())

func newHandle() *codec.MsgpackHandle {
	h := &codec.MsgpackHandle{WriteExt: true}
	h.MapType = reflect.TypeFor[map[string]any]()
	h.RawToString = true
	h.SignedInteger = true
	h.MaxDepth = 100
	// MaxInitLen stays 0: a claimed length then costs at most 256 KiB, or 4096 elements, before they are
	// there. A value of ours would also be the step by which the codec grows, and copies, long []byte.
	return h
}

// Encode returns v as msgpack, in the form every body on the wire has.
func Encode(v any) ([]byte, error) {
	if raw, ok := v.(Raw); ok {
		return raw, nil
	}
	data, err := bodies.Append(nil, v)
	if err != nil {
		return nil, fmt.Errorf("rpc: encoding %T: %w", v, err)
	}
	return data, nil
}

// Decode fills v, a pointer, from data, which must hold exactly one msgpack value. No data at all, the body
// of a call that has none, leaves v as it is.
func Decode(data []byte, v any) error {
	if len(data) == 0 {
		return nil
	}
	rest, err := bodies.Decode(data, v)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes too many", len(rest))
	}
	if err != nil {
		return fmt.Errorf("rpc: decoding %T: %w", v, err)
	}
	return nil
}

// encodeCall returns a call's payload in two parts; the second one is a Raw body, which is not copied.
func encodeCall(call *Call) (head, body []byte, err error) {
	switch b := call.Body.(type) {
	case nil:
		head, err = bodies.Append(nil, call.Method, &call.Header)
	case Raw:
		head, err = bodies.Append(nil, call.Method, &call.Header)
		body = b
	default:
		head, err = bodies.Append(nil, call.Method, &call.Header, b)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("rpc: encoding call %s: %w", call.Method, err)
	}
	return head, body, nil
}

func decodeCall(payload []byte) (*Call, error) {
	call := new(Call)
	rest, err := bodies.Decode(payload, &call.Method, &call.Header)
	if err != nil {
		return nil, fmt.Errorf("call header: %w", err)
	}
	call.Body = Raw(rest)
	return call, nil
}

// The first byte of an answer.
const (
	statusOK    = 0
	statusError = 1
)

// What answers begin with. There is no room behind it, so that each is appended to a copy.
var (
	withOK    = []byte{statusOK}
	withError = []byte{statusError}
)

// encodeAnswer returns an answer's payload in two parts, the second one shared by all who asked the same.
func encodeAnswer(answer Answer) (head, body []byte, err error) {
	if head, err = bodies.Append(withOK, &answer.Meta); err != nil || answer.Body == nil {
		return head, nil, err
	}
	body, err = answer.Wire(Encode)
	return head, body, err
}

func encodeError(code, msg string) []byte {
	head, err := bodies.Append(withError, code, msg)
	if err != nil { // two strings cannot fail
		return withError
	}
	return head
}

var errBadAnswer = errors.New("rpc: answer without a status: the peer does not speak this protocol")

// decodeAnswer returns an answer's Meta and body; failed is made from what the far side failed with.
func decodeAnswer(payload []byte, failed func(code, msg string) error) (meta Meta, body []byte, err error) {
	if len(payload) == 0 || payload[0] > statusError {
		return meta, nil, errBadAnswer
	}
	if payload[0] == statusOK {
		body, err = bodies.Decode(payload[1:], &meta)
	} else {
		var code, msg string
		if _, err = bodies.Decode(payload[1:], &code, &msg); err == nil {
			return meta, nil, failed(code, msg)
		}
	}
	if err != nil {
		return meta, nil, fmt.Errorf("rpc: answer header: %w", err)
	}
	return meta, body, nil
}

package rpc

import (
	"errors"
	"fmt"
	"reflect"
	"sync"

	"github.com/hashicorp/go-msgpack/v2/codec"
)

// Raw is a value that is msgpack already. As Call.Body it is sent as it is, and an answer whose call has
// no NewReply carries a Raw: so a server that forwards a call copies both bodies unread.
type Raw []byte

// handle is never changed once built, as the codec demands.
var handle = newHandle()

func newHandle() *codec.MsgpackHandle {
	h := &codec.MsgpackHandle{WriteExt: true}
	h.ExplicitRelease = true // encoders and decoders are kept for reuse
	h.MapType = reflect.TypeFor[map[string]any]()
	h.RawToString = true
	h.SignedInteger = true
	h.MaxDepth = 100
	// MaxInitLen stays 0: a claimed length then costs at most 256 KiB, or 4096 elements, before they are
	// there. A value of ours would also be the step by which the codec grows, and copies, long []byte.
	return h
}

// maxKept is the largest encoding buffer, in bytes, that is kept for reuse.
const maxKept = 64 << 10

type encoder struct {
	enc *codec.Encoder
	buf []byte
}

type decoder struct{ dec *codec.Decoder }

var (
	encoders = sync.Pool{New: func() any {
		e := &encoder{buf: make([]byte, 0, 1024)}
		e.enc = codec.NewEncoderBytes(&e.buf, handle)
		return e
	}}
	decoders = sync.Pool{New: func() any { return &decoder{codec.NewDecoderBytes(nil, handle)} }}
)

// encode returns the values one after the other behind prefix, in a slice of its own.
func encode(prefix []byte, values ...any) ([]byte, error) {
	e := encoders.Get().(*encoder)
	e.buf = e.buf[:0]
	e.enc.ResetBytes(&e.buf)
	for _, v := range values {
		if err := e.enc.Encode(v); err != nil {
			return nil, err // the encoder is dropped: it may hold half a value
		}
	}
	out := make([]byte, 0, len(prefix)+len(e.buf))
	out = append(append(out, prefix...), e.buf...)
	if cap(e.buf) <= maxKept {
		encoders.Put(e)
	}
	return out, nil
}

// Encode returns v as msgpack, in the form every body on the wire has.
func Encode(v any) ([]byte, error) {
	if raw, ok := v.(Raw); ok {
		return raw, nil
	}
	data, err := encode(nil, v)
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
	rest, err := decode(data, v)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes too many", len(rest))
	}
	if err != nil {
		return fmt.Errorf("rpc: decoding %T: %w", v, err)
	}
	return nil
}

// nothing is no bytes. A Decoder takes nil for "go on with what there was", which may be somebody else's.
var nothing = []byte{}

// decode fills values from the front of data and returns the rest of it.
func decode(data []byte, values ...any) (rest []byte, err error) {
	if data == nil {
		data = nothing
	}
	d := decoders.Get().(*decoder)
	d.dec.ResetBytes(data)
	for _, v := range values {
		if err := d.dec.Decode(v); err != nil {
			return nil, err
		}
	}
	n := d.dec.NumBytesRead()
	d.dec.ResetBytes(nothing)
	decoders.Put(d)
	return data[n:], nil
}

// encodeCall returns a call's payload in two parts; the second one is a Raw body, which is not copied.
func encodeCall(call *Call) (head, body []byte, err error) {
	switch b := call.Body.(type) {
	case nil:
		head, err = encode(nil, call.Method, &call.Header)
	case Raw:
		head, err = encode(nil, call.Method, &call.Header)
		body = b
	default:
		head, err = encode(nil, call.Method, &call.Header, b)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("rpc: encoding call %s: %w", call.Method, err)
	}
	return head, body, nil
}

func decodeCall(payload []byte) (*Call, error) {
	call := new(Call)
	rest, err := decode(payload, &call.Method, &call.Header)
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

// encodeAnswer returns an answer's payload in two parts, the second one shared by all who asked the same.
func encodeAnswer(answer Answer) (head, body []byte, err error) {
	if head, err = encode([]byte{statusOK}, &answer.Meta); err != nil || answer.Body == nil {
		return head, nil, err
	}
	body, err = answer.Wire(Encode)
	return head, body, err
}

func encodeError(code, msg string) []byte {
	head, err := encode([]byte{statusError}, code, msg)
	if err != nil { // two strings cannot fail
		return []byte{statusError}
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
		body, err = decode(payload[1:], &meta)
	} else {
		var code, msg string
		if _, err = decode(payload[1:], &code, &msg); err == nil {
			return meta, nil, failed(code, msg)
		}
	}
	if err != nil {
		return meta, nil, fmt.Errorf("rpc: answer header: %w", err)
	}
	return meta, body, nil
}

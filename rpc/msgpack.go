package rpc

import (
	"slices"
	"sync"

	"github.com/hashicorp/go-msgpack/v2/codec"
)

// Codec encodes and decodes msgpack by a handle. Its encoders and decoders are kept for reuse: to make one costs more than to
// use it.
type Codec struct{ encoders, decoders sync.Pool }

// maxKept is the largest encoding buffer, in bytes, that is kept for reuse.
const maxKept = 64 << 10

type encoder struct {
	*codec.Encoder
	buf []byte
}

// NewCodec returns the codec of a handle, which must not be changed any more, and which it tells to leave the release of encoders
// and decoders to their owner.
func NewCodec(h *codec.MsgpackHandle) *Codec {
	h.ExplicitRelease = true
	c := new(Codec)
	c.encoders.New = func() any {
		e := &encoder{buf: make([]byte, 0, 1024)}
		e.Encoder = codec.NewEncoderBytes(&e.buf, h)
		return e
	}
	c.decoders.New = func() any { return codec.NewDecoderBytes(nil, h) }
	return c
}

// Append appends values, one after the other.
func (c *Codec) Append(to []byte, values ...any) ([]byte, error) {
	e := c.encoders.Get().(*encoder)
	e.buf = e.buf[:0]
	e.ResetBytes(&e.buf)
	for _, v := range values {
		if err := e.Encode(v); err != nil {
			return nil, err // the encoder is dropped: it may hold half a value
		}
	}
	to = append(slices.Grow(to, len(e.buf)), e.buf...)
	if cap(e.buf) <= maxKept {
		c.encoders.Put(e)
	}
	return to, nil
}

// nothing is no bytes. A Decoder takes nil for "go on with what there was", which may be somebody else's.
var nothing = []byte{}

// Decode fills values, which are pointers, from the front of data and returns the rest of it.
func (c *Codec) Decode(data []byte, values ...any) (rest []byte, err error) {
	if data == nil {
		data = nothing
	}
	d := c.decoders.Get().(*codec.Decoder)
	d.ResetBytes(data)
	for _, v := range values {
		if err := d.Decode(v); err != nil {
			return nil, err // the decoder is dropped: it may be anywhere
		}
	}
	n := d.NumBytesRead()
	d.ResetBytes(nothing)
	c.decoders.Put(d)
	return data[n:], nil
}

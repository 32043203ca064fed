package endpoint

import (
	"fmt"
	"reflect"
	"sync"

	"github.com/hashicorp/go-msgpack/v2/codec"

	"github.com/curia-mesh/curia/catalog"
)

// handle fixes how requests are encoded in the log: canonical, so that equal requests have equal bytes.
var handle = newHandle()

func newHandle() *codec.MsgpackHandle {
	h := &codec.MsgpackHandle{}
	h.RawToString = true
	h.Canonical = true
	h.ExplicitRelease = true // encoders and decoders are kept for reuse
	h.MaxDepth = 120         // requests nest less, and snapshots may nest more
	h.MapType = reflect.TypeFor[map[string]any]()
	Unseal(h)
	return h
}

// Unseal lets a codec carry secrets, which all others refuse. The log's and the snapshots' do.
func Unseal(h *codec.MsgpackHandle) {
	const tag = 83
	if err := h.SetBytesExt(reflect.TypeFor[catalog.Secret](), tag, secretExt{}); err != nil {
		panic(err) // a programming error
	}
}

type secretExt struct{}

// WriteExt implements codec.BytesExt.
func (secretExt) WriteExt(v any) []byte {
	if s, ok := v.(*catalog.Secret); ok {
		return []byte(s.Reveal())
	}
	return []byte(v.(catalog.Secret).Reveal())
}

// ReadExt implements codec.BytesExt.
func (secretExt) ReadExt(to any, b []byte) { *to.(*catalog.Secret) = catalog.NewSecret(string(b)) }

// encoder and decoder are kept for reuse with their buffers: making one costs more than using it.
type encoder struct {
	*codec.Encoder
	buf []byte
}

var (
	encoders = sync.Pool{New: func() any {
		e := &encoder{}
		e.Encoder = codec.NewEncoderBytes(&e.buf, handle)
		return e
	}}
	decoders = sync.Pool{New: func() any { return codec.NewDecoderBytes(nil, handle) }}
)

// maxKept is the largest buffer, in bytes, that is kept for reuse.
const maxKept = 64 << 10

func appendMsgpack(to []byte, v any) []byte {
	e := encoders.Get().(*encoder)
	e.buf = e.buf[:0]
	e.ResetBytes(&e.buf)
	if err := e.Encode(v); err != nil {
		panic(fmt.Sprintf("endpoint: %T cannot be encoded: %v", v, err)) // a type of the program's own
	}
	to = append(to, e.buf...)
	if cap(e.buf) <= maxKept {
		encoders.Put(e)
	}
	return to
}

// nothing is no bytes. A Decoder takes nil for "go on with what there was", which may be somebody else's.
var nothing = []byte{}

// decodeMsgpack fills into from data, which must hold one value and nothing else.
func decodeMsgpack(data []byte, into any) (err error) {
	defer func() {
		if r := recover(); r != nil { // the decoder is not ours, and the log may be damaged
			err = fmt.Errorf("malformed msgpack: %v", r)
		}
	}()
	if data == nil {
		data = nothing
	}
	d := decoders.Get().(*codec.Decoder) // dropped when it fails: it may be anywhere
	d.ResetBytes(data)
	if err := d.Decode(into); err != nil {
		return err
	}
	n := d.NumBytesRead()
	d.ResetBytes(nothing)
	decoders.Put(d)
	if n != len(data) {
		return fmt.Errorf("%d bytes follow the value", len(data)-n)
	}
	return nil
}

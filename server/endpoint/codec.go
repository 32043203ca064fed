package endpoint

import (
	"fmt"
	"reflect"
	"sync"

	"github.com/hashicorp/go-msgpack/v2/codec"
)

// handle fixes how requests are encoded in the log: canonical, so that equal requests have equal bytes.
var handle = newHandle()

func newHandle() *codec.MsgpackHandle {
	h := &codec.MsgpackHandle{}
	h.RawToString = true
	h.Canonical = true
	h.MapType = reflect.TypeFor[map[string]any]()
	return h
}

var encoders = sync.Pool{New: func() any { return codec.NewEncoderBytes(new([]byte), handle) }}

func appendMsgpack(to []byte, v any) []byte {
	var out []byte
	e := encoders.Get().(*codec.Encoder)
	e.ResetBytes(&out)
	if err := e.Encode(v); err != nil {
		panic(fmt.Sprintf("endpoint: %T cannot be encoded: %v", v, err)) // a type of the program's own
	}
	encoders.Put(e)
	return append(to, out...)
}

func decodeMsgpack(data []byte, into any) (err error) {
	defer func() {
		if r := recover(); r != nil { // the decoder is not ours, and the log may be damaged
			err = fmt.Errorf("malformed msgpack: %v", r)
		}
	}()
	return codec.NewDecoderBytes(data, handle).Decode(into)
}

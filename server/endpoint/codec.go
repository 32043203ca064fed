package endpoint

import (
	"fmt"
	"reflect"

	"github.com/hashicorp/go-msgpack/v2/codec"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
)

// requests fixes how requests are encoded in the log: canonical, so that equal requests have equal bytes.
var requests = rpc.NewCodec(newHandle())

func newHandle() *codec.MsgpackHandle {
	h := &codec.MsgpackHandle{}
	h.RawToString = true
	h.Canonical = true
	h.MaxDepth = 120 // requests nest less, and snapshots may nest more
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

func appendMsgpack(to []byte, v any) []byte {
	to, err := requests.Append(to, v)
	if err != nil {
		panic(fmt.Sprintf("endpoint: %T cannot be encoded: %v", v, err)) // a type of the program's own
	}
	return to
}

// decodeMsgpack fills into from data, which must hold one value and nothing else.
func decodeMsgpack(data []byte, into any) (err error) {
	defer func() {
		if r := recover(); r != nil { // the decoder is not ours, and the log may be damaged
			err = fmt.Errorf("malformed msgpack: %v", r)
		}
	}()
	rest, err := requests.Decode(data, into)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes follow the value", len(rest))
	}
	return err
}

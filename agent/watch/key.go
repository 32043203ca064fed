package watch

import (
	"encoding/binary"
	"sync"

	"github.com/curia-mesh/curia/rpc"
)

// keyed requests write what tells one query from another by themselves; others are encoded for it.
type keyed interface{ AppendKey([]byte) []byte }

// keys keeps the buffers that keys are written in.
type keys struct{ pool sync.Pool }

func (k *keys) get() *[]byte {
	if b, ok := k.pool.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, 0, 256)
	return &b
}

// maxKeptKey is the largest buffer, in bytes, that is kept for reuse.
const maxKeptKey = 4 << 10

func (k *keys) put(b *[]byte) {
	if cap(*b) <= maxKeptKey {
		*b = (*b)[:0]
		k.pool.Put(b)
	}
}

func appendPart(key []byte, s string) []byte {
	return append(binary.AppendUvarint(key, uint64(len(s))), s...)
}

// appendKey writes what tells one view from another. Lengths go in front, so that no token or filter can
// be chosen to look like another query's.
func (c *Cache) appendKey(key []byte, view, method string, h *rpc.Header, req any) ([]byte, error) {
	dc := h.Datacenter
	if dc == c.o.Datacenter {
		dc = ""
	}
	key = appendPart(appendPart(appendPart(key, view), method), dc)
	key = append(appendPart(appendPart(key, h.Token), h.Filter), byte(h.Consistency))
	if k, ok := req.(keyed); ok {
		return k.AppendKey(key), nil
	}
	data, err := rpc.Encode(req)
	return append(key, data...), err
}

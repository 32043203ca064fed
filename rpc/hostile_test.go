package rpc_test

import (
	"encoding/binary"

	"github.com/curia-mesh/curia/rpc"
)

// The wire, spelt out again: a change of it has to be meant.
const (
	kindCall = iota + 1
	kindOpen
	kindAnswer
	kindChunk
	kindData
	kindCancel
	kindCredit
	kindPing
)

func frame(kind byte, id uint64, payload []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(9+len(payload)))
	b = append(b, kind)
	b = binary.BigEndian.AppendUint64(b, id)
	return append(b, payload...)
}

func callPayload(method string, body []byte) []byte {
	name, _ := rpc.Encode(method)
	header, _ := rpc.Encode(&rpc.Header{Datacenter: "dc1"})
	return append(append(name, header...), body...)
}

package http2

import (
	"bytes"
	"hash/maphash"
	"strconv"

	"github.com/curia-mesh/curia/rpc/http1/wire"
)

// Encoder writes blocks of fields. A field enters the table when it comes for the second time within a while, so that
// those which differ from message to message push out none that do not.
type Encoder struct {
	table   table
	hashes  [maxEntries]uint64 // of the entries
	buckets [256]uint32        // the newest entry of each hash, by its low bits: its sequence number and one
	once    [256]uint64        // hashes that came lately
	out     []byte
	scratch []byte // a name and a value, one behind the other
	update  bool   // the peer has to be told of the table's size
	least   int    // that it was since
}

func newEncoder() *Encoder {
	return &Encoder{table: table{max: tableSize}}
}

// limit has the table be no larger than the peer wants it.
func (e *Encoder) limit(n uint32) {
	if max := int(min(n, tableSize)); max != e.table.max {
		e.table.resize(max)
		if !e.update || max < e.least {
			e.update, e.least = true, max
		}
	}
}

// mostScratch is how many bytes of scratch are kept.
const mostScratch = 16 << 10

// begin begins a block behind out.
func (e *Encoder) begin(out []byte) {
	e.out = out
	if cap(e.scratch) > mostScratch {
		e.scratch = nil
	}
	if e.update {
		e.update = false
		if e.least < e.table.max {
			e.out = appendInt(e.out, 0x20, 5, uint32(e.least))
		}
		e.out = appendInt(e.out, 0x20, 5, uint32(e.table.max))
	}
}

// Field adds a field, whose name may have upper-case letters.
func (e *Encoder) Field(name, value []byte) {
	e.scratch = append(append(e.scratch[:0], name...), value...)
	lower := e.scratch[:len(name)]
	for i, c := range lower {
		if 'A' <= c && c <= 'Z' {
			lower[i] = c | 0x20
		}
	}
	e.field(len(name))
}

// Pair adds a field whose value is of two parts.
func (e *Encoder) Pair(name, value, more []byte) {
	e.scratch = append(append(append(e.scratch[:0], name...), value...), more...)
	e.field(len(name))
}

// Text adds a field with a name in lower case.
func (e *Encoder) Text(name, value string) {
	e.scratch = append(append(e.scratch[:0], name...), value...)
	e.field(len(name))
}

// Number adds a field with a number.
func (e *Encoder) Number(name string, n int64) {
	e.scratch = strconv.AppendInt(append(e.scratch[:0], name...), n, 10)
	e.field(len(name))
}

// Lines adds fields that are written as lines of HTTP/1.1.
func (e *Encoder) Lines(lines []byte) {
	for len(lines) > 0 {
		n := bytes.Index(lines, crlf)
		if n < 0 {
			return
		}
		name, value, ok := bytes.Cut(lines[:n], colon)
		if ok {
			e.Field(name, bytes.Trim(value, " \t"))
		}
		lines = lines[n+2:]
	}
}

var (
	crlf  = []byte("\r\n")
	colon = []byte(":")
)

// field adds the field in scratch, whose name is so long and in lower case.
func (e *Encoder) field(size int) {
	name, value := e.scratch[:size:size], e.scratch[size:]
	if n := common(name, value); n > 0 {
		e.out = append(e.out, 0x80|n)
		return
	}
	h := maphash.Bytes(hashSeed, e.scratch) + uint64(size)
	if place := e.find(h, name, value); place > 0 {
		e.out = appendInt(e.out, 0x80, 7, uint32(len(static))+place)
		return
	}
	at := staticNames[string(name)]
	if at > 0 && at < 15 || at == 16 {
		if n := staticPairs[[2]string{string(name), string(value)}]; n > 0 {
			e.out = appendInt(e.out, 0x80, 7, uint32(n))
			return
		}
	}
	flag, bits := byte(0), uint(4)
	switch seen := &e.once[h>>8&0xff]; {
	case secret(name):
		flag = 0x10
	case *seen != h:
		*seen = h
	case len(name)+len(value)+entrySize <= e.table.max/2:
		flag, bits = 0x40, 6
		seq := e.table.next
		if e.table.add(name, value) {
			e.hashes[seq%maxEntries] = h
			e.buckets[h&0xff] = seq + 1
		}
	}
	e.out = appendInt(e.out, flag, bits, uint32(at))
	if at == 0 {
		e.out = append(appendInt(e.out, 0, 7, uint32(len(name))), name...)
	}
	e.out = append(appendInt(e.out, 0, 7, uint32(len(value))), value...)
}

// common is the place in the static table of what nearly every message has.
func common(name, value []byte) byte {
	switch string(name) {
	case ":method":
		switch string(value) {
		case "GET":
			return 2
		case "POST":
			return 3
		}
	case ":scheme":
		switch string(value) {
		case "http":
			return 6
		case "https":
			return 7
		}
	case ":status":
		if string(value) == "200" {
			return 8
		}
	}
	return 0
}

// find is the place of a field in the table, 0 for none.
func (e *Encoder) find(h uint64, name, value []byte) uint32 {
	seq := e.buckets[h&0xff]
	if seq == 0 || e.hashes[(seq-1)%maxEntries] != h {
		return 0
	}
	place := e.table.next - (seq - 1)
	n, v, ok := e.table.get(place)
	if !ok || !bytes.Equal(n, name) || !bytes.Equal(v, value) {
		return 0
	}
	return place
}

// secret reports whether a field is not to be guessed by who can have others compressed beside it.
// Source: RFC 7541, 7.1.3
func secret(name []byte) bool {
	switch wire.KindOf(name) {
	case wire.Authorization, wire.ProxyAuthorization, wire.Cookie:
		return true
	}
	return string(name) == "set-cookie"
}

// appendInt appends an integer with a prefix of some bits, below flags.
func appendInt(b []byte, flags byte, bits uint, n uint32) []byte {
	most := uint32(1)<<bits - 1
	if n < most {
		return append(b, flags|byte(n))
	}
	b = append(b, flags|byte(most))
	for n -= most; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

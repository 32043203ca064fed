package fsm

import (
	"encoding/binary"
	"errors"
)

// What values of msgpack take in memory at most, in bytes beside their text: an object becomes a struct,
// or a map. What a byte of a snapshot may take on the average is ten times what real rows do.
const (
	objectCost = 512
	pairCost   = 64
	listCost   = 96
	valueCost  = 32
	maxCost    = 48
	freeCost   = 4096
)

var errMalformed = errors.New("malformed msgpack")

// frugal refuses msgpack that would take far more memory than it is long: a list of empty objects can,
// for each of them is one byte, and hundreds once it is decoded.
func frugal(data []byte) error {
	cost := 0
	for at := 0; at < len(data); {
		size, price, ok := token(data[at:])
		if !ok || size > len(data)-at {
			return errMalformed
		}
		at += size
		cost += price
		if cost > maxCost*len(data)+freeCost {
			return errors.New("it would take far more memory than any real row")
		}
	}
	return nil
}

// token describes what data begins with: how long it is, without the values that it announces, and what
// it costs.
func token(data []byte) (size, price int, ok bool) {
	number := func(bytes int) int {
		if len(data) <= bytes {
			return -1
		}
		var b [8]byte
		copy(b[8-bytes:], data[1:])
		return int(binary.BigEndian.Uint64(b[:]))
	}
	text := func(head, n int) (int, int, bool) { return head + n, valueCost + n, n >= 0 }
	list := func(head, n int) (int, int, bool) { return head, listCost, n >= 0 }
	object := func(head, n int) (int, int, bool) { return head, objectCost + n*pairCost, n >= 0 }
	plain := func(n int) (int, int, bool) { return n, valueCost, true }
	switch b := data[0]; {
	case b < 0x80, b >= 0xe0, b == 0xc0, b == 0xc2, b == 0xc3:
		return plain(1)
	case b < 0x90:
		return object(1, int(b&0x0f))
	case b < 0xa0:
		return list(1, int(b&0x0f))
	case b < 0xc0:
		return text(1, int(b&0x1f))
	case b >= 0xcc && b <= 0xcf:
		return plain(1 + 1<<(b-0xcc))
	case b >= 0xd0 && b <= 0xd3:
		return plain(1 + 1<<(b-0xd0))
	case b == 0xca:
		return plain(5)
	case b == 0xcb:
		return plain(9)
	case b == 0xc4, b == 0xd9:
		return text(2, number(1))
	case b == 0xc5, b == 0xda:
		return text(3, number(2))
	case b == 0xc6, b == 0xdb:
		return text(5, number(4))
	case b == 0xdc:
		return list(3, number(2))
	case b == 0xdd:
		return list(5, number(4))
	case b == 0xde:
		return object(3, number(2))
	case b == 0xdf:
		return object(5, number(4))
	}
	return 0, 0, false // extensions, which we never write
}

package http2

import (
	"errors"

	"golang.org/x/net/http2/hpack"
)

// decoder reads blocks of fields. What it returns is valid until it reads on.
type decoder struct {
	table   table
	limit   int // that the table may be resized to
	scratch []byte
}

func newDecoder() *decoder { return &decoder{table: table{max: tableSize}, limit: tableSize} }

var errBlock = errors.New("malformed header block")

// updates reads the size updates that a block may begin with.
func (d *decoder) updates(b []byte) ([]byte, error) {
	for len(b) > 0 && b[0]>>5 == 1 {
		n, rest, err := readInt(b, 5)
		if err != nil || int(n) > d.limit {
			return nil, errBlock
		}
		d.table.resize(int(n))
		b = rest
	}
	return b, nil
}

// field reads one field, and returns what is behind it.
func (d *decoder) field(b []byte) (name, value, rest []byte, err error) {
	switch {
	case b[0]&0x80 != 0:
		n, rest, err := readInt(b, 7)
		if err != nil {
			return nil, nil, nil, err
		}
		name, value, ok := d.indexed(n)
		if !ok {
			return nil, nil, nil, errBlock
		}
		return name, value, rest, nil
	case b[0]&0x40 != 0:
		if name, value, rest, err = d.literal(b, 6); err == nil {
			d.table.add(name, value)
		}
		return name, value, rest, err
	case b[0]&0x20 != 0: // a size update has its place at the beginning
		return nil, nil, nil, errBlock
	}
	return d.literal(b, 4)
}

func (d *decoder) indexed(n uint32) (name, value []byte, ok bool) {
	if n == 0 {
		return nil, nil, false
	}
	if int(n) <= len(static) {
		s := &staticBytes[n-1]
		return s[0], s[1], true
	}
	return d.table.get(n - uint32(len(static)))
}

// literal reads a field whose value is written out, into scratch.
func (d *decoder) literal(b []byte, bits uint) (name, value, rest []byte, err error) {
	d.scratch = d.scratch[:0]
	n, b, err := readInt(b, bits)
	if err != nil {
		return nil, nil, nil, err
	}
	if n == 0 {
		if b, err = d.text(b); err != nil {
			return nil, nil, nil, err
		}
	} else {
		name, _, ok := d.indexed(n)
		if !ok {
			return nil, nil, nil, errBlock
		}
		d.scratch = append(d.scratch, name...)
	}
	mid := len(d.scratch)
	if b, err = d.text(b); err != nil {
		return nil, nil, nil, err
	}
	return d.scratch[:mid:mid], d.scratch[mid:], b, nil
}

// text reads a string behind scratch.
func (d *decoder) text(b []byte) ([]byte, error) {
	if len(b) == 0 {
		return nil, errBlock
	}
	coded := b[0]&0x80 != 0
	n, b, err := readInt(b, 7)
	if err != nil || int64(n) > int64(len(b)) {
		return nil, errBlock
	}
	if !coded {
		d.scratch = append(d.scratch, b[:n]...)
	} else if _, err := hpack.HuffmanDecode((*appender)(&d.scratch), b[:n]); err != nil {
		return nil, errBlock
	}
	return b[n:], nil
}

// appender appends what is written.
type appender []byte

// Write implements io.Writer.
func (a *appender) Write(b []byte) (int, error) {
	*a = append(*a, b...)
	return len(b), nil
}

// readInt reads an integer with a prefix of some bits. None that means something here has more than 28.
// Source: RFC 7541, 5.1
func readInt(b []byte, bits uint) (uint32, []byte, error) {
	if len(b) == 0 {
		return 0, nil, errBlock
	}
	most := byte(1)<<bits - 1
	n := uint32(b[0] & most)
	b = b[1:]
	if n < uint32(most) {
		return n, b, nil
	}
	for shift := 0; shift < 28; shift += 7 {
		if len(b) == 0 {
			return 0, nil, errBlock
		}
		c := b[0]
		b = b[1:]
		n += uint32(c&0x7f) << shift
		if c&0x80 == 0 {
			return n, b, nil
		}
	}
	return 0, nil, errBlock
}

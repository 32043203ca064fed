package proxy

import "sync"

// buffer is what bodies and streams are passed on through, borrowed while they are.
type buffer struct{ b []byte }

const bufferSize = 32 << 10

var buffers = sync.Pool{New: func() any { return &buffer{make([]byte, bufferSize)} }}

// idleSize is how many bytes of a request are read at first.
const idleSize = 4 << 10

// idles are what the first bytes of a request are read into.
var idles = sync.Pool{New: func() any { return &buffer{make([]byte, idleSize)} }}

// outs are what messages are written through. They grow with what is in them.
var outs = sync.Pool{New: func() any { return &buffer{make([]byte, 0, 4<<10)} }}

// give gives back one of outs, with the memory that it has become.
func (b *buffer) give(out []byte) {
	if cap(out) <= maxRoom {
		b.b = out[:0]
		outs.Put(b)
	}
}

package http2

import "sync"

// chunk is a piece of what came of a body.
type chunk struct {
	b    [minFrame]byte
	r, w int
}

var chunkPool = sync.Pool{New: func() any { return new(chunk) }}

// chunks is what came of a body and was not read, in borrowed memory.
type chunks struct {
	all []*chunk
	at  int // the first
	n   int // bytes
}

// add copies b behind what there is.
func (q *chunks) add(b []byte) {
	q.n += len(b)
	for len(b) > 0 {
		var last *chunk
		if k := len(q.all); k > q.at {
			last = q.all[k-1]
		}
		if last == nil || last.w == len(last.b) {
			last = chunkPool.Get().(*chunk)
			last.r, last.w = 0, 0
			if q.at > 0 && q.at == len(q.all) {
				q.all, q.at = q.all[:0], 0
			}
			q.all = append(q.all, last)
		}
		n := copy(last.b[last.w:], b)
		last.w += n
		b = b[n:]
	}
}

// take takes the first piece, nil when there is none. It has to be given back.
func (q *chunks) take() *chunk {
	if q.at == len(q.all) {
		return nil
	}
	c := q.all[q.at]
	q.all[q.at] = nil
	q.at++
	q.n -= c.w - c.r
	return c
}

func (c *chunk) bytes() []byte { return c.b[c.r:c.w] }

func (c *chunk) give() { chunkPool.Put(c) }

// clear gives everything back.
func (q *chunks) clear() {
	for c := q.take(); c != nil; c = q.take() {
		c.give()
	}
	q.all, q.at, q.n = q.all[:0], 0, 0
}

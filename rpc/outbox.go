package rpc

import (
	"bufio"
	"runtime"
	"slices"
	"sync"
)

const (
	// rotation is how many long messages are under way at once; the others wait. The far side holds no
	// more unfinished ones.
	rotation = 8
	// roundBytes is how much of long messages is written before the short ones have their turn again.
	roundBytes = 64 << 10
)

// message is one thing to be sent. Its payload is head and body, which nobody changes any more.
type message struct {
	kind kind
	id   uint64
	head []byte
	body []byte
	// paced puts a short message among the long ones: the bytes of a stream.
	paced bool

	off int // payload bytes already written
}

func (m *message) left() int { return len(m.head) + len(m.body) - m.off }

// outbox holds what waits for a connection's one writer. Short messages go in order and first, long ones in
// turns of a chunk each. Putting never blocks: whoever puts sees to it that what waits is bounded.
type outbox struct {
	wake chan struct{} // tells the writer that there is something; holds one

	mu    sync.Mutex
	short []message
	long  []message

	// The writer's own.
	spare  []message
	active []message // long messages under way
}

func newOutbox() outbox { return outbox{wake: make(chan struct{}, 1)} }

func (o *outbox) put(m message) {
	o.mu.Lock()
	first := len(o.short)+len(o.long) == 0
	if m.paced || m.left() > chunkSize {
		o.long = append(o.long, m)
	} else {
		o.short = append(o.short, m)
	}
	o.mu.Unlock()
	if first {
		notify(o.wake)
	}
}

// round writes what is queued, at most roundBytes of it from long messages, and reports whether there was
// anything. sent is told every message whose last byte has gone.
func (o *outbox) round(w *bufio.Writer, sent func(*message)) (bool, error) {
	o.mu.Lock()
	short := o.short
	o.short = o.spare[:0]
	if n := min(rotation-len(o.active), len(o.long)); n > 0 {
		o.active = append(o.active, o.long[:n]...)
		clear(o.long[:n])
		o.long = o.long[n:]
	}
	o.mu.Unlock()
	if len(short)+len(o.active) == 0 {
		o.spare = short
		return false, nil
	}
	for i := range short {
		m := &short[i]
		if m.kind == kindCancel && !o.drop(m.id, sent) {
			continue
		}
		if m.kind == kindDrop {
			o.drop(m.id, sent)
			continue
		}
		if err := m.writeFrame(w); err != nil {
			return true, err
		}
		sent(m)
	}
	clear(short)
	if o.spare = short; cap(short) > 1024 {
		o.spare = nil // a burst is over
	}
	for written := 0; written < roundBytes && len(o.active) > 0; written += chunkSize {
		m := o.active[0]
		o.active = slices.Delete(o.active, 0, 1)
		if err := m.writeFrame(w); err != nil {
			return true, err
		}
		if m.left() > 0 {
			o.active = append(o.active, m)
		} else {
			sent(&m)
		}
	}
	return true, nil
}

// drop removes the long messages of a cancelled call and reports whether the far side knows of the call: a
// call none of which was sent needs no cancel frame.
func (o *outbox) drop(id uint64, sent func(*message)) bool {
	var gone []message
	take := func(m message) bool {
		if m.id == id {
			gone = append(gone, m)
		}
		return m.id == id
	}
	o.active = slices.DeleteFunc(o.active, take)
	o.mu.Lock()
	o.long = slices.DeleteFunc(o.long, take)
	o.mu.Unlock()
	known := true
	for i := range gone {
		m := &gone[i]
		known = known && (m.kind != kindCall && m.kind != kindOpen || m.off > 0)
		sent(m) // without the lock: it may put
	}
	return known
}

// writeFrame writes the message's next frame: all that is left of it, or a chunk.
func (m *message) writeFrame(w *bufio.Writer) error {
	k, n := m.kind, m.left()
	if n > chunkSize {
		k, n = kindChunk, chunkSize
	}
	var header [frameHeader]byte
	putFrameHeader(&header, k, m.id, n)
	w.Write(header[:])
	if m.off < len(m.head) {
		part := m.head[m.off:min(len(m.head), m.off+n)]
		w.Write(part)
		m.off += len(part)
		n -= len(part)
	}
	if n > 0 {
		from := m.off - len(m.head)
		w.Write(m.body[from : from+n])
		m.off += n
	}
	_, err := w.Write(nil) // a bufio.Writer keeps its first error
	return err
}

// drain writes until nothing is queued, or for long enough, one flush a round. It yields once before each, so
// that all who are about to send share the flush.
func (o *outbox) drain(w *bufio.Writer, sent func(*message)) error {
	for range 64 {
		runtime.Gosched()
		if some, err := o.round(w, sent); err != nil || !some {
			return err
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	notify(o.wake)
	return nil
}

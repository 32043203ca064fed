package proxy

import (
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/curia-mesh/curia/rpc/http1/wire"
)

// writer writes messages of HTTP/1.1 to a connection, as much as there is at once.
type writer struct {
	conn    net.Conn
	cork    *cork  // under it, with TLS
	plain   plain  // nil where there is more than a socket
	out     []byte // not written yet
	writeBy time.Time
	part    int // bytes that the peer has to take
	time    time.Duration
	torn    bool        // not all that was to be written was
	stop    atomic.Bool // nothing is waited for
}

// plain is a socket that does not make wait who does not want to.
type plain interface {
	// offer writes what is taken at once.
	offer(b []byte) (int, error)
	// ask writes a question, as far as it is taken at once, and reads what there is of the answer, nothing when not all was taken.
	// Nobody looks for the answer before it was waited for: what came before the question, be it the end of the connection, is
	// only seen by the next read, so the read deadline has to be near.
	ask(question, answer []byte) (written, n int, err error)
}

// over has it write to a connection.
func (w *writer) over(c net.Conn) {
	w.conn, w.cork = c, corkOf(c)
	w.plain, _ = c.(plain)
}

// Sizes in bytes.
const (
	maxJoined = 32 << 10 // how much is worth copying so that it leaves in one write
	maxRoom   = 64 << 10 // how much room is kept for the next message
)

// flush writes what there is.
func (w *writer) flush() error {
	if len(w.out) == 0 {
		return nil
	}
	err := w.pass(w.out)
	w.out = w.out[:0]
	return err
}

// pass writes all of b. What is taken at once needs no deadline.
func (w *writer) pass(b []byte) error {
	var err error
	if w.plain != nil {
		var n int
		n, err = w.plain.offer(b)
		b = b[n:]
	}
	if err == nil && len(b) > 0 {
		err = w.wait(b)
	}
	w.torn = w.torn || err != nil
	return err
}

// wait writes in parts, each of which the peer has to take in time.
func (w *writer) wait(b []byte) error {
	for len(b) > 0 {
		n := min(len(b), w.part)
		if by := time.Now().Add(w.time); w.writeBy.Before(by) {
			w.writeBy = by.Add(slack)
			w.conn.SetWriteDeadline(w.writeBy)
		}
		if w.stop.Load() {
			return os.ErrDeadlineExceeded
		}
		if err := w.cork.through(w.conn, b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	if w.plain != nil { // nothing can be offered once it has passed
		w.writeBy = time.Time{}
		w.conn.SetWriteDeadline(w.writeBy)
	}
	return nil
}

// interrupt ends a wait that is under way, in another goroutine, and those that follow; false undoes that.
func (w *writer) interrupt(on bool) {
	w.stop.Store(on)
	if on {
		w.conn.SetWriteDeadline(past)
		return
	}
	w.writeBy = time.Time{}
	w.conn.SetWriteDeadline(w.writeBy)
}

// body adds a part of a body.
func (w *writer) body(length int64, part []byte) error {
	if len(part) == 0 {
		return nil
	}
	if length == wire.Chunked {
		w.out = strconv.AppendUint(w.out, uint64(len(part)), 16)
		w.out = append(append(append(w.out, '\r', '\n'), part...), '\r', '\n')
	} else if len(w.out) == 0 && len(part) >= maxJoined {
		return w.pass(part)
	} else {
		w.out = append(w.out, part...)
	}
	if len(w.out) >= maxJoined {
		return w.flush()
	}
	return nil
}

// end ends a body.
func (w *writer) end(length int64, trailers []byte) {
	if length == wire.Chunked {
		w.out = append(append(append(w.out, '0', '\r', '\n'), trailers...), '\r', '\n')
	}
}

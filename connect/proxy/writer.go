package proxy

import (
	"net"
	"strconv"
	"time"

	"github.com/curia-mesh/curia/rpc/http1/wire"
)

// writer writes messages of HTTP/1.1 to a connection, as much as there is at once.
type writer struct {
	conn    net.Conn
	cork    *cork  // under it, with TLS
	ready   ready  // nil where it is not
	out     []byte // not written yet
	writeBy time.Time
	part    int // bytes that the peer has to take
	time    time.Duration
}

// ready is a connection between plain sockets that does not make wait who does not want to.
type ready interface {
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
	w.ready, _ = c.(ready)
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

// pass writes in parts, each of which the peer has to take in time. No deadline is needed for what is taken at once.
func (w *writer) pass(b []byte) error {
	if w.ready != nil {
		n, err := w.ready.offer(b)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	for len(b) > 0 {
		n := min(len(b), w.part)
		if by := time.Now().Add(w.time); w.writeBy.Before(by) {
			w.writeBy = by.Add(slack)
			w.conn.SetWriteDeadline(w.writeBy)
		}
		if _, err := w.cork.through(w.conn, b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
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

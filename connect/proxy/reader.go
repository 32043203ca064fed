package proxy

import (
	"io"
	"net"
	"net/http"
	"time"

	"github.com/curia-mesh/curia/rpc/http1/wire"
)

// reader reads messages of HTTP/1.1 from a connection. What it returns is valid until it reads again.
type reader struct {
	conn net.Conn
	in   []byte
	r, w int
	big  *buffer // in is its, when it is borrowed

	readBy time.Time // the deadline that is set
	limit  time.Time // that reads must not go beyond; zero for none

	// Of the present body:
	length   int64 // as of a head; of one in bytes what is left of it
	chunks   wire.Chunks
	ended    bool
	err      error
	part     int           // how much of it has to come
	partTime time.Duration // in this time
	left     int           // of the part
	total    int64
}

// slack is how much later than they should timeouts may end, so that they need not be set for each message.
const slack = 250 * time.Millisecond

// patience bounds the reads that follow.
func (r *reader) patience(now time.Time, d time.Duration) {
	by := now.Add(d)
	if !r.limit.IsZero() && r.limit.Before(by) {
		by = r.limit
	}
	if r.readBy.Before(by) || r.readBy.After(by.Add(slack)) {
		r.readBy = by.Add(slack)
		r.conn.SetReadDeadline(r.readBy)
	}
}

// fill reads what there is room for, and makes room.
func (r *reader) fill() error {
	switch {
	case r.r == r.w:
		r.r, r.w = 0, 0
	case r.w == len(r.in) && r.r > 0:
		r.w, r.r = copy(r.in, r.in[r.r:r.w]), 0
	case r.w == len(r.in):
		r.grow()
	}
	n, err := r.conn.Read(r.in[r.w:])
	if r.w += n; n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// grow makes more room than there is.
func (r *reader) grow() {
	if r.big == nil && len(r.in) < bufferSize {
		b := buffers.Get().(*buffer)
		r.w, r.r = copy(b.b, r.in[r.r:r.w]), 0
		r.in, r.big = b.b, b
		return
	}
	more := make([]byte, 4*len(r.in))
	r.w, r.r = copy(more, r.in[r.r:r.w]), 0
	r.shrink(more)
}

// shrink goes on with another buffer, and gives back the one that was borrowed.
func (r *reader) shrink(in []byte) {
	if r.big != nil {
		buffers.Put(r.big)
		r.big = nil
	}
	r.in = in
}

// readHead reads until a head is complete. It can be called again after a timeout.
func (r *reader) readHead(most int) ([]byte, error) {
	var e wire.End
	for {
		n, err := e.Find(r.in[r.r:r.w])
		if n > most || n == 0 && r.w-r.r >= most {
			err = &wire.Error{Status: http.StatusRequestHeaderFieldsTooLarge, Reason: "the head is too long"}
		}
		if err != nil {
			return nil, err
		}
		if n > 0 {
			head := r.in[r.r : r.r+n]
			r.r += n
			return head, nil
		}
		if err := r.fill(); err != nil {
			return nil, err
		}
	}
}

// begin begins with a body that is as long as a head says.
func (r *reader) begin(length int64, part int, partTime time.Duration) {
	r.length, r.ended, r.err, r.part, r.partTime, r.left, r.total = length, length == 0, nil, part, partTime, 0, 0
	if length == wire.Chunked {
		r.chunks.Begin(true)
	}
}

// buffered reports whether next has something to return without waiting.
func (r *reader) buffered() bool {
	r.frame()
	return r.r < r.w || r.ended || r.err != nil
}

// frame reads what there is of framing before data.
func (r *reader) frame() {
	if r.length != wire.Chunked || r.ended || r.err != nil || r.chunks.InData() {
		return
	}
	n, err := r.chunks.Next(r.in[r.r:r.w])
	r.r += n
	r.err, r.ended = err, r.chunks.Ended()
}

// next is the next part of the body, and io.EOF at its end. Framing is not part of it.
func (r *reader) next() ([]byte, error) {
	for {
		r.frame()
		switch {
		case r.err != nil:
			return nil, r.err
		case r.ended:
			return nil, io.EOF
		case r.r < r.w:
			return r.take(), nil
		}
		err := r.more()
		switch {
		case err == io.EOF && r.length == wire.UntilClose:
			r.ended = true
		case err != nil:
			r.err = cut(err)
		}
	}
}

// take is what there is of the body's data.
func (r *reader) take() []byte {
	n := r.w - r.r
	switch r.length {
	case wire.UntilClose:
	case wire.Chunked:
		n = int(min(int64(n), r.chunks.Left))
		r.chunks.Data(n)
	default:
		n = int(min(int64(n), r.length))
		r.length -= int64(n)
		r.ended = r.length == 0
	}
	part := r.in[r.r : r.r+n]
	r.r += n
	r.total += int64(n)
	return part
}

// more reads more of a body, which has to come in time.
func (r *reader) more() error {
	if r.left <= 0 {
		r.left = r.part
		r.patience(time.Now(), r.partTime)
	}
	if r.r == r.w && r.big == nil && len(r.in) < bufferSize && (r.length < 0 || r.length > int64(len(r.in))) {
		r.grow()
	}
	before := r.w - r.r
	err := r.fill()
	r.left -= r.w - r.r - before
	return err
}

// cut makes the end of the connection one that came too early.
func cut(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// rear are the lines of the trailer section of a body that has ended.
func (r *reader) rear() []byte {
	if r.length != wire.Chunked {
		return nil
	}
	return r.chunks.Trailers
}

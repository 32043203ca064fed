package proxy

import (
	"io"
	"net"
	"time"

	"github.com/curia-mesh/curia/rpc/http1/wire"
)

// near is the end of an exchange that its caller is at. Its methods are called by one goroutine, but for next, over, rear
// and interrupt, which another may call while the response is being passed on.
type near interface {
	// next is the next part of the request's body, io.EOF at its end, and buffered whether there is one without waiting.
	next() ([]byte, error)
	buffered() bool
	// over reports whether the body was read to its end, rear are the lines of the trailers behind it, and taken is how
	// many bytes it had so far.
	over() bool
	rear() []byte
	taken() int64
	// drain reads what is left of a body. It reports whether the connection can go on.
	drain() bool
	// interrupt ends a read of the body that is under way, and those that follow; false undoes that.
	interrupt(bool)

	// interim writes a response before the final one, at once.
	interim(h *wire.Head, text []byte) error
	// respond begins the response. An error of package wire means that this cannot be one, and nothing was written.
	respond(h *wire.Head, text []byte) error
	// body adds a part of the response, which may be known to be the last, finish its end, and flush writes what there is
	// so far.
	body(part []byte, last bool) error
	finish(trailers []byte) error
	flush() error
	// answer is a whole response in place of an endpoint's, with more fields in lines. It reports whether it was written.
	answer(status int, reason, fields string, headOnly, stay bool) bool
	// abort makes the caller see that the response broke.
	abort()
	// gone reports whether the caller does not wait any more.
	gone() bool

	// passOn takes note of what has to be closed when the caller is cut. It reports whether it is not yet.
	passOn(to io.Closer) bool
	// switchOver passes on that the protocol changes, with the bytes that came behind, and tunnel is the connection then.
	switchOver(h *wire.Head, text, rest []byte) error
	tunnel() (c net.Conn, early []byte)
}

// far is the end of an exchange that an endpoint is at: a connection of HTTP/1.1, or a stream of HTTP/2. Its methods are
// called by one goroutine, but for more, finish, interrupt and Close, which another may call while the response is
// being read.
type far interface {
	// send writes the head of a request with what there is of its body, all of it or not, at once. A whole request may leave with
	// receive only, which has its errors then.
	send(q *request, part []byte, whole bool) error
	// more writes more of the body, finish its end.
	more(part []byte) error
	finish(trailers []byte) error
	// interrupt ends a write that is under way, and those that follow; false undoes that.
	interrupt(bool)

	// receive waits for the head of a response, interim or not, until a time. When that takes a while it asks x now and
	// then whether anybody still waits. The head and its text are valid until the body is read.
	receive(x *exchange, headOnly bool, by time.Time) (*wire.Head, []byte, error)
	// begin begins with the body of the response, no part of which may take longer than idle, nor all of it than limit.
	begin(length int64, idle time.Duration, limit time.Time)
	// next is the next part of the response's body, io.EOF at its end, and buffered whether there is one without waiting.
	next() ([]byte, error)
	buffered() bool
	trailers() []byte
	taken() int64
	// last reports whether nothing comes behind the part that next returned, not even trailers.
	last() bool
	// rears reports whether trailers may come behind a body whose length was said, as they may in HTTP/2.
	rears() bool
	// tunnel is the connection once the protocol has changed, and rest what came behind the response.
	tunnel() (c net.Conn, rest []byte)

	// stale reports whether the connection was kept from before and nothing came of a response, so that the endpoint may
	// have given it up before it saw the request.
	stale() bool
	// lost is why the connection was given up as silent, nil where it was not.
	lost() error
	// Close ends the exchange as broken; release ends it in order, and keeps what is fit for another.
	io.Closer
	release(fit bool, now time.Time)
}

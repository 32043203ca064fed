package rpc

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
)

// Handler answers one call. Its Body is a Raw and its NewReply is nil, so a Caller can forward it as it is.
// ctx ends when the caller gives up or its connection dies. Handlers run in a goroutine each; a Body that
// many of them return is encoded once.
type Handler func(ctx context.Context, peer Peer, call *Call) (Answer, error)

// StreamHandler answers one call with a stream, which ends with its return: the caller then reads io.EOF or
// the error. The call is as a Handler gets it; stream is as Stream describes.
type StreamHandler func(ctx context.Context, peer Peer, call *Call, stream io.ReadWriter) error

// ServerOptions configure a Server. A zero field means its default.
type ServerOptions struct {
	Handler Handler
	// Streams may be nil: no streams then.
	Streams StreamHandler
	// Parks reports whether a call changes nothing and may wait long, so that the end of a Listener cuts it off
	// instead of waiting for it. Nil is that none does.
	Parks  func(*Call) bool
	Encode EncodeError
	Limits Limits
	// MaxCalls bounds the calls of one connection that are not answered yet; default 32,768. More are
	// refused with code "limited"; twice as many end the connection.
	MaxCalls int
	// MaxStreams bounds the streams of one connection; default 128. Each may hold 512 KiB.
	MaxStreams int
	// MaxHeld bounds the bytes of unanswered requests of all connections together; default 192 MiB. Each
	// connection may have as much of it as is left for the others: the half when it is alone, and however many
	// take what they get, for example with requests that they never finish, whoever comes next finds some.
	MaxHeld int64
	// MaxUnsent bounds the bytes of answers that a connection's peer has not read yet; default 256 MiB. What
	// exceeds it is answered with code "limited".
	MaxUnsent int
	// Log may be nil.
	Log *slog.Logger
}

// Server answers the calls of many connections.
type Server struct {
	o    ServerOptions
	held atomic.Int64 // bytes of unanswered requests

	ending context.Context // ends when no more calls may begin
	end    context.CancelFunc
}

// NewServer makes a server; a Listener brings it connections.
func NewServer(o ServerOptions) *Server {
	o.Limits = o.Limits.withDefaults()
	def(&o.MaxCalls, 32<<10)
	def(&o.MaxStreams, 128)
	def(&o.MaxHeld, 192<<20)
	def(&o.MaxUnsent, 256<<20)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Parks == nil {
		o.Parks = func(*Call) bool { return false }
	}
	s := &Server{o: o}
	s.ending, s.end = context.WithCancel(context.Background())
	return s
}

// Serve answers the calls that come in on conn, and closes it, until it dies or ctx ends. It returns once all
// its handlers have; the error is nil when either side just closed.
func (s *Server) Serve(ctx context.Context, conn net.Conn, peer Peer) error {
	return s.serve(ctx, conn, peer, func(func()) {})
}

// serve is Serve. begun gets what lets no more calls begin, and says so to the peer once those under way are answered.
func (s *Server) serve(ctx context.Context, conn net.Conn, peer Peer, begun func(retire func())) error {
	// Calls end after the connection: a caller then sees that it was lost, and not an answer made of the
	// handler's canceled context.
	calls, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	c := &serverConn{
		link: newLink(conn, s.o.Limits), server: s, peer: peer,
		calls: make(map[uint64]*serverCall), parts: make(map[uint64]*request),
	}
	defer context.AfterFunc(ctx, func() { c.kill(errClosed) })()
	defer context.AfterFunc(s.ending, c.end)()
	begun(c.end)
	var writer sync.WaitGroup
	writer.Go(func() { c.write(c.sent, func() error { return nil }) })
	c.read(func(f frame) error { return c.receive(calls, f) })
	cancel()
	c.handlers.Wait()
	writer.Wait()
	s.held.Add(-c.held.Load())
	if errors.Is(c.err, io.EOF) || errors.Is(c.err, errClosed) {
		return nil
	}
	return c.err
}

package http1

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Server serves a handler on connections. Its fields do not change while it serves.
//
// The request that a handler gets, its URL and its header are the handler's until it returns, and are used again
// then; their strings stay. What a request says in trailers is dropped, and answers have none.
type Server struct {
	Handler http.Handler
	// Base is what the contexts of requests are made of: their values, and an end.
	Base context.Context
	// MaxHead is how many bytes the head of a request may have.
	MaxHead int
	// HeadTime is how long a head may take from its first byte on, and until it on a new connection. IdleTime is how
	// long a connection may be without a request.
	HeadTime, IdleTime time.Duration
	// Part is how many bytes of a body a client has to send, or of an answer to take, in PartTime. Between the parts
	// of an answer it may be as long as it likes.
	Part     int
	PartTime time.Duration
	Log      *slog.Logger

	ending atomic.Bool
	mu     sync.Mutex
	conns  map[*Conn]struct{}
	served sync.WaitGroup
}

// slack is how much later than they should timeouts may end, so that they need not be set for each request.
const slack = 250 * time.Millisecond

// Serve accepts connections and serves them until the listener is closed. It returns before they end.
func (s *Server) Serve(l net.Listener) error {
	var pause time.Duration
	for {
		rw, err := l.Accept()
		if err != nil {
			if t, ok := err.(interface{ Temporary() bool }); !ok || !t.Temporary() || errors.Is(err, net.ErrClosed) {
				return err
			}
			pause = min(max(2*pause, 5*time.Millisecond), time.Second) // such as too many open files
			s.Log.Warn("accepting a connection", "err", err, "again", pause)
			time.Sleep(pause)
			continue
		}
		pause = 0
		if c := s.admit(rw); c != nil {
			go c.serve(s.HeadTime) // ends with the connection
		}
	}
}

// admit takes a connection in, or closes it when the server is ending.
func (s *Server) admit(rw net.Conn) *Conn {
	c := &Conn{Conn: rw, server: s, remote: rw.RemoteAddr().String()}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending.Load() {
		rw.Close()
		return nil
	}
	if s.conns == nil {
		s.conns = map[*Conn]struct{}{}
	}
	s.conns[c] = struct{}{}
	s.served.Add(1)
	return c
}

// Shutdown closes the connections that have no request and lets the others finish theirs until ctx ends; then it
// closes them. It returns when none is served any more. Those that were taken are their taker's to end.
func (s *Server) Shutdown(ctx context.Context) {
	s.mu.Lock()
	s.ending.Store(true)
	for c := range s.conns {
		if c.state.CompareAndSwap(idle, closed) {
			c.Conn.Close()
		}
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() { // ends with the last connection
		s.served.Wait()
		close(done)
	}()
	select {
	case <-done:
		return
	case <-ctx.Done():
	}
	s.mu.Lock()
	for c := range s.conns {
		if c.state.Load() != taken {
			c.abort()
		}
	}
	s.mu.Unlock()
	<-done
}

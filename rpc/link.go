package rpc

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Limits bound what one connection may cost. A zero field means its default.
type Limits struct {
	// Keepalive is the time between two pings of a side; default 15 s. A connection is dead when nothing
	// arrived for three times as long, so both sides need the same value.
	Keepalive time.Duration
	// WriteTimeout bounds a write of at most 64 KiB; default 10 s.
	WriteTimeout time.Duration
	// MaxMessage bounds one request or answer, in bytes; default 64 MiB. What is longer takes a Stream.
	MaxMessage int
}

func (l Limits) withDefaults() Limits {
	def(&l.Keepalive, 15*time.Second)
	def(&l.WriteTimeout, 10*time.Second)
	def(&l.MaxMessage, 64<<20)
	return l
}

func def[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

var (
	errSilent  = errors.New("nothing heard for three keepalive intervals")
	errStuck   = errors.New("nothing heard, while the server answers on another connection")
	errOverrun = errors.New("the peer sent more than its credit")
	errTooMany = errors.New("the peer has too much under way")
	errDupID   = errors.New("the peer used a call id twice")
	errKind    = errors.New("the peer sent a frame out of place")
	errIdle    = errors.New("the connection was idle")
	errClosed  = errors.New("the connection was closed")
	errBye     = errors.New("the server is about to end")
)

// link is one connection that carries frames. Its owner reads; one goroutine writes; the first error kills
// it, and everyone sees that in dead.
type link struct {
	conn   net.Conn
	limits Limits
	out    outbox
	frames atomic.Uint32 // that have arrived

	dead chan struct{} // closed once err is set
	once sync.Once
	err  error
}

func newLink(conn net.Conn, limits Limits) link {
	return link{conn: conn, limits: limits, out: newOutbox(), dead: make(chan struct{})}
}

// kill ends the link because of err; only the first one counts.
func (l *link) kill(err error) {
	l.once.Do(func() {
		l.err = err
		close(l.dead)
		closeNow(l.conn)
	})
}

// why is what killed the link, nil while it lives.
func (l *link) why() error {
	select {
	case <-l.dead:
		return l.err
	default:
		return nil
	}
}

// closeNow closes a connection without waiting to tell the peer: TLS would try that for up to 5 s. Frames
// tell by themselves where they end.
func closeNow(conn net.Conn) error {
	if secured, ok := conn.(*tls.Conn); ok {
		return secured.NetConn().Close()
	}
	return conn.Close()
}

// read hands every frame to on until the link dies, and kills it when on fails. on must not block.
func (l *link) read(on func(frame) error) {
	r := frameReader{r: bufio.NewReaderSize(l.conn, 8<<10)}
	for {
		f, err := r.next()
		if err == nil {
			l.frames.Add(1)
			if f.kind == kindPing {
				continue
			}
			err = on(f)
		}
		if err != nil {
			l.kill(err)
			return
		}
	}
}

// writers lends the writers' buffers for as long as there is something to write: ten thousand idle
// connections hold none.
var writers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, roundBytes) }}

// write sends what is queued, and pings, until the link dies. sent is told every message that has gone;
// tick, once a keepalive interval, may end the link with an error.
func (l *link) write(sent func(*message), tick func() error) {
	ticker := time.NewTicker(l.limits.Keepalive)
	defer ticker.Stop()
	silent, heard := 0, uint32(0)
	for {
		select {
		case <-l.dead:
			return
		case <-l.out.wake:
		case <-ticker.C:
			silent++
			if n := l.frames.Load(); n != heard {
				silent, heard = 0, n
			}
			if silent >= 3 {
				l.kill(errSilent)
				return
			}
			if err := tick(); err != nil {
				l.kill(err)
				return
			}
			l.out.put(message{kind: kindPing})
			continue
		}
		w := writers.Get().(*bufio.Writer)
		w.Reset(deadlineWriter{l})
		if err := l.out.drain(w, sent); err != nil {
			l.kill(fmt.Errorf("writing: %w", err))
			return // the buffer, with what it holds, is left to the collector
		}
		w.Reset(nil)
		writers.Put(w)
	}
}

type deadlineWriter struct{ l *link }

func (d deadlineWriter) Write(p []byte) (int, error) {
	if err := d.l.conn.SetWriteDeadline(time.Now().Add(d.l.limits.WriteTimeout)); err != nil {
		return 0, err
	}
	return d.l.conn.Write(p)
}

package dns

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	maxPipelined = 32              // look-ups of one connection at a time
	writeTimeout = 5 * time.Second // of one reply
)

// connections counts those that are open, to keep their number within bounds.
type connections struct {
	mu     sync.Mutex
	total  int
	client map[netip.Addr]int
}

func newConnections() *connections { return &connections{client: map[netip.Addr]int{}} }

func (c *connections) enter(from netip.Addr, total, perClient int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.total >= total || c.client[from] >= perClient {
		return false
	}
	c.total++
	c.client[from]++
	return true
}

func (c *connections) leave(from netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.total--
	if c.client[from]--; c.client[from] == 0 {
		delete(c.client, from)
	}
}

// serveStreams answers the connections of a listener until it is closed.
func (s *Server) serveStreams(ctx context.Context, l net.Listener, open *connections) error {
	var running sync.WaitGroup
	defer running.Wait()
	for failures := 0; ; {
		conn, err := l.Accept()
		if err != nil {
			failures++
			if ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, net.ErrClosed) || failures > maxReadFailures {
				return fmt.Errorf("DNS listener %s: %w", l.Addr(), err)
			}
			select { // out of descriptors: others give theirs back
			case <-ctx.Done():
			case <-time.After(10 * time.Millisecond):
			}
			continue
		}
		failures = 0
		from := clientOf(conn)
		g := s.current.Load()
		if !open.enter(from, g.TCPClients, g.TCPPerClient) {
			s.stats.dropped.Add(1)
			conn.Close()
			continue
		}
		running.Go(func() {
			defer open.leave(from)
			s.serveStream(ctx, conn, from)
		})
	}
}

func clientOf(conn net.Conn) netip.Addr {
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// stream is one connection. Replies leave in the order in which they are ready (RFC 7766 section 7).
type stream struct {
	net.Conn
	mu sync.Mutex // of writes
}

func (c *stream) send(w *writer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := c.Write(w.framed()); err != nil {
		c.Close() // half a reply would garble all that follow
	}
}

// serveStream answers the queries of a connection until it is closed or idle for too long.
func (s *Server) serveStream(ctx context.Context, conn net.Conn, from netip.Addr) {
	c := &stream{Conn: conn}
	var running sync.WaitGroup
	defer running.Wait()
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()

	w := &worker{writer: newWriter()}
	buf := make([]byte, maxQueryLen)
	slots := make(chan struct{}, maxPipelined)
	for {
		conn.SetReadDeadline(time.Now().Add(s.current.Load().TCPIdle))
		pkt, err := readQuery(conn, buf)
		if err != nil {
			return
		}
		step := s.short(w, pkt, true)
		if step == inquire {
			step = s.inquireStream(ctx, w, c, pkt, from, slots, &running)
		}
		if step == reply {
			c.send(w.writer)
		}
	}
}

// readQuery reads one message behind its length; one that is too long ends the connection.
func readQuery(conn net.Conn, buf []byte) ([]byte, error) {
	if _, err := io.ReadFull(conn, buf[:prefixLen]); err != nil {
		return nil, err
	}
	size := int(binary.BigEndian.Uint16(buf))
	if size > len(buf) {
		return nil, errors.New("query is too long")
	}
	_, err := io.ReadFull(conn, buf[:size])
	return buf[:size], err
}

// inquireStream answers in a goroutine of its own, which ends when the look-up does. A client that
// has too many of them waits; others do not wait for it.
func (s *Server) inquireStream(ctx context.Context, w *worker, c *stream, pkt []byte, from netip.Addr, slots chan struct{}, running *sync.WaitGroup) step {
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		return ignore
	}
	select {
	case s.lookups <- struct{}{}:
	default:
		<-slots
		s.stats.dropped.Add(1)
		w.fail(&w.query, dns.RcodeServerFailure, false)
		return reply
	}
	pkt = bytes.Clone(pkt)
	running.Go(func() {
		defer func() { <-slots }()
		w := s.writers.Get().(*writer)
		defer s.writers.Put(w)
		s.long(ctx, w, pkt, from, true)
		<-s.lookups // a client that does not read its replies keeps nobody else waiting
		c.send(w)
	})
	return ignore
}

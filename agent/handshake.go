package agent

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"sync"
	"time"
)

// handshakes is a listener that gives away connections when TLS stands on them. Those with whom that takes
// too long are closed; how many that may be at once is for the listener below to bound.
type handshakes struct {
	net.Listener
	config  *tls.Config
	timeout time.Duration

	start sync.Once
	done  chan accepted
	end   context.Context
	stop  context.CancelFunc
}

type accepted struct {
	conn net.Conn
	err  error
}

func shakeHands(l net.Listener, timeout time.Duration, config *tls.Config) net.Listener {
	h := &handshakes{Listener: l, config: config, timeout: timeout, done: make(chan accepted)}
	h.end, h.stop = context.WithCancel(context.Background())
	return h
}

// Accept implements net.Listener.
func (h *handshakes) Accept() (net.Conn, error) {
	h.start.Do(func() { go h.accept() }) // ends with Close
	select {
	case a := <-h.done:
		return a.conn, a.err
	case <-h.end.Done():
		return nil, net.ErrClosed
	}
}

// accept takes connections until the listener is closed. Other errors go to whoever accepts, who decides
// whether to go on.
func (h *handshakes) accept() {
	for h.end.Err() == nil {
		conn, err := h.Listener.Accept()
		if err == nil {
			go h.shake(conn) // ends within the timeout, or with Close
			continue
		}
		h.give(accepted{err: err})
	}
}

func (h *handshakes) shake(raw net.Conn) {
	ctx, cancel := context.WithTimeout(h.end, h.timeout)
	defer cancel()
	conn := tls.Server(raw, h.config)
	switch err := conn.HandshakeContext(ctx); {
	case err != nil && ctx.Err() == nil:
		linger(raw)
	case err != nil || !h.give(accepted{conn: conn}):
		raw.Close()
	}
}

// Bounds of what is read from a client that was refused.
const (
	lingerTime  = time.Second
	lingerBytes = 64 << 10
)

// linger closes a connection so that the other end still reads why. A client of TLS 1.3 may send its request before
// it learns that its certificate is missing; closing over unread bytes would reset the connection, and the
// alert with it.
func linger(conn net.Conn) {
	if half, ok := conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		conn.SetReadDeadline(time.Now().Add(lingerTime))
		io.CopyN(io.Discard, conn, lingerBytes)
	}
	conn.Close()
}

func (h *handshakes) give(a accepted) bool {
	select {
	case h.done <- a:
		return true
	case <-h.end.Done():
		return false
	}
}

// Close implements net.Listener.
func (h *handshakes) Close() error {
	h.stop()
	return h.Listener.Close()
}

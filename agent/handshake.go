package agent

import (
	"context"
	"crypto/tls"
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
	if conn.HandshakeContext(ctx) != nil || !h.give(accepted{conn: conn}) {
		raw.Close()
	}
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

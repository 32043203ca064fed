package memnet

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/curia-mesh/curia/rpc/pause"
)

// listener is a port that takes connections.
type listener struct {
	host   *Host
	port   uint16
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

// Listen takes connections on a port of the host, a free one for 0.
func (h *Host) Listen(port uint16) (net.Listener, error) { return h.listen(port) }

func (h *Host) listen(port uint16) (*listener, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	port = h.port(port)
	if h.listeners[port] != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Addr: h.tcpAddr(port), Err: syscall.EADDRINUSE}
	}
	l := &listener{host: h, port: port, conns: make(chan net.Conn, 128), closed: make(chan struct{})}
	h.listeners[port] = l
	return l, nil
}

// Accept returns the next connection, net.ErrClosed after Close.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case <-l.closed: // not one of the connections that Close is resetting
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close frees the port and resets connections that nobody accepted.
func (l *listener) Close() error {
	l.once.Do(func() {
		l.host.net.mu.Lock()
		if l.host.listeners[l.port] == l {
			delete(l.host.listeners, l.port)
		}
		l.host.net.mu.Unlock()
		close(l.closed)
		l.drain()
	})
	return nil
}

// drain resets the connections that wait for an Accept.
func (l *listener) drain() {
	for {
		select {
		case c := <-l.conns:
			c.(*conn).end(errReset)
		default:
			return
		}
	}
}

// Addr is a *net.TCPAddr.
func (l *listener) Addr() net.Addr { return l.host.tcpAddr(l.port) }

// Dial connects to "host:port", the host by name or address. It waits, as TCP does, while either direction is
// cut. The signature is that of net.Dialer.DialContext; network is not looked at.
func (h *Host) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := h.dial(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("memnet: dial %s from %s: %w", addr, h.name, err)
	}
	return c, nil
}

func (h *Host) dial(ctx context.Context, addr string) (net.Conn, error) {
	to, port, err := h.net.resolve(addr)
	if err != nil {
		return nil, err
	}
	if err := h.roundTrip(ctx, to); err != nil {
		return nil, err
	}
	l, dialed, accepted := h.connect(to, port)
	if l == nil {
		return nil, syscall.ECONNREFUSED
	}
	select {
	case l.conns <- accepted:
	case <-l.closed:
		err = syscall.ECONNREFUSED
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		dialed.end(errReset)
		accepted.end(errReset)
		return nil, err
	}
	select {
	case <-l.closed: // perhaps after its Close had drained
		l.drain()
	default:
	}
	return dialed, nil
}

// roundTrip waits for as long as a packet takes there and back.
func (h *Host) roundTrip(ctx context.Context, to *Host) error {
	var total time.Duration
	for _, way := range [][2]*Host{{h, to}, {to, h}} {
		for {
			open, changed := h.net.open(way[0], way[1])
			if open {
				break
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		delay, lost := h.net.travel(way[0], way[1])
		if total += delay; lost {
			total += retransmit
		}
	}
	if total == 0 {
		return ctx.Err()
	}
	if !pause.For(ctx, total) {
		return ctx.Err()
	}
	return nil
}

// connect makes both ends of a connection, none when nobody listens.
func (h *Host) connect(to *Host, port uint16) (l *listener, dialed, accepted *conn) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if l = to.listeners[port]; l == nil {
		return nil, nil, nil
	}
	dialed, accepted = newConns(h, to, h.port(0), port)
	h.conns[dialed] = true
	to.conns[accepted] = true
	return l, dialed, accepted
}

// resolve finds the host and port of an address.
func (n *Network) resolve(addr string) (*Host, uint16, error) {
	name, text, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, 0, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, 0, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.names[name]
	if h == nil {
		return nil, 0, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	return h, uint16(port), nil
}

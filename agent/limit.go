package agent

import (
	"net"
	"net/netip"
	"sync"
)

// limitPerClient bounds how many connections one address may have on a listener; what is above is
// closed at once. Zero or less is no limit. Unix sockets have none.
func limitPerClient(l net.Listener, limit int) net.Listener {
	if limit <= 0 || l.Addr().Network() == "unix" {
		return l
	}
	return &limited{Listener: l, limit: limit, open: map[netip.Addr]int{}}
}

type limited struct {
	net.Listener
	limit int

	mu   sync.Mutex
	open map[netip.Addr]int
}

// Accept implements net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		tcp, ok := conn.RemoteAddr().(*net.TCPAddr)
		if !ok {
			return conn, nil
		}
		addr := tcp.AddrPort().Addr().Unmap()
		if l.take(addr) {
			return &limitedConn{Conn: conn, give: func() { l.give(addr) }}, nil
		}
		conn.Close()
	}
}

func (l *limited) take(addr netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[addr] >= l.limit {
		return false
	}
	l.open[addr]++
	return true
}

func (l *limited) give(addr netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[addr]--; l.open[addr] <= 0 {
		delete(l.open, addr)
	}
}

type limitedConn struct {
	net.Conn
	once sync.Once
	give func()
}

// Close implements net.Conn.
func (c *limitedConn) Close() error {
	c.once.Do(c.give)
	return c.Conn.Close()
}

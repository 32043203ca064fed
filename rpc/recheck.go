package rpc

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"sync"
	"time"
)

// Conns holds open connections with TLS. Its zero value holds none.
type Conns struct {
	mu    sync.Mutex
	conns map[*tls.Conn]bool
}

// Add holds conn, when it has TLS, until the returned function is called.
func (s *Conns) Add(conn net.Conn) (remove func()) {
	secured, ok := conn.(*tls.Conn)
	if !ok {
		return func() {}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		s.conns = map[*tls.Conn]bool{}
	}
	s.conns[secured] = true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, secured)
	}
}

// Recheck closes the connections whose peer has shown certificates, its leaf first, that are not believed any more,
// and returns how many. Peers that have shown none are left.
func (s *Conns) Recheck(believed func([]*x509.Certificate) error) (closed int) {
	s.mu.Lock()
	all := make([]*tls.Conn, 0, len(s.conns))
	for c := range s.conns {
		all = append(all, c)
	}
	s.mu.Unlock()
	for _, c := range all {
		if shown := c.ConnectionState().PeerCertificates; len(shown) > 0 && believed(shown) != nil {
			closeNow(c)
			closed++
		}
	}
	return closed
}

// refusals remember why an address was last refused, so that it is told once and not with every attempt.
type refusals struct {
	mu    sync.Mutex
	last  map[string]string
	since time.Time // of the present period
	told  int       // in it
}

// maxRefusals bounds what is remembered, and told in a refusalPeriod; strangers choose where they come from.
const (
	maxRefusals   = 512
	maxTold       = 20
	refusalPeriod = 10 * time.Second
)

// news reports whether it was not refused for the same reason before.
func (r *refusals) news(ip, why string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last[ip] == why {
		return false
	}
	if r.last == nil || len(r.last) >= maxRefusals {
		r.last = map[string]string{}
	}
	r.last[ip] = why
	if now := time.Now(); now.Sub(r.since) > refusalPeriod {
		r.since, r.told = now, 0
	}
	r.told++
	return r.told <= maxTold
}

// over reports whether an address that is accepted now was refused before.
func (r *refusals) over(ip string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, was := r.last[ip]
	delete(r.last, ip)
	return was
}

package rpc

import (
	"crypto/tls"
	"crypto/x509"
	"maps"
	"net"
	"sync"
	"time"
)

// Conns holds open connections with TLS. Its zero value holds none.
type Conns struct {
	mu    sync.Mutex
	conns map[*tls.Conn]func() // what takes no more calls on it; nil to close it at once
}

// recheckGrace is how long the calls under way on a connection may take that is not believed any more.
const recheckGrace = 5 * time.Second

// Add holds conn, when it has TLS, until the returned function is called. retire, which may be nil, makes that no more
// calls begin on it, and does not block.
func (s *Conns) Add(conn net.Conn, retire func()) (remove func()) {
	secured, ok := conn.(*tls.Conn)
	if !ok {
		return func() {}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		s.conns = map[*tls.Conn]func(){}
	}
	s.conns[secured] = retire
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, secured)
	}
}

// Recheck ends the connections whose peer has shown certificates, its leaf first, that are not believed any more, and
// returns how many. Calls under way have recheckGrace to end. Peers that have shown no certificate are left.
func (s *Conns) Recheck(believed func([]*x509.Certificate) error) (closed int) {
	s.mu.Lock()
	all := maps.Clone(s.conns)
	s.mu.Unlock()
	for c, retire := range all {
		shown := c.ConnectionState().PeerCertificates
		if len(shown) == 0 || believed(shown) == nil {
			continue
		}
		closed++
		if retire == nil {
			closeNow(c)
			continue
		}
		retire()
		time.AfterFunc(recheckGrace, func() { closeNow(c) }) // which does nothing to one that has ended
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

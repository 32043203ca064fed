package rpc

import (
	"net"
	"sync"
)

// admission counts connections, so that idle strangers (A08) cannot take them all.
type admission struct {
	perIP    int                 // connections of one address
	most     func(ip string) int // of one that has perIP already; nil is perIP
	newPerIP int                 // of them, not yet through their handshake
	newAll   int                 // not yet through their handshake, of all addresses

	mu  sync.Mutex
	new int
	ips map[string]*ipCount
}

type ipCount struct{ all, new int }

// arrive reports whether one more connection from ip may start its handshake. Every arrive that may is
// followed by one depart.
func (a *admission) arrive(ip string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := a.ips[ip]
	if n == nil {
		n = new(ipCount)
	}
	if n.all >= a.perIP && (a.most == nil || n.all >= a.most(ip)) || n.new >= a.newPerIP || a.new >= a.newAll {
		return false
	}
	n.all++
	n.new++
	a.new++
	a.ips[ip] = n
	return true
}

// known says that a connection is through its handshake.
func (a *admission) known(ip string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ips[ip].new--
	a.new--
}

// depart says that a connection has ended, which known had been called for or not.
func (a *admission) depart(ip string, known bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := a.ips[ip]
	if n.all--; n.all == 0 {
		defer delete(a.ips, ip)
	}
	if !known {
		n.new--
		a.new--
	}
}

func ipOf(addr net.Addr) string {
	if tcp, ok := addr.(*net.TCPAddr); ok {
		return tcp.IP.String()
	}
	host, _, err := net.SplitHostPort(addr.String())
	if err != nil {
		return addr.String()
	}
	return host
}

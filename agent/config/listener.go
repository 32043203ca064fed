package config

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Listener is one socket that the agent listens on.
type Listener struct {
	Name    string // dns, http, https, grpc, grpc_tls, serf_lan, serf_wan or server
	Network string // tcp, udp or unix
	Address string // host and port, or the path of a unix socket
}

// Listeners returns the sockets that the agent listens on: one for each network, interface and address.
func (c *Config) Listeners() []Listener {
	var all []Listener
	add := func(name, addrs string, port int, networks ...string) {
		if port < 0 {
			return
		}
		for addr := range strings.FieldsSeq(addrs) {
			if path, socket := strings.CutPrefix(addr, "unix://"); socket {
				all = append(all, Listener{name, "unix", path})
				continue
			}
			host := strings.TrimSuffix(strings.TrimPrefix(addr, "["), "]")
			for _, network := range networks {
				all = append(all, Listener{name, network, net.JoinHostPort(host, strconv.Itoa(port))})
			}
		}
	}
	or := func(addr string) string {
		if addr == "" {
			return c.ClientAddr
		}
		return addr
	}
	add("dns", or(c.Addresses.DNS), c.Ports.DNS, "udp", "tcp")
	add("http", or(c.Addresses.HTTP), c.Ports.HTTP, "tcp")
	add("https", or(c.Addresses.HTTPS), c.Ports.HTTPS, "tcp")
	add("grpc", or(c.Addresses.GRPC), c.Ports.GRPC, "tcp")
	add("grpc_tls", c.peeringAddr(), c.Ports.GRPCTLS, "tcp")
	add("serf_lan", c.SerfLAN, c.Ports.SerfLAN, "tcp", "udp")
	if c.Server {
		add("serf_wan", c.SerfWAN, c.Ports.SerfWAN, "tcp", "udp")
		add("server", c.BindAddr, c.Ports.Server, "tcp")
	}
	return all
}

// peeringAddr is where grpc_tls is: that of servers is for those of other clusters, as the port of servers is for theirs.
func (c *Config) peeringAddr() string {
	switch {
	case c.Addresses.GRPCTLS != "":
		return c.Addresses.GRPCTLS
	case c.Server:
		return c.BindAddr
	}
	return c.ClientAddr
}

// listeners checks the addresses of the client interfaces and that no two sockets are the same.
func (l *loader) listeners() {
	c, before := l.config, len(l.errs)
	for _, a := range []struct{ key, addrs string }{
		{"client_addr", c.ClientAddr}, {"addresses.dns", c.Addresses.DNS}, {"addresses.http", c.Addresses.HTTP},
		{"addresses.https", c.Addresses.HTTPS}, {"addresses.grpc", c.Addresses.GRPC}, {"addresses.grpc_tls", c.Addresses.GRPCTLS},
	} {
		for addr := range strings.FieldsSeq(a.addrs) {
			l.clientAddress(a.key, addr)
		}
	}
	if len(l.errs) > before {
		return
	}
	all := c.Listeners()
	for i, a := range all {
		for _, b := range all[:i] {
			if clash(a, b) {
				l.fail(fmt.Errorf("%s and %s both listen on %s %s: give each its own port or address",
					l.portKey(b.Name), l.portKey(a.Name), a.Network, a.Address))
				break
			}
		}
	}
}

// portKey names the setting of an interface's port, and where it was set.
func (l *loader) portKey(name string) string {
	key := "ports." + name
	if where := l.origin[key]; where != "" {
		return key + " (" + where + ")"
	}
	return key
}

func (l *loader) clientAddress(key, addr string) {
	if path, socket := strings.CutPrefix(addr, "unix://"); socket {
		switch {
		case key == "addresses.dns" || key == "client_addr":
			l.failAt(key, "%q: only the HTTP and gRPC interfaces can be unix sockets", addr)
		case path == "":
			l.failAt(key, "%q has no path: want unix:///path", addr)
		}
		return
	}
	if addr == "localhost" {
		return
	}
	if _, err := parseIP(addr); err != nil {
		l.failAt(key, "%v", err)
	}
}

func clash(a, b Listener) bool {
	if a.Network != b.Network {
		return false
	}
	if a.Network == "unix" {
		return a.Address == b.Address
	}
	hostA, portA, _ := net.SplitHostPort(a.Address)
	hostB, portB, _ := net.SplitHostPort(b.Address)
	if portA != portB || portA == "0" {
		return false
	}
	return hostA == hostB || wildcard(hostA, hostB) || wildcard(hostB, hostA)
}

// wildcard reports whether host stands for all addresses, that of other among them.
func wildcard(host, other string) bool {
	all, err := netip.ParseAddr(host)
	if err != nil || !all.IsUnspecified() {
		return false
	}
	one, err := netip.ParseAddr(other)
	return err != nil || all.Is6() || one.Is4()
}

package proxy

import (
	"net"
	"net/netip"
	"testing"
)

// addressed is a connection between two addresses.
type addressed struct {
	net.Conn
	from, to net.Addr
}

func (c addressed) RemoteAddr() net.Addr { return c.from }
func (c addressed) LocalAddr() net.Addr  { return c.to }

// A caller is on this machine when it has a loopback address, or the one that it called; another may be let in beside.
func TestFromHere(t *testing.T) {
	var also netip.Addr
	f := func(from, to string, want bool) {
		t.Helper()
		at := func(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 1} }
		if got := fromHere(addressed{from: at(from), to: at(to)}, also); got != want {
			t.Errorf("from %s to %s: %t", from, to, got)
		}
	}
	f("127.0.0.1", "127.0.0.1", true)
	f("127.1.2.3", "10.0.0.1", true)
	f("::1", "::1", true)
	f("::ffff:127.0.0.1", "127.0.0.1", true)
	f("10.0.0.1", "10.0.0.1", true)
	f("::ffff:10.0.0.1", "10.0.0.1", true)
	f("10.0.0.2", "10.0.0.1", false)
	f("2001:db8::2", "2001:db8::1", false)
	also = netip.MustParseAddr("10.0.0.2")
	f("10.0.0.2", "10.0.0.1", true)
	f("::ffff:10.0.0.2", "10.0.0.1", true)
	f("10.0.0.3", "10.0.0.1", false)
	if unix := (&net.UnixAddr{Name: "/run/x", Net: "unix"}); !fromHere(addressed{from: unix, to: unix}, also) {
		t.Error("a unix socket is here")
	}
}

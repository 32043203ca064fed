package server

import (
	"net"
	"net/netip"
	"testing"

	"github.com/curia-mesh/curia/rpc/gossip"
	"github.com/curia-mesh/curia/server/api"
)

func TestIsAhead(t *testing.T) {
	f := func(a, b api.Standing, want bool) {
		t.Helper()
		if got := isAhead(&a, &b); got != want {
			t.Errorf("isAhead(%+v, %+v) = %t", a, b, got)
		}
		if want && isAhead(&b, &a) {
			t.Errorf("both are ahead: %+v, %+v", a, b)
		}
	}
	f(api.Standing{ID: "b", LastTerm: 3, LastIndex: 1}, api.Standing{ID: "a", LastTerm: 2, LastIndex: 9}, true)
	f(api.Standing{ID: "b", LastTerm: 3, LastIndex: 10}, api.Standing{ID: "a", LastTerm: 3, LastIndex: 9}, true)
	f(api.Standing{ID: "a", LastTerm: 3, LastIndex: 9}, api.Standing{ID: "b", LastTerm: 3, LastIndex: 9}, true)
	f(api.Standing{ID: "a", LastTerm: 3, LastIndex: 9}, api.Standing{ID: "a", LastTerm: 3, LastIndex: 9}, false)
}

// A port tells a process that lives from one that is about to end and from one that has ended.
func TestKnock(t *testing.T) {
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddrPort(port.Addr().String())
	members := func() []gossip.Member {
		return []gossip.Member{{Name: "l", Addr: addr.Addr(), Status: gossip.StatusAlive,
			Tags: map[string]string{"role": "consul", "dc": "dc1", "id": "l", "port": netip.AddrPortFrom(addr.Addr(), addr.Port()).String()[len("127.0.0.1:"):]}}}
	}
	s := &succession{raft: &raftNode{port: newRaftPort(port, Config{})}, roster: &roster{datacenter: "dc1", members: members}}
	s.roster.stale.Store(true)
	if got := s.knock(t.Context(), "l"); got != doorOpen {
		t.Errorf("a port that is listened at: %d", got)
	}
	closing := make(chan struct{})
	go func() { // ends with the port
		defer close(closing)
		for {
			conn, err := port.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	if got := s.knock(t.Context(), "l"); got != doorOpen && got != doorEnding { // the first connection may be the one of before
		t.Errorf("a port that ends connections: %d", got)
	}
	port.Close()
	<-closing
	if got := s.knock(t.Context(), "l"); got != doorShut {
		t.Errorf("a port that is closed: %d", got)
	}
	if got := s.knock(t.Context(), "nobody knows"); got != doorUnknown {
		t.Errorf("a server without an address: %d", got)
	}
}

package gossip_test

import (
	"net/netip"
	"testing"

	"github.com/curia-mesh/curia/rpc/gossip"
)

func TestServerOfMember(t *testing.T) {
	tags := func(more ...string) map[string]string {
		m := map[string]string{"role": "consul", "dc": "dc1", "id": "9e0e0bd1-0000-4000-8000-000000000001", "port": "8300", "build": "1.2.3:abc"}
		for i := 0; i < len(more); i += 2 {
			m[more[i]] = more[i+1]
		}
		return m
	}
	plain := gossip.Server{
		Name: "one", ID: "9e0e0bd1-0000-4000-8000-000000000001", Datacenter: "dc1", Addr: netip.MustParseAddrPort("127.0.0.1:8300"),
		Version: "1.2.3", Status: gossip.StatusAlive,
	}
	expecting, replica := plain, plain
	expecting.Expect = 3
	replica.ReadReplica, replica.NonVoter = true, true
	for _, c := range []struct {
		name string
		tags map[string]string
		want *gossip.Server
	}{
		{"one", tags(), &plain},
		{"one.dc1", tags(), &plain}, // in the WAN pool
		{"one", tags("expect", "3"), &expecting},
		{"one", tags("expect", "-1"), &plain},
		{"one", tags("expect", "99999999999999999999"), &plain},
		{"one", tags("read_replica", "1"), &replica},
		{"one", tags("role", "node"), nil},
		{"one", tags("port", "0"), nil},
		{"one", tags("port", "83000"), nil},
		{"one", tags("port", ""), nil},
		{"one", tags("id", ""), nil},
	} {
		got, ok := gossip.Member{Name: c.name, Addr: netip.MustParseAddr("127.0.0.1"), Status: gossip.StatusAlive, Tags: c.tags}.Server()
		if ok != (c.want != nil) || ok && got != *c.want {
			t.Errorf("%s %v: %+v, %v", c.name, c.tags, got, ok)
		}
	}
	if _, ok := (gossip.Member{Name: "one", Tags: tags()}).Server(); ok {
		t.Error("a member without an address is a server")
	}
}

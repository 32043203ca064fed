package handler_test

import (
	"fmt"
	"testing"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/server/api"
)

// TestPeerServers: gateways lead to the own servers that are well and to those of the clusters that this one connects to, as far
// as the entry mesh says so. A name is that of who had it first, and this cluster's own is nobody else's.
func TestPeerServers(t *testing.T) {
	s := stage(t)
	named := func(want string) {
		t.Helper()
		got := ""
		for _, p := range *s.do(t, api.PeerServers.Name, &api.Named{Name: "gate"}).(*[]*catalog.PeerServers) {
			got += fmt.Sprintln(p.ServerName, p.Addresses)
		}
		if got != want {
			t.Errorf("named\n%swant\n%s", got, want)
		}
	}
	peer := func(name, serverName string, change func(*catalog.Peering)) {
		t.Helper()
		row := catalog.Peering{
			ID: "id-" + name, Name: name, State: catalog.PeeringActive, PeerServerName: serverName, PeerServerAddresses: []string{name + ".example:443"},
			Secrets: &catalog.PeeringSecrets{Stream: catalog.NewSecret("s")},
		}
		change(&row)
		was := uint64(0)
		if old, _ := state.Peering(s.store.Read(), nil, name); old != nil {
			was = old.ModifyIndex
		}
		if done := s.do(t, api.PeeringStore.Name, &api.PeeringPut{Peering: row, Was: was}).(*bool); !*done {
			t.Fatalf("peering %s was not stored", name)
		}
	}
	as := func(*catalog.Peering) {}
	through := func(on bool) {
		s.entries(&catalog.Mesh{EntryHead: catalog.EntryHead{Kind: catalog.EntryMesh}, Peering: &catalog.MeshPeering{PeerThroughMeshGateways: on}})
	}
	for i, status := range []catalog.Status{catalog.Passing, catalog.Critical, catalog.Warning} {
		node := fmt.Sprint("n", i+1)
		s.do(t, api.Register.Name, &api.RegisterRequest{
			Node: node, SkipNodeUpdate: true, Service: &catalog.Service{Service: catalog.ServersService, Port: 8300, Meta: map[string]string{"grpc_tls_port": "8503"}},
			Check: &catalog.Check{CheckID: "serf", ServiceID: catalog.ServersService, Status: status},
		})
	}
	peer("west", "server.west.peering.w.consul", as)
	named("")
	through(true)
	named("server.west.peering.w.consul [west.example:443]\n") // the mesh has no CA yet
	tx := s.store.Write(s.index.Add(1))
	state.SetCA(tx, &catalog.CAConfig{ClusterID: "T"}, nil, []*catalog.Root{{ID: "r"}})
	tx.Commit()
	own := "server.dc1.peering.t.consul [10.0.0.1:8503 10.0.0.3:8503]\n"
	named(own + "server.west.peering.w.consul [west.example:443]\n")

	peer("accepted", "server.a.peering.a.consul", func(p *catalog.Peering) { p.Secrets = nil })
	peer("double", "server.west.peering.w.consul", as)
	peer("ours", "server.dc1.peering.t.consul", as)
	peer("gone", "server.gone.peering.g.consul", func(p *catalog.Peering) { p.State = catalog.PeeringTerminated })
	peer("leaving", "server.leaving.peering.l.consul", func(p *catalog.Peering) { p.State = catalog.PeeringDeleting })
	named(own + "server.west.peering.w.consul [west.example:443]\nserver.leaving.peering.l.consul [leaving.example:443]\n")
	// A token leads where it says, before there is a peering and beside one.
	token := func(name string) func(*catalog.Peering) {
		return func(p *catalog.Peering) {
			p.Exchange = &catalog.PeerServers{ServerName: name, Addresses: []string{"a.token:443"}}
		}
	}
	peer("west", "server.west.peering.w.consul", token("server.west.peering.w.consul"))
	peer("leaving", "server.leaving.peering.l.consul", func(p *catalog.Peering) { p.State = catalog.PeeringTerminated })
	peer("new", "", func(p *catalog.Peering) { p.Secrets = nil; token("server.new.peering.n.consul")(p) })
	named(own + "server.west.peering.w.consul [a.token:443 west.example:443]\nserver.new.peering.n.consul [a.token:443]\n")
	through(false)
	named("")
}

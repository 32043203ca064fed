package server

import (
	"testing"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
)

// A mesh gateway that peers come through may have many connections to their port, and nobody else.
func TestConnsOf(t *testing.T) {
	store := state.New()
	write := func(index uint64, do func(tx *state.Txn) error) {
		t.Helper()
		tx := store.Write(index)
		if err := do(tx); err != nil {
			t.Fatal(err)
		}
		tx.Commit()
	}
	of := func(ip string, want int) {
		t.Helper()
		if got := connsOf(store.Read(), ip); got != want {
			t.Errorf("%s may have %d connections, want %d", ip, got, want)
		}
	}
	write(1, func(tx *state.Txn) error {
		s := &catalog.Service{Kind: catalog.KindMeshGateway, Service: "gate", Address: "10.0.0.2", Port: 443}
		s.Normalize()
		return state.Register(tx, &state.Registration{Node: &catalog.Node{Node: "g", Address: "10.0.0.1"}, Service: s})
	})
	of("10.0.0.1", peerConns)
	write(2, func(tx *state.Txn) error {
		e := &catalog.Mesh{EntryHead: catalog.EntryHead{Kind: catalog.EntryMesh}, Peering: &catalog.MeshPeering{PeerThroughMeshGateways: true}}
		e.Normalize()
		state.EntrySet(tx, e)
		return nil
	})
	of("10.0.0.1", peerGateway)
	of("10.0.0.2", peerGateway)
	of("10.0.0.3", peerConns)
}

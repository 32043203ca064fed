package server

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
)

// Gateways of the own datacenter are tried before those of the other, and these before those that are configured; one that
// has led nowhere after all that have not, for a while.
func TestPassage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPassage(PassageOptions{Datacenter: "dc2", Primary: "dc1", Gateways: []string{"198.51.100.9:443"}})
		to := func(datacenter string, want ...string) {
			t.Helper()
			if got, err := p.To("n1." + datacenter); err != nil || !slices.Equal(got, want) {
				t.Errorf("%s is reached by %q, %v; want %q", datacenter, got, err, want)
			}
		}
		to("dc1", "198.51.100.9:443")
		if _, err := p.To("n1.dc3"); err == nil || !strings.Contains(err.Error(), "consul-wan-federation = 1") || strings.Contains(err.Error(), "primary_gateways") {
			t.Error(err)
		}

		gateway := func(name, address, wan string, exposes bool, status catalog.Status) *catalog.Instance {
			s := &catalog.Service{Kind: catalog.KindMeshGateway, ID: name, Service: name, Address: address, Port: 443}
			if s.Normalize(); wan != "" {
				s.TaggedAddresses = map[string]catalog.ServiceAddress{"wan": {Address: wan, Port: 8443}}
			}
			if exposes {
				s.ExposeServers()
			}
			node := &catalog.Node{Node: name, Address: "10.9.9.9"}
			return &catalog.Instance{Node: node, Service: s, Checks: []*catalog.Check{{Node: name, CheckID: "up", ServiceID: name, ServiceName: name, Status: status}}}
		}
		store := state.New()
		tx := store.Write(1)
		for _, i := range []*catalog.Instance{
			gateway("g1", "10.0.0.1", "192.0.2.1", true, catalog.Passing), gateway("g2", "10.0.0.2", "", false, catalog.Passing), gateway("g3", "10.0.0.3", "", true, catalog.Critical),
		} {
			if err := state.Register(tx, &state.Registration{Node: i.Node, Service: i.Service, Checks: i.Checks}); err != nil {
				t.Fatal(err)
			}
		}
		theirs := &catalog.FederationState{Datacenter: "dc1", MeshGateways: []*catalog.Instance{
			gateway("f1", "10.0.0.1", "198.51.100.1", true, catalog.Warning), gateway("f2", "10.0.0.2", "198.51.100.2", false, catalog.Passing),
		}}
		if err := state.PutFederation(tx, theirs); err != nil {
			t.Fatal(err)
		}
		tx.Commit()
		p.store.Store(store)
		own, far, named := "10.0.0.1:443", "198.51.100.1:8443", "198.51.100.9:443"
		to("dc1", own, far, named)
		to("dc3", own)
		p.Tried(own, errors.New("nobody there"))
		to("dc1", far, named, own)
		time.Sleep(time.Second)
		p.Tried(far, errors.New("nobody there"))
		to("dc1", named, own, far)
		p.Tried(own, nil)
		to("dc1", own, named, far)
		time.Sleep(time.Minute)
		p.Tried(named, errors.New("nobody there")) // what is long ago is forgotten
		to("dc1", own, far, named)
	})
	p := NewPassage(PassageOptions{Datacenter: "dc2"})
	for name, far := range map[string]bool{"a.dc1": true, "a.dc2": false, "*.dc1": true, "a": false, "": false, "x.y.dc1": true} {
		if p.Leads(name) != far {
			t.Errorf("%q: %v", name, !far)
		}
	}
}

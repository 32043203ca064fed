package handler_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
)

func (s *server) entries(entries ...catalog.ConfigEntry) {
	tx := s.store.Write(s.index.Add(1))
	for _, e := range entries {
		e.Normalize()
		state.EntrySet(tx, e)
	}
	tx.Commit()
}

// TestExports: what is exported to whom, wildcards and sameness groups resolved.
func TestExports(t *testing.T) {
	s := stage(t)
	s.do(t, api.Register.Name, &api.RegisterRequest{Node: "n1", SkipNodeUpdate: true, Service: &catalog.Service{Service: "db"}})
	s.do(t, api.Register.Name, &api.RegisterRequest{Node: "n1", SkipNodeUpdate: true, Service: &catalog.Service{Service: catalog.ServersService}})
	s.entries(
		&catalog.SamenessGroup{EntryHead: catalog.EntryHead{Kind: catalog.EntrySamenessGroup, Name: "all"}, Members: []catalog.SamenessMember{{}, {Peer: "north"}, {Peer: "south"}}},
		&catalog.ExportedServices{EntryHead: catalog.EntryHead{Kind: catalog.EntryExportedServices, Name: "default"}, Services: []catalog.ExportedService{
			{Name: "web", Consumers: []catalog.ServiceConsumer{{Peer: "west"}, {Peer: "east"}}},
			{Name: "yet-to-come", Consumers: []catalog.ServiceConsumer{{SamenessGroup: "all"}, {SamenessGroup: "none"}}},
			{Name: "*", Consumers: []catalog.ServiceConsumer{{Peer: "east"}}},
		}},
	)
	for peer, want := range map[string]string{
		"":       "[{db {[east]}} {web {[east west]}} {yet-to-come {[north south]}}]",
		"west":   "[{web {[west]}}]",
		"south":  "[{yet-to-come {[south]}}]",
		"nobody": "[]",
	} {
		if got := fmt.Sprint(*s.do(t, api.ExportedServices.Name, &api.Named{Name: peer}).(*[]api.ExportedService)); got != want {
			t.Errorf("exported to %q: %s, want %s", peer, got, want)
		}
	}
}

// TestExportSets: what sets export is added to what the config entry does, changes are counted, and neither a set nor a
// resolver gets past the other.
func TestExportSets(t *testing.T) {
	s := stage(t)
	s.entries(&catalog.ExportedServices{EntryHead: catalog.EntryHead{Kind: catalog.EntryExportedServices, Name: "default"}, Services: []catalog.ExportedService{
		{Name: "web", Consumers: []catalog.ServiceConsumer{{Peer: "west"}}},
	}})
	put := func(peer, meta string, services ...string) *catalog.ExportSet {
		t.Helper()
		return s.do(t, api.ExportSetPut.Name, &catalog.ExportSet{
			Name: "e1", Services: services, Consumers: []catalog.ServiceConsumer{{Peer: peer}}, Metadata: map[string]string{"env": meta},
		}).(*catalog.ExportSet)
	}
	exported := func(want string) {
		t.Helper()
		if got := fmt.Sprint(*s.do(t, api.ExportedServices.Name, &api.Named{}).(*[]api.ExportedService)); got != want {
			t.Errorf("exported %s, want %s", got, want)
		}
	}
	first := put("east", "test", "web", "db")
	exported("[{db {[east]}} {web {[east west]}}]")
	again, described, changed := put("east", "test", "web", "db"), put("east", "live", "web", "db"), put("east", "live", "db")
	if !again.Same(first) || again.ModifyIndex != first.ModifyIndex {
		t.Errorf("the same again: %+v, before %+v", again, first)
	}
	if described.ModifyIndex <= first.ModifyIndex || described.Generation != first.Generation || described.CreateIndex != first.CreateIndex {
		t.Errorf("other metadata: %+v, before %+v", described, first)
	}
	if changed.Generation <= described.Generation || changed.Generation != changed.ModifyIndex || changed.CreateIndex != first.CreateIndex {
		t.Errorf("other data: %+v, before %+v", changed, described)
	}
	exported("[{db {[east]}} {web {[west]}}]")

	abroad := func(service string) *rpc.Call {
		return &rpc.Call{Method: api.ConfigApply.Name, Body: &api.ConfigWrite{Op: api.ConfigSet, Entry: *catalog.AnyOf(&catalog.ServiceResolver{
			EntryHead: catalog.EntryHead{Kind: catalog.EntryServiceResolver, Name: service}, Redirect: &catalog.ServiceRedirect{Datacenter: "dc2"},
		})}}
	}
	want := "service db cannot be exported to a peer (by exportedservices/e1) and lead to another datacenter (by service-resolver/db) at once"
	if _, err := s.Call(t.Context(), abroad("db")); err == nil || err.Error() != want {
		t.Errorf("a resolver of what is exported: %v, want %s", err, want)
	}
	if _, err := s.Call(t.Context(), abroad("cache")); err != nil {
		t.Error(err)
	}
	if _, err := s.Call(t.Context(), &rpc.Call{Method: api.ExportSetPut.Name, Body: &catalog.ExportSet{Name: "e2", Services: []string{"cache"}, Consumers: []catalog.ServiceConsumer{{Peer: "east"}}}}); err == nil || !strings.Contains(err.Error(), "exportedservices/e2") {
		t.Errorf("a set of what leads to another datacenter: %v", err)
	}
	for range 2 { // the second finds nothing, which is no error
		s.do(t, api.ExportSetDelete.Name, &api.Named{Name: "e1"})
		exported("[{web {[west]}}]")
	}
	if left := *s.do(t, api.ExportSetList.Name, &api.Nothing{}).(*[]*catalog.ExportSet); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// TestPeeringRows: a peering is stored only over the one that was read, its secrets are not shown, and what was imported over
// it goes with it.
func TestPeeringRows(t *testing.T) {
	s := stage(t)
	put := func(was uint64, p catalog.Peering) bool {
		t.Helper()
		return *s.do(t, api.PeeringStore.Name, &api.PeeringPut{Peering: p, Was: was}).(*bool)
	}
	read := func() []*catalog.Peering {
		t.Helper()
		return *s.do(t, api.PeeringRead.Name, &api.Named{Name: "EAST"}).(*[]*catalog.Peering)
	}
	row := catalog.Peering{ID: "1", Name: "east", State: catalog.PeeringActive, Secrets: &catalog.PeeringSecrets{Stream: catalog.NewSecret("psst")}}
	if put(7, row) || !put(0, row) || put(0, row) {
		t.Error("stored over another than was read")
	}
	first := read()[0]
	if first.Secrets != nil || first.State != catalog.PeeringActive {
		t.Errorf("shown %+v", first)
	}
	row.Meta = map[string]string{"env": "test"}
	if put(first.ModifyIndex-1, row) || !put(first.ModifyIndex, row) {
		t.Error("stored over another than was read")
	}
	s.do(t, api.PeeringTake.Name, &api.PeeringImport{ID: "1", Services: []*catalog.ImportedService{{Service: "api"}, {Service: "db"}}})
	s.do(t, api.PeeringTake.Name, &api.PeeringImport{ID: "2", Services: []*catalog.ImportedService{{Service: "lost"}}})
	imported := func(want string) {
		t.Helper()
		names := ""
		found, _ := state.Imports(s.store.Read(), nil, "")
		for _, i := range found {
			names += i.Peer + "/" + i.Service + " "
		}
		if names != want {
			t.Errorf("imported %q, want %q", names, want)
		}
	}
	imported("east/api east/db ")
	s.do(t, api.PeeringTake.Name, &api.PeeringImport{ID: "1", Whole: true, Keep: []string{"db"}})
	imported("east/db ")
	row.State = catalog.PeeringTerminated
	put(read()[0].ModifyIndex, row)
	s.do(t, api.PeeringTake.Name, &api.PeeringImport{ID: "1", Services: []*catalog.ImportedService{{Service: "late"}}})
	imported("east/db ")
	s.do(t, api.PeeringRemove.Name, &api.Named{Name: "1"})
	imported("")
	if left := read(); len(left) != 0 {
		t.Errorf("left: %+v", left)
	}
}

// TestNodeDump: who may not see a service sees the node without it.
func TestNodeDump(t *testing.T) {
	s := stage(t)
	s.allowed = []string{"node:read n1", "node:read n2", "service:read web-proxy"}
	seen := ""
	answer, err := s.Call(t.Context(), &rpc.Call{Method: api.NodeDump.Name, Body: &api.NodeQuery{}})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range *answer.Value().(*[]*api.NodeInfo) {
		seen += fmt.Sprintf("%s %d services %d checks;", n.Node, len(n.Services), len(n.Checks))
	}
	if want := "n1 1 services 0 checks;n2 0 services 0 checks;"; seen != want || !answer.Meta.Filtered {
		t.Errorf("seen %q, want %q; filtered %v", seen, want, answer.Meta.Filtered)
	}
}

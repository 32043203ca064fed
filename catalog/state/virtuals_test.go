package state_test

import (
	"reflect"
	"testing"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
)

// native writes a service that speaks the mesh's protocol itself.
func native(d *desk, tx *state.Txn, id, name string) {
	d.Helper()
	s := &catalog.Service{ID: id, Service: name, Port: 80, Connect: &catalog.Connect{Native: true}}
	s.Normalize()
	if _, err := state.EnsureService(tx, "n1", s); err != nil {
		d.Fatal(err)
	}
}

func (d *desk) virtual(service, want string) {
	d.Helper()
	got := ""
	if a, _ := state.Virtual(d.store.Read(), nil, service); a != nil {
		got = a.Address
	}
	if got != want {
		d.Errorf("%s has virtual address %q, want %q", service, got, want)
	}
}

// An address stays while anything wants it, across the commands that replace who does, and is not given to
// another soon after.
func TestVirtualAddresses(t *testing.T) {
	d := newDesk(t)
	d.virtual("web", "")
	d.write(func(tx *state.Txn) { native(d, tx, "i1", "web") })
	d.write(func(tx *state.Txn) { native(d, tx, "i3", "Web") })
	d.virtual("WEB", "240.0.0.1")
	d.write(func(tx *state.Txn) { native(d, tx, "i4", "api") })
	d.virtual("api", "240.0.0.2")
	d.write(func(tx *state.Txn) { state.DeleteService(tx, "n1", "i1") })
	d.write(func(tx *state.Txn) { // under another id
		state.DeleteService(tx, "n1", "i3")
		native(d, tx, "i5", "web")
	})
	d.virtual("web", "240.0.0.1")
	d.write(func(tx *state.Txn) { state.EntrySet(tx, defaults("web", "http")) })
	d.write(func(tx *state.Txn) { native(d, tx, "i5", "other") })
	d.virtual("web", "240.0.0.1")
	d.virtual("other", "240.0.0.3")
	d.write(func(tx *state.Txn) { state.EntryDelete(tx, catalog.EntryServiceDefaults, "Web") })
	d.virtual("web", "")
	d.write(func(tx *state.Txn) { state.DeleteNode(tx, "n1") })
	d.virtual("other", "")
	d.write(func(tx *state.Txn) { state.EntrySet(tx, defaults("new", "http")) })
	d.virtual("new", "240.0.0.4")
}

// A service of a peer has an address of its own from when it is one of the mesh until it is gone, whatever the peer says of
// addresses. Nobody else gets it, also not the service of that name at home, and it is in snapshots.
func TestVirtualAddressesOfPeers(t *testing.T) {
	d := newDesk(t)
	n, proxy := &catalog.Node{Node: "far"}, &catalog.Service{Service: "web-sidecar-proxy", Kind: catalog.KindConnectProxy}
	with := &catalog.ImportedService{Peer: "north", Service: "web", Virtual: "240.9.9.9", Sidecars: []*catalog.Instance{{Node: n, Service: proxy}}}
	without := &catalog.ImportedService{Peer: "north", Service: "web", Virtual: "240.9.9.9"}
	take := func(s *catalog.ImportedService, want string) {
		t.Helper()
		d.write(func(tx *state.Txn) {
			if err := state.PutImport(tx, s); err != nil {
				t.Fatal(err)
			}
		})
		if got, _ := state.Imported(d.store.Read(), nil, s.Peer, s.Service); got.Virtual != want {
			t.Errorf("it has address %q, want %q", got.Virtual, want)
		}
		for _, wrong := range d.store.Check() {
			t.Error("invariant:", wrong)
		}
	}
	take(without, "")
	take(with, "240.0.0.1")
	take(without, "240.0.0.1")
	d.write(func(tx *state.Txn) { native(d, tx, "i1", "web") })
	d.virtual("web", "240.0.0.2")
	south := *with
	south.Peer = "south"
	take(&south, "240.0.0.3")
	d.write(func(tx *state.Txn) { state.DeleteImport(tx, "north", "web") })
	take(with, "240.0.0.4")
	load := func(north string, good bool) {
		t.Helper()
		fresh := state.New()
		l := fresh.Load()
		err := state.Save(d.store.Read(), func(table string, row any) error {
			if s, ok := row.(*catalog.ImportedService); ok && s.Peer == "north" {
				changed := *s
				changed.Virtual, row = north, &changed
			}
			return l.Row(table, row)
		})
		if (err == nil) != good {
			t.Errorf("a snapshot in which it has address %q: %v", north, err)
		}
		if err != nil {
			return
		}
		l.Finish()
		if got, _ := state.Imported(fresh.Read(), nil, "north", "web"); got.Virtual != north {
			t.Errorf("from a snapshot it has address %q, want %q", got.Virtual, north)
		}
	}
	load("240.0.0.4", true)
	load("", true) // of before there were any
	load("240.0.0.2", false)
	load("240.0.0.3", false)
	load("10.0.0.1", false)
}

// A snapshot of before there were virtual addresses gives everything that should have one its own; what nothing
// wants is not kept, and what contradicts itself is refused.
func TestVirtualAddressesOfSnapshots(t *testing.T) {
	d := newDesk(t)
	d.write(func(tx *state.Txn) {
		native(d, tx, "i1", "web")
		state.EntrySet(tx, defaults("api", "http"))
	})
	f := func(web, api string, good bool, rows ...catalog.VirtualAddress) {
		t.Helper()
		fresh := &desk{T: t, store: state.New()}
		l := fresh.store.Load()
		put := func(table string, row any) error {
			if saved := reflect.ValueOf(row).Elem().FieldByName("Service"); table == "instances" && saved.Elem().FieldByName("ID").String() == "i1" {
				bare := *saved.Interface().(*catalog.Service)
				bare.TaggedAddresses = nil
				saved.Set(reflect.ValueOf(&bare))
			}
			return l.Row(table, row)
		}
		err := state.Save(d.store.Read(), func(table string, row any) error {
			if table != "virtual-addresses" && table != "indexes" {
				return put(table, row)
			}
			for i := range rows {
				if err := l.Row("virtual-addresses", &rows[i]); err != nil {
					return err
				}
			}
			rows = nil
			return nil
		})
		if (err == nil) != good {
			t.Errorf("%v: %v", rows, err)
		}
		if err != nil {
			return
		}
		l.Finish()
		for _, wrong := range fresh.store.Check() {
			t.Error("invariant:", wrong)
		}
		fresh.virtual("web", web)
		fresh.virtual("api", api)
		fresh.virtual("none", "")
	}
	f("240.0.0.1", "240.0.0.2", true)
	f("240.0.0.7", "240.0.0.1", true, catalog.VirtualAddress{Service: "Web", Address: "240.0.0.7"})
	f("240.0.0.2", "240.0.0.3", true, catalog.VirtualAddress{Service: "none", Address: "240.0.0.1"})
	f("", "", false, catalog.VirtualAddress{Address: "240.0.0.1"})
	f("", "", false, catalog.VirtualAddress{Service: "web", Address: "10.0.0.1"})
	f("", "", false, catalog.VirtualAddress{Service: "web", Address: "240.0.0.1"}, catalog.VirtualAddress{Service: "api", Address: "240.0.0.1"})
	f("", "", false, catalog.VirtualAddress{Service: "web", Address: "240.0.0.1", Manual: []string{"10.0.0.1"}}, catalog.VirtualAddress{Service: "api", Address: "240.0.0.2", Manual: []string{"10.0.0.1"}})
}

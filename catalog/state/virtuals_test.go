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

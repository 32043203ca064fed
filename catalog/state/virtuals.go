package state

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/curia-mesh/curia/catalog"
)

// virtuals are the virtual addresses of services: a row for each name that an instance of the mesh leads to,
// or that a config entry in virtualKinds is about, and no others.
var virtuals = &table[catalog.VirtualAddress]{
	name: "virtual-addresses",
	of:   func(v *version) *rows[catalog.VirtualAddress] { return &v.virtuals },
	keys: []func([]byte, *catalog.VirtualAddress) []byte{
		primary:          func(key []byte, a *catalog.VirtualAddress) []byte { return joined(key, fold(a.Service)) },
		virtualByAddress: func(key []byte, a *catalog.VirtualAddress) []byte { return joined(key, a.Address) },
	},
}

const virtualByAddress = 1

// virtualKinds are the config entries that make a service one of the mesh.
var virtualKinds = []catalog.EntryKind{
	catalog.EntryServiceDefaults, catalog.EntryServiceResolver, catalog.EntryServiceRouter, catalog.EntryServiceSplitter,
}

// Virtual returns the virtual addresses of a service, nil when it has none.
func Virtual(tx *Txn, w *Watch, service string) (*catalog.VirtualAddress, uint64) {
	if a := virtuals.get(tx, w, primary, tx.key(fold(service))); a != nil {
		return a, a.ModifyIndex
	}
	return nil, buried(tx, graveVirtual, fold(service))
}

// MeshServices returns the names of the services of the mesh, sorted: those that instances lead to, or that entries are
// about which make a service one of the mesh.
func MeshServices(tx *Txn, w *Watch) ([]string, uint64) {
	found, index := []string{}, buriedUnder(tx, graveVirtual, "")
	for a := range virtuals.scan(tx, w, primary, nil) {
		found = append(found, a.Service)
		index = max(index, a.CreateIndex)
	}
	return found, index
}

// SetManual replaces the addresses that operators gave a service, and takes them from the services that had them.
// It returns the names of these, and whether the service has virtual addresses at all: if not, nothing changes.
func SetManual(tx *Txn, service string, addresses []string) (found bool, from []string) {
	own, _ := Virtual(tx, nil, service)
	if own == nil {
		return false, nil
	}
	set := func(old *catalog.VirtualAddress, manual []string) {
		next := *old
		next.Manual, next.ModifyIndex = manual, tx.Index
		virtuals.put(tx, &next)
	}
	taken := func(a string) bool { return slices.Contains(addresses, a) }
	for _, other := range virtuals.all(tx, primary, nil) {
		if other == own || !slices.ContainsFunc(other.Manual, taken) {
			continue
		}
		set(other, slices.DeleteFunc(slices.Clone(other.Manual), taken))
		from = append(from, other.Service)
	}
	if !slices.Equal(own.Manual, addresses) {
		set(own, addresses)
	}
	return true, from
}

// assignVirtual returns the row of a service, which gets an address if it has none. Addresses are taken in turn,
// so that one that was given back is not used again before all others were: who remembers it finds nobody rather
// than somebody else.
func assignVirtual(tx *Txn, service string, index uint64) *catalog.VirtualAddress {
	if a, _ := Virtual(tx, nil, service); a != nil {
		return a
	}
	row := &catalog.VirtualAddress{Service: service, Address: nextVirtual(tx), CreateIndex: index, ModifyIndex: index}
	virtuals.put(tx, row)
	return row
}

// nextVirtual is the next address that nobody has.
func nextVirtual(tx *Txn) string {
	n := indexOf(tx, virtualIndex)
	for {
		n = n%virtualCount + 1
		address := virtualAt(n)
		if virtualOwner(tx, address) == "" {
			indexes.put(tx, &indexRow{virtualIndex, n})
			return address
		}
	}
}

// virtualOwner names who has an address, empty for nobody.
func virtualOwner(tx *Txn, address string) string {
	if a := virtuals.get(tx, nil, virtualByAddress, tx.key(address)); a != nil {
		return a.Service
	}
	if s := imports.get(tx, nil, importByVirtual, tx.key(address)); s != nil {
		return s.Service + " of peer " + s.Peer
	}
	return ""
}

// virtualCount is how many addresses there are: all of the pool but the first, which names it, and the last,
// which is that of broadcasts.
const virtualCount = 1<<28 - 2

func virtualAt(n uint64) string {
	first := catalog.VirtualPool.Addr().As4()
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, binary.BigEndian.Uint32(first[:])+uint32(n)))).String()
}

// showVirtual adds to an instance of the mesh, not stored yet, the virtual address of the service that it leads to.
func showVirtual(tx *Txn, s *catalog.Service, index uint64) {
	name := s.ConnectName()
	if name == "" {
		return
	}
	want := catalog.ServiceAddress{Address: assignVirtual(tx, name, index).Address, Port: s.Port}
	if s.TaggedAddresses[catalog.VirtualTag] == want {
		return
	}
	shown := map[string]catalog.ServiceAddress{catalog.VirtualTag: want}
	for tag, a := range s.TaggedAddresses {
		if tag != catalog.VirtualTag {
			shown[tag] = a
		}
	}
	s.TaggedAddresses = shown
}

// dropVirtual notes that something that wanted a virtual address is gone. The address is given back when the
// command ends, if nothing wants it then.
func dropVirtual(tx *Txn, service string) {
	if tx.dropped == nil {
		tx.dropped = map[string]struct{}{}
	}
	tx.dropped[fold(service)] = struct{}{}
}

func settleVirtuals(tx *Txn) {
	for name := range tx.dropped { // the order does not matter: each stands alone
		if row := virtuals.get(tx, nil, primary, tx.key(name)); row != nil && !wantsVirtual(tx, name) {
			virtuals.remove(tx, row)
			bury(tx, graveVirtual, name)
		}
	}
	clear(tx.dropped)
}

// wantsVirtual reports whether the service with a folded name is one of the mesh.
func wantsVirtual(tx *Txn, name string) bool {
	for range instances.scan(tx, nil, instanceByDestination, tx.key(name)) {
		return true
	}
	return slices.ContainsFunc(virtualKinds, func(k catalog.EntryKind) bool {
		return entries.get(tx, nil, primary, tx.key(string(k), name)) != nil
	})
}

// savedVirtuals is the table of virtual addresses as snapshots hold it.
type savedVirtuals struct{ *table[catalog.VirtualAddress] }

func (s savedVirtuals) load(l *Loader, row any) error {
	a, ok := row.(*catalog.VirtualAddress)
	if !ok {
		return fmt.Errorf("state: table %s: row is a %T", s.name, row)
	}
	if a.Service == "" {
		return fmt.Errorf("state: table %s: address %.40q is of no service", s.name, a.Address)
	}
	if !inPool(a.Address) {
		return fmt.Errorf("state: table %s: service %.40q has address %.40q, which is not in %s", s.name, a.Service, a.Address, catalog.VirtualPool)
	}
	if owner := virtualOwner(l.tx, a.Address); owner != "" && fold(owner) != fold(a.Service) {
		return fmt.Errorf("state: table %s: services %.40q and %.40q have one address", s.name, owner, a.Service)
	}
	for _, manual := range a.Manual {
		if other, ok := l.manual[manual]; ok && other != fold(a.Service) {
			return fmt.Errorf("state: table %s: two services were given address %.40q", s.name, manual)
		}
		l.manual[manual] = fold(a.Service)
	}
	s.put(l.tx, a)
	dropVirtual(l.tx, a.Service) // unless what follows wants it
	return nil
}

// inPool reports whether an address is one of those that services get, as it is written.
func inPool(address string) bool {
	addr, err := netip.ParseAddr(address)
	return err == nil && catalog.VirtualPool.Contains(addr) && addr.String() == address
}

// savedImports is the table of imported services as snapshots hold it.
type savedImports struct {
	*table[catalog.ImportedService]
}

func (s savedImports) load(l *Loader, row any) error {
	i, ok := row.(*catalog.ImportedService)
	if !ok {
		return fmt.Errorf("state: table %s: row is a %T", s.name, row)
	}
	if i.Virtual != "" {
		if !inPool(i.Virtual) {
			return fmt.Errorf("state: table %s: service %.40q of peer %.40q has address %.40q, which is not in %s", s.name, i.Service, i.Peer, i.Virtual, catalog.VirtualPool)
		}
		if owner := virtualOwner(l.tx, i.Virtual); owner != "" {
			return fmt.Errorf("state: table %s: services %.40q and %.40q of peer %.40q have one address", s.name, owner, i.Service, i.Peer)
		}
	}
	s.put(l.tx, i)
	return nil
}

func (v *verifier) virtuals() {
	owners := map[string]string{}
	for s := range imports.scan(v.tx, nil, primary, nil) {
		if s.Virtual == "" {
			continue
		}
		name := s.Service + " of peer " + s.Peer
		if other, ok := owners[s.Virtual]; ok {
			v.report("virtual address %s is of both %s and %s", s.Virtual, other, name)
		}
		owners[s.Virtual] = name
	}
	for a := range virtuals.scan(v.tx, nil, primary, nil) {
		if !wantsVirtual(v.tx, fold(a.Service)) {
			v.report("service %s has virtual address %s and is not of the mesh", a.Service, a.Address)
		}
		for _, address := range append([]string{a.Address}, a.Manual...) {
			if other, ok := owners[address]; ok {
				v.report("virtual address %s is of both %s and %s", address, other, a.Service)
			}
			owners[address] = a.Service
		}
	}
	for i := range instances.scan(v.tx, nil, instanceByDestination, nil) {
		a, _ := Virtual(v.tx, nil, i.Service.ConnectName())
		if a == nil {
			v.report("instance %s on %s: %s has no virtual address", i.Service.ID, i.Node.Node, i.Service.ConnectName())
		} else if got, want := i.Service.TaggedAddresses[catalog.VirtualTag], (catalog.ServiceAddress{Address: a.Address, Port: i.Service.Port}); got != want {
			v.report("instance %s on %s: shows virtual address %v, want %v", i.Service.ID, i.Node.Node, got, want)
		}
	}
	for _, kind := range virtualKinds {
		found, _ := ConfigEntries(v.tx, nil, kind)
		for _, e := range found {
			if a, _ := Virtual(v.tx, nil, e.Head().Key()); a == nil {
				v.report("config entry %s: its service has no virtual address", e.Head())
			}
		}
	}
}

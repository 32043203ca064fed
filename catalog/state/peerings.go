package state

import "github.com/curia-mesh/curia/catalog"

var peerings = &table[catalog.Peering]{
	name: "peerings",
	of:   func(v *version) *rows[catalog.Peering] { return &v.peerings },
	keys: []func([]byte, *catalog.Peering) []byte{
		primary:     func(key []byte, p *catalog.Peering) []byte { return joined(key, fold(p.Name)) },
		peeringByID: func(key []byte, p *catalog.Peering) []byte { return joined(key, p.ID) },
	},
}

const peeringByID = 1

// Peering returns the peering with a name, nil when there is none.
func Peering(tx *Txn, w *Watch, name string) (*catalog.Peering, uint64) {
	index := max(1, indexOf(tx, peeringsIndex))
	if p := peerings.get(tx, w, primary, tx.key(fold(name))); p != nil {
		return p, p.ModifyIndex
	}
	return nil, index
}

// PeeringByID returns the peering with an id of this cluster's, nil when there is none.
func PeeringByID(tx *Txn, w *Watch, id string) *catalog.Peering {
	return peerings.get(tx, w, peeringByID, tx.key(id))
}

// PeersThroughGateways reports whether this cluster and its peers reach one another's servers through mesh gateways, as the
// config entry mesh says. The index is that of its last change.
func PeersThroughGateways(tx *Txn, w *Watch) (bool, uint64) {
	e, index := ConfigEntry(tx, w, catalog.EntryMesh, catalog.MeshName)
	mesh, _ := e.(*catalog.Mesh)
	return mesh != nil && mesh.Peering != nil && mesh.Peering.PeerThroughMeshGateways, index
}

// Peerings returns all peerings by name.
func Peerings(tx *Txn, w *Watch) ([]*catalog.Peering, uint64) {
	index, found := max(1, indexOf(tx, peeringsIndex)), []*catalog.Peering{}
	for p := range peerings.scan(tx, w, primary, nil) {
		index = max(index, p.ModifyIndex)
		found = append(found, p)
	}
	return found, index
}

// PutPeering stores a peering if the one in its place was changed last at the index was, 0 for none, and reports whether
// it did.
func PutPeering(tx *Txn, p *catalog.Peering, was uint64) (bool, error) {
	row := *p
	row.CreateIndex, row.ModifyIndex = tx.Index, tx.Index
	old, _ := Peering(tx, nil, p.Name)
	other := PeeringByID(tx, nil, p.ID)
	switch {
	case old == nil && was != 0, old != nil && (old.ModifyIndex != was || old.ID != p.ID):
		return false, nil
	case other != nil && fold(other.Name) != fold(p.Name):
		return false, catalog.Errorf(catalog.Conflict, "peering %q: id %s is taken", p.Name, p.ID)
	case old != nil:
		row.CreateIndex = old.CreateIndex
	}
	peerings.put(tx, &row)
	return true, nil
}

// DeletePeering removes a peering, and what was imported over it, if it is there.
func DeletePeering(tx *Txn, id string) {
	if p := PeeringByID(tx, nil, id); p != nil {
		for _, i := range imports.all(tx, primary, tx.key(fold(p.Name))) {
			removeImport(tx, i)
		}
		peerings.remove(tx, p)
		setIndex(tx, peeringsIndex)
	}
}

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

// Peerings returns all peerings by name.
func Peerings(tx *Txn, w *Watch) ([]*catalog.Peering, uint64) {
	index, found := max(1, indexOf(tx, peeringsIndex)), []*catalog.Peering{}
	for p := range peerings.scan(tx, w, primary, nil) {
		index = max(index, p.ModifyIndex)
		found = append(found, p)
	}
	return found, index
}

// PutPeering adds a peering, or renews the secret of the one with its name, and its metadata when there is
// some. It returns the stored row.
func PutPeering(tx *Txn, p *catalog.Peering) (*catalog.Peering, error) {
	row := *p
	row.CreateIndex, row.ModifyIndex = tx.Index, tx.Index
	if old, _ := Peering(tx, nil, p.Name); old != nil {
		row = *old
		row.Secret, row.ModifyIndex = p.Secret, tx.Index
		if p.Meta != nil {
			row.Meta = p.Meta
		}
	} else if peerings.get(tx, nil, peeringByID, tx.key(p.ID)) != nil {
		return nil, catalog.Errorf(catalog.Conflict, "peering %q: id %s is taken", p.Name, p.ID)
	}
	peerings.put(tx, &row)
	return &row, nil
}

// DeletePeering removes a peering, if it is there.
func DeletePeering(tx *Txn, name string) {
	if p, _ := Peering(tx, nil, name); p != nil {
		peerings.remove(tx, p)
		setIndex(tx, peeringsIndex)
	}
}

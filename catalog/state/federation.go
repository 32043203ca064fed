package state

import "github.com/curia-mesh/curia/catalog"

var federations = &table[catalog.FederationState]{
	name: "federation-states",
	of:   func(v *version) *rows[catalog.FederationState] { return &v.federations },
	keys: []func([]byte, *catalog.FederationState) []byte{
		primary: func(key []byte, f *catalog.FederationState) []byte { return joined(key, f.Datacenter) },
	},
}

// Federation returns what a datacenter told the others, nil when it told nothing. It never takes it back.
func Federation(tx *Txn, w *Watch, datacenter string) (*catalog.FederationState, uint64) {
	if f := federations.get(tx, w, primary, tx.key(datacenter)); f != nil {
		return f, f.ModifyIndex
	}
	return nil, 1
}

// Federations returns what all datacenters told, by their names.
func Federations(tx *Txn, w *Watch) ([]*catalog.FederationState, uint64) {
	index, found := uint64(1), []*catalog.FederationState{}
	for f := range federations.scan(tx, w, primary, nil) {
		index = max(index, f.ModifyIndex)
		found = append(found, f)
	}
	return found, index
}

// PutFederation stores what a datacenter tells the others.
func PutFederation(tx *Txn, f *catalog.FederationState) error {
	if err := zeroless("federation state", f.Datacenter); err != nil {
		return err
	}
	putFederation(tx, f, tx.Index)
	return nil
}

// putFederation stores it with the index that its last change has in the primary datacenter.
func putFederation(tx *Txn, f *catalog.FederationState, there uint64) {
	row := *f
	row.CreateIndex, row.ModifyIndex, row.PrimaryModifyIndex = tx.Index, tx.Index, there
	if old, _ := Federation(tx, nil, f.Datacenter); old != nil {
		row.CreateIndex = old.CreateIndex
	}
	federations.put(tx, &row)
}

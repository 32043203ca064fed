package state

import "github.com/curia-mesh/curia/catalog"

var exports = &table[catalog.ExportSet]{
	name: "exports",
	of:   func(v *version) *rows[catalog.ExportSet] { return &v.exports },
	keys: []func([]byte, *catalog.ExportSet) []byte{
		primary: func(key []byte, s *catalog.ExportSet) []byte { return joined(key, s.Name) },
	},
}

// ExportSet returns the export set with a name, nil when there is none.
func ExportSet(tx *Txn, w *Watch, name string) (*catalog.ExportSet, uint64) {
	index := max(1, indexOf(tx, exportsIndex))
	if s := exports.get(tx, w, primary, tx.key(name)); s != nil {
		return s, s.ModifyIndex
	}
	return nil, index
}

// ExportSets returns all export sets by name.
func ExportSets(tx *Txn, w *Watch) ([]*catalog.ExportSet, uint64) {
	index, found := max(1, indexOf(tx, exportsIndex)), []*catalog.ExportSet{}
	for s := range exports.scan(tx, w, primary, nil) {
		index = max(index, s.ModifyIndex)
		found = append(found, s)
	}
	return found, index
}

// PutExportSet adds an export set or replaces the one with its name. It returns the stored row, which stays as it is
// when the new one says the same.
func PutExportSet(tx *Txn, s *catalog.ExportSet) (*catalog.ExportSet, error) {
	if err := zeroless("export set", s.Name); err != nil {
		return nil, err
	}
	row := *s
	row.Generation, row.CreateIndex, row.ModifyIndex = tx.Index, tx.Index, tx.Index
	if old, _ := ExportSet(tx, nil, s.Name); old != nil {
		if old.Same(s) {
			return old, nil
		}
		row.CreateIndex = old.CreateIndex
		if old.SameData(s) {
			row.Generation = old.Generation
		}
	}
	exports.put(tx, &row)
	return &row, nil
}

// DeleteExportSet removes an export set, if it is there.
func DeleteExportSet(tx *Txn, name string) {
	if s, _ := ExportSet(tx, nil, name); s != nil {
		exports.remove(tx, s)
		setIndex(tx, exportsIndex)
	}
}

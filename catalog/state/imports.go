package state

import "github.com/curia-mesh/curia/catalog"

var imports = &table[catalog.ImportedService]{
	name: "imports",
	of:   func(v *version) *rows[catalog.ImportedService] { return &v.imports },
	keys: []func([]byte, *catalog.ImportedService) []byte{
		primary: func(key []byte, s *catalog.ImportedService) []byte { return joined(key, fold(s.Peer), fold(s.Service)) },
		importByVirtual: func(key []byte, s *catalog.ImportedService) []byte {
			if s.Virtual == "" {
				return nil
			}
			return joined(key, s.Virtual)
		},
	},
}

const importByVirtual = 1

// Imported returns a service of a peer, nil when it exports none by that name.
func Imported(tx *Txn, w *Watch, peer, service string) (*catalog.ImportedService, uint64) {
	index := max(1, indexOf(tx, importsIndex))
	if s := imports.get(tx, w, primary, tx.key(fold(peer), fold(service))); s != nil {
		return s, s.ModifyIndex
	}
	return nil, index
}

// Imports returns what a peer exports to this cluster, by name; with no peer what all do.
func Imports(tx *Txn, w *Watch, peer string) ([]*catalog.ImportedService, uint64) {
	index, found, prefix := max(1, indexOf(tx, importsIndex)), []*catalog.ImportedService{}, []byte(nil)
	if peer != "" {
		prefix = tx.key(fold(peer))
	}
	for s := range imports.scan(tx, w, primary, prefix) {
		index = max(index, s.ModifyIndex)
		found = append(found, s)
	}
	return found, index
}

// PutImport stores what a peer says of a service, in place of what it said before. One of the mesh gets a virtual address, which
// it keeps for as long as it is there.
func PutImport(tx *Txn, s *catalog.ImportedService) error {
	if err := zeroless("imported service", s.Peer, s.Service); err != nil {
		return err
	}
	row := *s
	row.CreateIndex, row.ModifyIndex, row.Virtual = tx.Index, tx.Index, ""
	if old, _ := Imported(tx, nil, s.Peer, s.Service); old != nil {
		row.CreateIndex, row.Virtual = old.CreateIndex, old.Virtual
	}
	if row.Virtual == "" && len(row.Sidecars) > 0 {
		row.Virtual = nextVirtual(tx)
	}
	imports.put(tx, &row)
	return nil
}

// DeleteImport removes a service of a peer's, if it is there.
func DeleteImport(tx *Txn, peer, service string) {
	if s, _ := Imported(tx, nil, peer, service); s != nil {
		removeImport(tx, s)
	}
}

func removeImport(tx *Txn, s *catalog.ImportedService) {
	imports.remove(tx, s)
	setIndex(tx, importsIndex)
}

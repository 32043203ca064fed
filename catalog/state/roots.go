package state

import (
	"slices"

	"github.com/curia-mesh/curia/catalog"
)

var roots = &table[catalog.Root]{
	name: "roots",
	of:   func(v *version) *rows[catalog.Root] { return &v.roots },
	keys: []func([]byte, *catalog.Root) []byte{
		primary: func(key []byte, r *catalog.Root) []byte { return joined(key, r.ID) },
	},
}

// CA returns who signs the mesh's certificates, nil until the first leader has said.
func CA(tx *Txn, w *Watch) *catalog.CAConfig {
	return setting(tx, w, caSetting).CA
}

// CAKeys returns what that provider knows and nobody may see, nil until it has a root.
func CAKeys(tx *Txn, w *Watch) *catalog.CAKeys {
	return setting(tx, w, caKeysSetting).CAKeys
}

// Roots returns the trusted roots and the index of their last change. The list is not to be changed.
func Roots(tx *Txn, w *Watch) ([]*catalog.Root, uint64) {
	return slices.Collect(roots.scan(tx, w, primary, nil)), max(indexOf(tx, rootsIndex), 1)
}

// SetCA stores the configuration, and with it the keys and the whole list of roots where they are not nil.
func SetCA(tx *Txn, c *catalog.CAConfig, keys *catalog.CAKeys, list []*catalog.Root) {
	row := *c
	row.CreateIndex, row.ModifyIndex = tx.Index, tx.Index
	if old := CA(tx, nil); old != nil {
		row.CreateIndex = old.CreateIndex
	}
	settings.put(tx, &settingRow{Name: caSetting, CA: &row})
	if keys != nil {
		settings.put(tx, &settingRow{Name: caKeysSetting, CAKeys: &catalog.CAKeys{Secrets: keys.Secrets, Intermediate: keys.Intermediate, ModifyIndex: tx.Index}})
	}
	if list != nil {
		setRoots(tx, list)
	}
}

// setRoots replaces the roots. Those that stay as they are keep their index.
func setRoots(tx *Txn, list []*catalog.Root) {
	changed := false
	kept := map[string]bool{}
	for _, r := range list {
		kept[r.ID] = true
		old := roots.get(tx, nil, primary, tx.key(r.ID))
		if old != nil && sameRoot(old, r) {
			continue
		}
		row := *r
		row.CreateIndex, row.ModifyIndex = tx.Index, tx.Index
		if old != nil {
			row.CreateIndex = old.CreateIndex
		}
		roots.put(tx, &row)
		changed = true
	}
	for _, r := range roots.all(tx, primary, nil) {
		if !kept[r.ID] {
			roots.remove(tx, r)
			changed = true
		}
	}
	if changed {
		setIndex(tx, rootsIndex)
	}
}

// sameRoot compares what can change of a root with an ID.
func sameRoot(a, b *catalog.Root) bool {
	return a.Active == b.Active && a.TrustedUntil.Equal(b.TrustedUntil) && slices.Equal(a.IntermediateCerts, b.IntermediateCerts)
}

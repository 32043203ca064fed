package state

import (
	"fmt"
	"slices"
	"strings"

	"github.com/curia-mesh/curia/catalog"
)

// entries are the config entries. Like those of services, their names are told apart regardless of case.
var entries = &table[catalog.AnyEntry]{
	name: "config-entries",
	of:   func(v *version) *rows[catalog.AnyEntry] { return &v.entries },
	keys: []func([]byte, *catalog.AnyEntry) []byte{
		primary: func(key []byte, a *catalog.AnyEntry) []byte {
			h := a.Entry().Head()
			return joined(key, string(h.Kind), fold(h.Key()))
		},
	},
}

// entryGrave is the key of a grave of an entry. What is buried under a kind alone is so for its list.
func entryGrave(kind catalog.EntryKind, name string) string {
	return string(kind) + "\x00" + fold(name)
}

// ConfigEntry returns an entry, nil when there is none. The index of a missing one counts its removal.
func ConfigEntry(tx *Txn, w *Watch, kind catalog.EntryKind, name string) (catalog.ConfigEntry, uint64) {
	if a := entries.get(tx, w, primary, tx.key(string(kind), fold(name))); a != nil {
		e := a.Entry()
		return e, e.Head().ModifyIndex
	}
	return nil, buried(tx, graveEntry, entryGrave(kind, name))
}

// ConfigEntries returns the entries of a kind by name, of all kinds when it is empty.
func ConfigEntries(tx *Txn, w *Watch, kind catalog.EntryKind) ([]catalog.ConfigEntry, uint64) {
	index, prefix := buriedUnder(tx, graveEntry, ""), []byte(nil)
	if kind != "" {
		index, prefix = buriedUnder(tx, graveEntry, string(kind)+"\x00"), tx.key(string(kind))
	}
	found := []catalog.ConfigEntry{}
	for a := range entries.scan(tx, w, primary, prefix) {
		e := a.Entry()
		index = max(index, e.Head().ModifyIndex)
		found = append(found, e)
	}
	return found, index
}

// EntrySet stores a normalized entry, which belongs to the store from then on. One that says what is
// stored already changes nothing, its ModifyIndex included.
func EntrySet(tx *Txn, e catalog.ConfigEntry) {
	h := e.Head()
	h.CreateIndex, h.ModifyIndex = tx.Index, tx.Index
	if old, _ := ConfigEntry(tx, nil, h.Kind, h.Key()); old != nil {
		if catalog.SameEntry(old, e) {
			return
		}
		h.CreateIndex = old.Head().CreateIndex
	}
	entries.put(tx, catalog.AnyOf(e))
	if slices.Contains(virtualKinds, h.Kind) {
		assignVirtual(tx, h.Key(), tx.Index)
	}
}

// EntrySetStatus stores an entry of which only the status differs from what is stored.
func EntrySetStatus(tx *Txn, e catalog.ConfigEntry) {
	e.Head().ModifyIndex = tx.Index
	entries.put(tx, catalog.AnyOf(e))
}

// EntrySetCAS stores an entry if the stored one is at cas, or if cas is 0 and there is none, and reports
// whether it did. One that says what is stored already counts as stored.
func EntrySetCAS(tx *Txn, e catalog.ConfigEntry, cas uint64) bool {
	h := e.Head()
	old, _ := ConfigEntry(tx, nil, h.Kind, h.Key())
	if old != nil && catalog.SameEntry(old, e) {
		return true
	}
	if !entryAt(old, cas) {
		return false
	}
	EntrySet(tx, e)
	return true
}

func entryAt(e catalog.ConfigEntry, cas uint64) bool {
	if e == nil {
		return cas == 0
	}
	return e.Head().ModifyIndex == cas
}

// EntryDelete removes an entry if it is there.
func EntryDelete(tx *Txn, kind catalog.EntryKind, name string) {
	a := entries.get(tx, nil, primary, tx.key(string(kind), fold(name)))
	if a == nil {
		return
	}
	entries.remove(tx, a)
	bury(tx, graveEntry, entryGrave(kind, name))
	dropVirtual(tx, name)
}

// EntryDeleteCAS removes an entry that is at cas and reports whether it did.
func EntryDeleteCAS(tx *Txn, kind catalog.EntryKind, name string, cas uint64) bool {
	e, _ := ConfigEntry(tx, nil, kind, name)
	if e == nil || !entryAt(e, cas) {
		return false
	}
	EntryDelete(tx, kind, name)
	return true
}

// savedEntries is the table of config entries as snapshots hold it.
type savedEntries struct{ *table[catalog.AnyEntry] }

func (s savedEntries) load(l *Loader, row any) error {
	a, ok := row.(*catalog.AnyEntry)
	if !ok || a.Entry() == nil {
		return fmt.Errorf("state: table %s: row is a %T without an entry", s.name, row)
	}
	e := a.Entry()
	h := e.Head()
	if name := h.Key(); !isKindOf(h.Kind, e) || name == "" || strings.IndexByte(name, 0) >= 0 {
		return fmt.Errorf("state: table %s: entry %.40q of kind %.40q is misnamed", s.name, name, h.Kind)
	}
	e.Normalize()
	s.put(l.tx, catalog.AnyOf(e))
	if slices.Contains(virtualKinds, h.Kind) { // snapshots of before there were virtual addresses hold none
		assignVirtual(l.tx, h.Key(), h.ModifyIndex)
	}
	return nil
}

// isKindOf reports whether an entry has the type that its kind says.
func isKindOf(kind catalog.EntryKind, e catalog.ConfigEntry) bool {
	return kind == catalog.AnyOf(e).Kind()
}

func (v *verifier) entries() {
	for a := range entries.scan(v.tx, nil, primary, nil) {
		e := a.Entry()
		h := e.Head()
		switch {
		case !isKindOf(h.Kind, e):
			v.report("config entry %s: it is of type %T", h, e)
		case h.CreateIndex > h.ModifyIndex || h.CreateIndex == 0:
			v.report("config entry %s: created at %d, modified at %d", h, h.CreateIndex, h.ModifyIndex)
		}
	}
}

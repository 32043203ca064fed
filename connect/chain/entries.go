package chain

import (
	"cmp"
	"slices"
	"strings"

	"github.com/curia-mesh/curia/catalog"
)

// Entries are the config entries that chains are made of. They must not change while they are read.
type Entries interface {
	// Get returns an entry, nil when there is none. Names are told apart regardless of case.
	Get(kind catalog.EntryKind, name string) catalog.ConfigEntry
	// List returns the entries of a kind by name.
	List(kind catalog.EntryKind) []catalog.ConfigEntry
}

// Set is a set of entries in memory.
type Set struct{ byKey map[key]catalog.ConfigEntry }

type key struct {
	kind catalog.EntryKind
	name string
}

func keyOf(kind catalog.EntryKind, name string) key { return key{kind, strings.ToLower(name)} }

// SetOf makes a set of normalized entries. Of those with the same kind and name the last counts.
func SetOf(entries ...catalog.ConfigEntry) Set {
	s := Set{make(map[key]catalog.ConfigEntry, len(entries))}
	for _, e := range entries {
		s.byKey[keyOf(e.Head().Kind, e.Head().Key())] = e
	}
	return s
}

// Get implements Entries.
func (s Set) Get(kind catalog.EntryKind, name string) catalog.ConfigEntry {
	return s.byKey[keyOf(kind, name)]
}

// List implements Entries.
func (s Set) List(kind catalog.EntryKind) []catalog.ConfigEntry {
	var found []catalog.ConfigEntry
	for k, e := range s.byKey {
		if k.kind == kind {
			found = append(found, e)
		}
	}
	slices.SortFunc(found, byName)
	return found
}

func byName(a, b catalog.ConfigEntry) int {
	return cmp.Compare(strings.ToLower(a.Head().Key()), strings.ToLower(b.Head().Key()))
}

// entry returns an entry as what it is, nil when there is none.
func entry[T any, P interface {
	*T
	catalog.ConfigEntry
}](from Entries, kind catalog.EntryKind, name string) P {
	e, _ := from.Get(kind, name).(P)
	return e
}

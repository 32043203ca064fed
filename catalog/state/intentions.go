package state

import (
	"github.com/curia-mesh/curia/catalog"
)

// ServiceIntentions returns the intentions that name a destination and those for every one; either is nil
// when there are none.
func ServiceIntentions(tx *Txn, w *Watch, destination string) (named, all *catalog.ServiceIntentions, index uint64) {
	of := func(name string) *catalog.ServiceIntentions {
		e, at := ConfigEntry(tx, w, catalog.EntryServiceIntentions, name)
		index = max(index, at)
		found, _ := e.(*catalog.ServiceIntentions)
		return found
	}
	if destination != catalog.Wildcard {
		named = of(destination)
	}
	return named, of(catalog.Wildcard), index
}

// Intentions returns all intentions, the most specific first.
func Intentions(tx *Txn, w *Watch) ([]*catalog.Intention, uint64) {
	entries, index := ConfigEntries(tx, w, catalog.EntryServiceIntentions)
	list := []*catalog.Intention{}
	for _, e := range entries {
		list = append(list, e.(*catalog.ServiceIntentions).Intentions()...)
	}
	catalog.SortIntentions(list)
	return list, index
}

// IntentionByID returns the entry with the intention of an id and its place there, nil when there is none.
func IntentionByID(tx *Txn, w *Watch, id string) (*catalog.ServiceIntentions, int, uint64) {
	entries, index := ConfigEntries(tx, w, catalog.EntryServiceIntentions)
	for _, e := range entries {
		e := e.(*catalog.ServiceIntentions)
		for i, s := range e.Sources {
			if s.LegacyID == id {
				return e, i, index
			}
		}
	}
	return nil, -1, index
}

package state

import (
	"slices"

	"github.com/curia-mesh/curia/catalog"
)

// nameRow is a service by its name: what the list of services shows. It changes only when that does.
type nameRow struct {
	Name        string
	Kind        catalog.Kind
	Tags        []string // sorted
	CreateIndex uint64
	ModifyIndex uint64
}

var names = &table[nameRow]{name: "names", indexes: map[string]func(*nameRow) []byte{
	primary: func(r *nameRow) []byte { return joined(fold(r.Name)) },
}}

// tallyRow counts the instances of a service that carry a tag; the empty tag counts them all.
type tallyRow struct {
	Service string
	Tag     string
	Count   int
}

var tallies = &table[tallyRow]{name: "tallies", indexes: map[string]func(*tallyRow) []byte{
	primary: func(r *tallyRow) []byte { return joined(fold(r.Service), r.Tag) },
}}

// tally counts a service that came (was is nil), went (is is nil) or changed, and keeps its name row.
func tally(tx *Txn, was, is *catalog.Service) {
	if was != nil && is != nil && fold(was.Service) == fold(is.Service) && slices.Equal(was.Tags, is.Tags) {
		return
	}
	changed := map[string]*catalog.Service{}
	if was != nil && count(tx, was, -1) {
		changed[fold(was.Service)] = was
	}
	if is != nil && count(tx, is, +1) {
		changed[fold(is.Service)] = is
	}
	for _, s := range changed {
		renameService(tx, s)
	}
}

// count adds by to the tallies of s and reports whether the set of its tags, or whether it exists at
// all, may have changed.
func count(tx *Txn, s *catalog.Service, by int) (edge bool) {
	seen := map[string]bool{}
	for _, tag := range append([]string{""}, s.Tags...) {
		if seen[tag] {
			continue
		}
		seen[tag] = true
		row := tallyRow{Service: s.Service, Tag: tag}
		if old := tallies.get(tx, nil, primary, joined(fold(s.Service), tag)); old != nil {
			row = *old
		}
		row.Count += by
		if row.Count <= 0 {
			tallies.remove(tx, &row)
			edge = true
			continue
		}
		edge = edge || by > 0 && row.Count == 1
		tallies.put(tx, &row)
	}
	return edge
}

// renameService writes the name row of a service from its tallies.
func renameService(tx *Txn, s *catalog.Service) {
	key := joined(fold(s.Service))
	old := names.get(tx, nil, primary, key)
	row := nameRow{Name: s.Service, Kind: s.Kind, Tags: []string{}, CreateIndex: tx.Index, ModifyIndex: tx.Index}
	exists := false
	for t := range tallies.scan(tx, nil, primary, key) {
		if t.Tag == "" {
			exists = true
			continue
		}
		row.Tags = append(row.Tags, t.Tag)
	}
	switch {
	case !exists && old != nil:
		names.remove(tx, old)
	case !exists || old != nil && slices.Equal(old.Tags, row.Tags):
		return
	default:
		if old != nil {
			row.Name, row.CreateIndex = old.Name, old.CreateIndex
		}
		names.put(tx, &row)
	}
	setIndex(tx, namesIndex)
}

// ServiceNames returns the names of all services with the tags of their instances.
func ServiceNames(tx *Txn, w *Watch) (map[string][]string, uint64) {
	found := map[string][]string{}
	for r := range names.scan(tx, w, primary, nil) {
		found[r.Name] = r.Tags
	}
	return found, max(1, indexOf(tx, namesIndex))
}

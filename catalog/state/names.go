package state

import (
	"maps"
	"slices"

	"github.com/curia-mesh/curia/catalog"
)

// nameRow is a service by its name: what the list of services shows. It changes only when that does.
type nameRow struct {
	Name string
	Tags []string // sorted
}

var names = &table[nameRow]{
	name: "names",
	of:   func(v *version) *rows[nameRow] { return &v.names },
	keys: []func([]byte, *nameRow) []byte{
		primary: func(key []byte, r *nameRow) []byte { return joined(key, fold(r.Name)) },
	},
}

// tallies count, for each service by its folded name, the instances that carry a tag; the empty tag
// counts them all. They derive from the instances, are no part of a version, and belong to whoever
// writes.
type tallies map[string]map[string]int

// tallied is a step of counting, to be taken back when its transaction is given up.
type tallied struct {
	service, tag string
	by           int
}

// add returns the count after it, and keeps no entry for nothing.
func (t tallies) add(s tallied) int {
	tags := t[s.service]
	if tags == nil {
		tags = map[string]int{}
		t[s.service] = tags
	}
	n := tags[s.tag] + s.by
	if tags[s.tag] = n; n == 0 {
		delete(tags, s.tag)
	}
	if len(tags) == 0 {
		delete(t, s.service)
	}
	return n
}

// recount counts a service that came (was is nil), went (is is nil) or changed, and keeps its name row.
func recount(tx *Txn, was, is *catalog.Service) {
	if was != nil && is != nil && fold(was.Service) == fold(is.Service) && slices.Equal(was.Tags, is.Tags) {
		return
	}
	left := was != nil && count(tx, was, -1)
	came := is != nil && count(tx, is, +1)
	if left {
		nameService(tx, was.Service)
	}
	if came {
		nameService(tx, is.Service)
	}
}

// count counts a service and its tags and reports whether the set of its tags, or whether it exists at
// all, may have changed.
func count(tx *Txn, s *catalog.Service, by int) (edge bool) {
	step := func(tag string) {
		t := tallied{fold(s.Service), tag, by}
		n := tx.store.tallies.add(t)
		tx.tallied = append(tx.tallied, t)
		edge = edge || n == 0 || n == by
	}
	step("")
	seen := map[string]bool{}
	for i, tag := range s.Tags {
		if len(s.Tags) <= 8 && slices.Contains(s.Tags[:i], tag) || seen[tag] || tag == "" {
			continue
		}
		if len(s.Tags) > 8 {
			seen[tag] = true
		}
		step(tag)
	}
	return edge
}

// nameService writes the name row of a service from its tallies.
func nameService(tx *Txn, name string) {
	old := names.get(tx, nil, primary, tx.key(fold(name)))
	tally := tx.store.tallies[fold(name)]
	row := &nameRow{Name: name, Tags: slices.AppendSeq(make([]string, 0, len(tally)), maps.Keys(tally))}
	slices.Sort(row.Tags)
	if len(row.Tags) > 0 {
		row.Tags = row.Tags[1:] // the empty one, which counts all
	}
	switch {
	case tally == nil && old == nil || tally != nil && old != nil && slices.Equal(old.Tags, row.Tags):
		return
	case tally == nil:
		names.remove(tx, old)
	default:
		if old != nil {
			row.Name = old.Name
		}
		names.put(tx, row)
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

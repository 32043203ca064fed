package proxy

import (
	"maps"
	"slices"
	"strings"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc/http1/wire"
)

// edits change the fields of a message: those with a name in drop go, and lines are added.
type edits struct {
	drop  []string // in lower case, sorted
	lines []byte
}

// newEdits compiles changes that are done one after the other.
func newEdits(all ...*catalog.HeaderModifiers) edits {
	var e edits
	type line struct{ name, value string }
	var lines []line
	for _, m := range all {
		if m == nil {
			continue
		}
		gone := map[string]bool{}
		for _, name := range m.Remove {
			gone[strings.ToLower(name)] = true
		}
		for name := range m.Set {
			gone[strings.ToLower(name)] = true
		}
		lines = slices.DeleteFunc(lines, func(l line) bool { return gone[strings.ToLower(l.name)] })
		e.drop = append(e.drop, slices.Sorted(maps.Keys(gone))...)
		for _, more := range []map[string]string{m.Set, m.Add} {
			for _, name := range slices.Sorted(maps.Keys(more)) {
				lines = append(lines, line{name, more[name]})
			}
		}
	}
	slices.Sort(e.drop)
	e.drop = slices.Compact(e.drop)
	for _, l := range lines {
		e.lines = appendField(e.lines, l.name, l.value)
	}
	return e
}

// appendField adds a field. One that is none, or says how the message goes on, is left out: that is not an operator's
// to change. What would end the line becomes a space.
func appendField(b []byte, name, value string) []byte {
	for i := range len(name) {
		if !wire.Token[name[i]] {
			return b
		}
	}
	if name == "" || framing&(1<<wire.KindOf([]byte(name))) != 0 {
		return b
	}
	b = append(append(b, name...), ':', ' ')
	for _, c := range []byte(value) {
		if !wire.Text[c] {
			c = ' '
		}
		b = append(b, c)
	}
	return append(b, '\r', '\n')
}

package state

import (
	"maps"
	"slices"

	"github.com/curia-mesh/curia/catalog"
)

// interner makes rows share strings, tags and metadata that are equal: fleets repeat themselves, memory
// need not. Only the one who writes uses it.
type interner struct {
	strings map[string]string
	lists   map[string][]string
	maps    map[string]map[string]string
	key     []byte
}

const (
	// maxShared is how many values of each type are remembered before they are all forgotten.
	maxShared = 1 << 14
	// Longer texts, and longer lists and metadata, are seldom the same twice.
	maxSharedText = 64
	maxSharedList = 256
)

func (in *interner) text(s *string) {
	if len(*s) == 0 || len(*s) > maxSharedText {
		return
	}
	if known, ok := in.strings[*s]; ok {
		*s = known
		return
	}
	remember(&in.strings, *s, *s)
}

func (in *interner) list(l *[]string) {
	in.key = in.key[:0]
	for _, s := range *l {
		in.key = append(append(in.key, s...), 0)
	}
	if *l == nil || len(in.key) > maxSharedList {
		return
	}
	if known, ok := in.lists[string(in.key)]; ok && slices.Equal(known, *l) {
		*l = known
		return
	}
	own := make([]string, len(*l))
	for i, s := range *l {
		in.text(&s)
		own[i] = s
	}
	*l = own
	remember(&in.lists, string(in.key), own)
}

func (in *interner) pairs(m *map[string]string) {
	in.key = in.key[:0]
	if *m == nil || len(*m) > 16 {
		return
	}
	var room [16]string
	names := room[:0]
	for name := range *m {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		in.key = append(append(in.key, name...), 0)
		in.key = append(append(in.key, (*m)[name]...), 0)
	}
	if len(in.key) > maxSharedList {
		return
	}
	if known, ok := in.maps[string(in.key)]; ok && maps.Equal(known, *m) {
		*m = known
		return
	}
	remember(&in.maps, string(in.key), *m)
}

func remember[V any](in *map[string]V, key string, value V) {
	if *in == nil || len(*in) >= maxShared {
		*in = map[string]V{}
	}
	(*in)[key] = value
}

func (in *interner) node(n *catalog.Node) {
	in.text(&n.Datacenter)
	in.pairs(&n.Meta)
}

func (in *interner) service(s *catalog.Service) {
	in.text(&s.Service)
	in.text((*string)(&s.Kind))
	in.list(&s.Tags)
	in.pairs(&s.Meta)
	if s.ID == s.Service {
		s.ID = s.Service
	}
}

func (in *interner) check(c *catalog.Check) {
	in.text(&c.CheckID)
	in.text(&c.Name)
	in.text((*string)(&c.Status))
	in.text(&c.Type)
	in.text(&c.Interval)
	in.text(&c.Timeout)
	in.text(&c.Notes)
	in.text(&c.Output)
}

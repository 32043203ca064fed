package decode

import (
	"fmt"
	"slices"
	"strings"

	"github.com/curia-mesh/curia/catalog"
)

// Entry decodes a config entry from JSON. Names and values are written loosely, as Consul takes them: in
// any case, with underscores or without, one value in place of a list, a list of blocks in place of one,
// numbers as text. What it does not know is an error.
// Source: https://developer.hashicorp.com/consul/docs/fundamentals/config-entry
func Entry(data []byte) (catalog.ConfigEntry, error) {
	return entry(func(into any, opts ...Option) error { return JSON(data, into, append(opts, weak)...) })
}

// EntryHCL decodes a config entry from HCL of version 1.
func EntryHCL(data []byte) (catalog.ConfigEntry, error) {
	return entry(func(into any, opts ...Option) error { return HCL(data, into, append(opts, weak)...) })
}

// EntryMap decodes a config entry that is a part of a file.
func EntryMap(m map[string]any) (catalog.ConfigEntry, error) {
	return entry(func(into any, opts ...Option) error { return Map(m, into, append(opts, weak)...) })
}

func weak(o *options) { o.file, o.weak = true, true }

func entry(read func(into any, opts ...Option) error) (catalog.ConfigEntry, error) {
	var head struct{ Kind catalog.EntryKind }
	if err := read(&head); err != nil {
		return nil, err
	}
	e := catalog.NewEntry(head.Kind)
	if e == nil {
		return nil, catalog.Errorf(catalog.Invalid, "%w", &Error{Path: "Kind", Msg: unknownKind(string(head.Kind))})
	}
	if err := read(e, Strict()); err != nil {
		return nil, err
	}
	e.Head().Kind = head.Kind
	return e, nil
}

func unknownKind(kind string) string {
	names := []string{}
	for _, k := range catalog.EntryKinds() {
		if k != catalog.EntryBoundAPIGateway {
			names = append(names, string(k))
		}
	}
	slices.Sort(names)
	switch near := catalog.Nearest(kind, names); {
	case kind == "":
		return "missing, want one of " + strings.Join(names, ", ")
	case near != "":
		return fmt.Sprintf("unknown kind %q, did you mean %s?", shorten(kind), near)
	}
	return fmt.Sprintf("unknown kind %q: want one of %s", shorten(kind), strings.Join(names, ", "))
}

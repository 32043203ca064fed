package chain

import (
	"slices"
	"strings"

	"github.com/curia-mesh/curia/catalog"
)

// Judge reports what a change of one entry breaks: the first chain, by name, that compiled before the change
// and does not any more. A chain that was broken already, by entries that another release or program wrote,
// does not stand in the way of other changes; but routers, splitters and resolvers are not written into a
// chain that they do not fit.
//
// now are the entries after the change. before is the changed entry as it was, nil when it is new.
func Judge(now Entries, kind catalog.EntryKind, name string, before catalog.ConfigEntry) error {
	after := now.Get(kind, name)
	if !matters(kind, before, after) {
		return nil
	}
	old := changed{now, keyOf(kind, name), before}
	for _, service := range touched(now, kind, name, before) {
		broken := compiles(service, now)
		if broken == nil {
			continue
		}
		if after != nil && stage(kind) && strings.EqualFold(service, name) {
			return broken
		}
		if compiles(service, old) == nil {
			what := "write"
			if after == nil {
				what = "removal"
			}
			return catalog.Errorf(catalog.Invalid, "this %s of %s/%s would break the chain of service %q: %w", what, kind, name, service, broken)
		}
	}
	return nil
}

// compiles reports why a chain does not compile. In which datacenter does not matter.
func compiles(service string, from Entries) error {
	_, err := Compile(Request{Service: service}, from)
	return err
}

// stage reports whether entries of a kind are stages of chains.
func stage(kind catalog.EntryKind) bool {
	return kind == catalog.EntryServiceRouter || kind == catalog.EntryServiceSplitter || kind == catalog.EntryServiceResolver
}

// matters reports whether a change can make a difference to whether chains compile.
func matters(kind catalog.EntryKind, before, after catalog.ConfigEntry) bool {
	switch kind {
	case catalog.EntryProxyDefaults:
		was, _ := before.(*catalog.ProxyDefaults)
		is, _ := after.(*catalog.ProxyDefaults)
		return protocolOf(nil, was) != protocolOf(nil, is)
	case catalog.EntryServiceDefaults:
		was, _ := before.(*catalog.ServiceDefaults)
		is, _ := after.(*catalog.ServiceDefaults)
		return said(was) != said(is)
	}
	return stage(kind) || kind == catalog.EntrySamenessGroup
}

// said is the protocol that defaults say.
func said(d *catalog.ServiceDefaults) string {
	if d == nil {
		return ""
	}
	return strings.ToLower(d.Protocol)
}

// touched lists the services whose chains may read an entry, by name.
func touched(now Entries, kind catalog.EntryKind, name string, before catalog.ConfigEntry) []string {
	leads := leadsTo{to: map[string][]string{}}
	for _, k := range []catalog.EntryKind{catalog.EntryServiceRouter, catalog.EntryServiceSplitter, catalog.EntryServiceResolver} {
		for _, e := range now.List(k) {
			leads.add(e)
		}
	}
	if kind == catalog.EntryProxyDefaults || kind == catalog.EntrySamenessGroup {
		slices.Sort(leads.all)
		return slices.Compact(leads.all)
	}
	if before != nil {
		leads.add(before)
	}
	found := []string{name}
	seen := map[string]bool{strings.ToLower(name): true}
	for i := 0; i < len(found); i++ {
		for _, from := range leads.to[strings.ToLower(found[i])] {
			if low := strings.ToLower(from); !seen[low] {
				seen[low] = true
				found = append(found, from)
			}
		}
	}
	slices.Sort(found)
	return found
}

// leadsTo says which services have entries that lead to a service, by its name in lower case.
type leadsTo struct {
	to  map[string][]string
	all []string // services with entries
}

func (l *leadsTo) add(e catalog.ConfigEntry) {
	from := e.Head().Name
	l.all = append(l.all, from)
	lead := func(to string) {
		if low := strings.ToLower(to); to != "" && !strings.EqualFold(to, from) {
			l.to[low] = append(l.to[low], from)
		}
	}
	switch e := e.(type) {
	case *catalog.ServiceRouter:
		for i := range e.Routes {
			if d := e.Routes[i].Destination; d != nil {
				lead(d.Service)
				if d.Mirror != nil {
					lead(d.Mirror.Service)
				}
			}
		}
	case *catalog.ServiceSplitter:
		for i := range e.Splits {
			lead(e.Splits[i].Service)
		}
	case *catalog.ServiceResolver:
		if e.Redirect != nil {
			lead(e.Redirect.Service)
		}
		for _, f := range e.Failover { // the order does not matter: what is found is sorted
			lead(f.Service)
			for _, t := range f.Targets {
				lead(t.Service)
			}
		}
	}
}

// changed are entries with one of them as it was before.
type changed struct {
	now    Entries
	at     key
	before catalog.ConfigEntry
}

// Get implements Entries.
func (c changed) Get(kind catalog.EntryKind, name string) catalog.ConfigEntry {
	if keyOf(kind, name) == c.at {
		return c.before
	}
	return c.now.Get(kind, name)
}

// List implements Entries.
func (c changed) List(kind catalog.EntryKind) []catalog.ConfigEntry {
	list := c.now.List(kind)
	if kind != c.at.kind {
		return list
	}
	list = slices.DeleteFunc(slices.Clone(list), func(e catalog.ConfigEntry) bool { return strings.EqualFold(e.Head().Key(), c.at.name) })
	if c.before != nil {
		list = append(list, c.before)
	}
	slices.SortFunc(list, byName)
	return list
}

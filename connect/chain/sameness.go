package chain

import "github.com/curia-mesh/curia/catalog"

// group looks up a sameness group that an entry names.
func (c *compiler) group(name string, via ref) (*catalog.SamenessGroup, error) {
	if g := entry[catalog.SamenessGroup](c.from, catalog.EntrySamenessGroup, name); g != nil {
		return g, nil
	}
	return nil, catalog.Errorf(catalog.Invalid, "%s.SamenessGroup: there is no sameness group %q: write sameness-group/%s first", via, name, name)
}

// defaultGroup is the group that stands in for services whose resolvers name nobody, nil without one.
func (c *compiler) defaultGroup() *catalog.SamenessGroup {
	if !c.grouped {
		c.groups, c.grouped = c.from.List(catalog.EntrySamenessGroup), true
	}
	for _, e := range c.groups {
		if g, ok := e.(*catalog.SamenessGroup); ok && g.DefaultForFailover {
			return g
		}
	}
	return nil
}

// ofGroup lists the instances of a service in all clusters of a group.
func ofGroup(p place, g *catalog.SamenessGroup) []standIn {
	var found []standIn
	for _, peer := range g.Clusters() {
		found = append(found, standIn{p.moved("", "", "", peer), ref{head: &g.EntryHead, field: "Members"}, true})
	}
	return found
}

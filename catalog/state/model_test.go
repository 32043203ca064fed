package state_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
)

// model is what the store should hold, in plain maps and without any index. Its rows are changed in
// place; what it is asked for is found by looking at everything.
type model struct {
	index    uint64                              // begins at 1, as the log does with its first configuration
	nodes    map[string]*catalog.Node            // by folded name
	services map[string]*catalog.Service         // by folded node and id
	checks   map[string]*catalog.Check           // by folded node and id
	sessions map[string]*catalog.Session         // by id
	pairs    map[string]*catalog.KVPair          // by key
	places   map[string]*catalog.NodeCoordinate  // by folded node
	locks    map[string]uint64                   // the highest LockIndex a key ever had
	entries  map[string]*catalog.ServiceDefaults // by folded name: what is stored of one kind is as good as all
	spelled  map[string]string                   // the first spelling of a service that still exists
	virtuals map[string]*catalog.VirtualAddress  // by folded service
	assigned int                                 // addresses so far
}

func newModel() *model {
	return &model{
		index: 1,
		nodes: map[string]*catalog.Node{}, services: map[string]*catalog.Service{}, checks: map[string]*catalog.Check{},
		sessions: map[string]*catalog.Session{}, pairs: map[string]*catalog.KVPair{},
		places: map[string]*catalog.NodeCoordinate{}, locks: map[string]uint64{}, entries: map[string]*catalog.ServiceDefaults{}, spelled: map[string]string{},
		virtuals: map[string]*catalog.VirtualAddress{},
	}
}

func cloned[V any](m map[string]*V) map[string]*V {
	c := map[string]*V{}
	for k, v := range m {
		row := *v
		c[k] = &row
	}
	return c
}

// clone lets a transaction be given up.
func (m *model) clone() *model {
	return &model{
		index: m.index, nodes: cloned(m.nodes), services: cloned(m.services), checks: cloned(m.checks), sessions: cloned(m.sessions),
		pairs: cloned(m.pairs), places: cloned(m.places), locks: maps.Clone(m.locks), entries: cloned(m.entries), spelled: maps.Clone(m.spelled),
		virtuals: cloned(m.virtuals), assigned: m.assigned,
	}
}

func at(node, id string) string { return strings.ToLower(node) + "\x00" + id }

func on(key, node string) bool { return strings.HasPrefix(key, strings.ToLower(node)+"\x00") }

func (m *model) ensureNode(given *catalog.Node) bool {
	name := strings.ToLower(given.Node)
	n, old := *given, m.nodes[name]
	if n.ID == "" && old != nil {
		n.ID = old.ID
	}
	if old != nil && old.ID != "" && old.ID != n.ID {
		if health := m.checks[at(name, catalog.SerfHealth)]; health != nil && health.Status != catalog.Critical {
			return false
		}
	}
	created := m.index
	if old != nil {
		created = old.CreateIndex
	}
	for other, same := range m.nodes {
		if n.ID != "" && same.ID == n.ID && other != name {
			if health := m.checks[at(other, catalog.SerfHealth)]; health != nil && health.Status != catalog.Critical {
				return false
			}
			created = same.CreateIndex
			m.deleteNode(other)
		}
	}
	if old != nil && old.Same(&n) {
		return true
	}
	n.CreateIndex, n.ModifyIndex = created, m.index
	m.nodes[name] = &n
	return true
}

func (m *model) deleteNode(name string) {
	n := m.nodes[strings.ToLower(name)]
	if n == nil {
		return
	}
	for key, s := range m.services {
		if on(key, name) {
			m.deleteService(name, s.ID)
		}
	}
	for key, c := range m.checks {
		if on(key, name) {
			m.deleteCheck(name, c.CheckID)
		}
	}
	for id, s := range m.sessions {
		if strings.EqualFold(s.Node, name) {
			m.endSession(id)
		}
	}
	delete(m.places, strings.ToLower(name))
	delete(m.nodes, strings.ToLower(name))
}

func (m *model) ensureService(node string, given *catalog.Service) bool {
	if m.nodes[strings.ToLower(node)] == nil {
		return false
	}
	s, old := *given, m.services[at(node, given.ID)]
	s.CreateIndex, s.ModifyIndex = m.index, m.index
	if name := s.ConnectName(); name != "" {
		s.TaggedAddresses = map[string]catalog.ServiceAddress{"consul-virtual": {Address: m.virtual(name).Address, Port: s.Port}}
	}
	if old != nil {
		if old.Same(&s) {
			return true
		}
		s.CreateIndex = old.CreateIndex
	}
	m.services[at(node, s.ID)] = &s
	for key, c := range m.checks {
		if on(key, node) && c.ServiceID == s.ID && (c.ServiceName != s.Service || !slices.Equal(c.ServiceTags, s.Tags)) {
			c.ServiceName, c.ServiceTags, c.ModifyIndex = s.Service, s.Tags, m.index
		}
	}
	if name := strings.ToLower(s.Service); m.spelled[name] == "" {
		m.spelled[name] = s.Service
	}
	m.forgetSpelling()
	return true
}

// virtual gives a service an address, unless it has one.
func (m *model) virtual(service string) *catalog.VirtualAddress {
	name := strings.ToLower(service)
	if m.virtuals[name] == nil {
		m.assigned++
		m.virtuals[name] = &catalog.VirtualAddress{Service: service, Address: fmt.Sprintf("240.0.%d.%d", m.assigned/256, m.assigned%256), CreateIndex: m.index, ModifyIndex: m.index}
	}
	return m.virtuals[name]
}

// settle takes the addresses back that nothing wants any more.
func (m *model) settle() {
	for name := range m.virtuals {
		if m.entries[name] == nil && len(m.instances(func(s *catalog.Service) bool { return strings.EqualFold(s.ConnectName(), name) })) == 0 {
			delete(m.virtuals, name)
		}
	}
}

// manual gives a service addresses and takes them from the others.
func (m *model) manual(service string, addresses []string) (from []string) {
	own := m.virtuals[strings.ToLower(service)]
	if own == nil {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(m.virtuals)) {
		other := m.virtuals[name]
		rest := slices.DeleteFunc(slices.Clone(other.Manual), func(a string) bool { return slices.Contains(addresses, a) })
		if other != own && len(rest) < len(other.Manual) {
			other.Manual, other.ModifyIndex = rest, m.index
			from = append(from, other.Service)
		}
	}
	if !slices.Equal(own.Manual, addresses) {
		own.Manual, own.ModifyIndex = addresses, m.index
	}
	return from
}

func (m *model) forgetSpelling() {
	for name := range m.spelled {
		if len(m.instances(func(s *catalog.Service) bool { return strings.EqualFold(s.Service, name) })) == 0 {
			delete(m.spelled, name)
		}
	}
}

func (m *model) deleteService(node, id string) {
	for key, c := range m.checks {
		if on(key, node) && c.ServiceID == id {
			m.deleteCheck(node, c.CheckID)
		}
	}
	delete(m.services, at(node, id))
	m.forgetSpelling()
}

func (m *model) ensureCheck(given *catalog.Check) bool {
	n := m.nodes[strings.ToLower(given.Node)]
	if n == nil {
		return false
	}
	c, old := *given, m.checks[at(given.Node, given.CheckID)]
	c.Node = n.Node
	if c.ServiceID != "" {
		s := m.services[at(c.Node, c.ServiceID)]
		if s == nil {
			return false
		}
		c.ServiceName, c.ServiceTags = s.Service, s.Tags
	}
	c.CreateIndex, c.ModifyIndex = m.index, m.index
	if old != nil {
		c.CreateIndex = old.CreateIndex
		if old.Same(&c) {
			return true
		}
	}
	m.checks[at(c.Node, c.CheckID)] = &c
	if c.Status == catalog.Critical {
		m.endSessionsOf(&c)
	}
	return true
}

func (m *model) deleteCheck(node, id string) {
	if c := m.checks[at(node, id)]; c != nil {
		delete(m.checks, at(node, id))
		m.endSessionsOf(c)
	}
}

func (m *model) endSessionsOf(c *catalog.Check) {
	for id, s := range m.sessions {
		if strings.EqualFold(s.Node, c.Node) && slices.Contains(s.NodeChecks, c.CheckID) {
			m.endSession(id)
		}
	}
}

func (m *model) createSession(given *catalog.Session) bool {
	n := m.nodes[strings.ToLower(given.Node)]
	if n == nil || m.sessions[given.ID] != nil {
		return false
	}
	for _, id := range given.NodeChecks {
		if c := m.checks[at(n.Node, id)]; c == nil || c.Status == catalog.Critical {
			return false
		}
	}
	s := *given
	s.Node, s.CreateIndex, s.ModifyIndex = n.Node, m.index, m.index
	m.sessions[s.ID] = &s
	return true
}

func (m *model) endSession(id string) {
	s := m.sessions[id]
	if s == nil {
		return
	}
	delete(m.sessions, id)
	for key, p := range m.pairs {
		if p.Session != id {
			continue
		}
		if s.Behavior == catalog.Delete {
			delete(m.pairs, key)
			continue
		}
		p.Session, p.ModifyIndex = "", m.index
	}
}

// put writes a pair with the lock it should have; the LockIndex is the store's to choose.
func (m *model) put(p *catalog.KVPair, session string, lock uint64) {
	row, old := catalog.KVPair{Key: p.Key, Value: p.Value, Flags: p.Flags, Session: session, LockIndex: lock}, m.pairs[p.Key]
	if len(row.Value) == 0 {
		row.Value = nil
	}
	row.CreateIndex, row.ModifyIndex = m.index, m.index
	if old != nil {
		row.CreateIndex = old.CreateIndex
		if old.Session == session && old.Flags == row.Flags && old.LockIndex == lock && string(old.Value) == string(row.Value) {
			row.ModifyIndex = old.ModifyIndex
		}
	}
	m.pairs[p.Key] = &row
	m.locks[p.Key] = max(m.locks[p.Key], lock)
}

func (m *model) deleteTree(prefix string) {
	for key := range m.pairs {
		if strings.HasPrefix(key, prefix) {
			delete(m.pairs, key)
		}
	}
}

func (m *model) place(c *catalog.NodeCoordinate) {
	old := m.places[strings.ToLower(c.Node)]
	if n := m.nodes[strings.ToLower(c.Node)]; n != nil && (old == nil || !old.Coord.Same(c.Coord)) {
		m.places[strings.ToLower(c.Node)] = &catalog.NodeCoordinate{Node: n.Node, Coord: c.Coord}
	}
}

// instances joins the services that keep accepts, in order of nodes and ids.
// setEntry stores an entry if it is at cas, or whatever it is at when that is nil, and reports whether it is
// there now.
func (m *model) setEntry(e catalog.ServiceDefaults, cas *uint64) bool {
	name := strings.ToLower(e.Name)
	old := m.entries[name]
	e.CreateIndex, e.ModifyIndex = m.index, m.index
	if old != nil {
		if old.Name == e.Name && old.Protocol == e.Protocol {
			return true
		}
		e.CreateIndex = old.CreateIndex
	}
	if cas != nil && (old == nil && *cas != 0 || old != nil && *cas != old.ModifyIndex) {
		return false
	}
	m.entries[name] = &e
	m.virtual(e.Name)
	return true
}

func (m *model) instances(keep func(*catalog.Service) bool) []*catalog.Instance {
	found := []*catalog.Instance{}
	for _, key := range slices.Sorted(maps.Keys(m.services)) {
		s := m.services[key]
		if !keep(s) {
			continue
		}
		i := &catalog.Instance{Node: m.nodes[key[:strings.IndexByte(key, 0)]], Service: s}
		for _, own := range []bool{false, true} {
			for _, key := range slices.Sorted(maps.Keys(m.checks)) {
				if c := m.checks[key]; on(key, i.Node.Node) && (c.ServiceID != "") == own && (!own || c.ServiceID == s.ID) {
					i.Checks = append(i.Checks, c)
				}
			}
		}
		found = append(found, i)
	}
	return found
}

func sorted[V any](m map[string]*V) []*V {
	list := []*V{}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		list = append(list, m[key])
	}
	return list
}

// everything is what the model holds, in the form of contents.
func (m *model) everything() string {
	tags := map[string][]string{}
	for name, spelling := range m.spelled {
		all := []string{}
		for _, i := range m.instances(func(s *catalog.Service) bool { return strings.EqualFold(s.Service, name) }) {
			all = append(all, i.Service.Tags...)
		}
		slices.Sort(all)
		tags[spelling] = slices.Compact(all)
	}
	instances := m.instances(func(*catalog.Service) bool { return true })
	slices.SortStableFunc(instances, func(a, b *catalog.Instance) int {
		return cmp.Compare(strings.ToLower(a.Service.Service), strings.ToLower(b.Service.Service))
	})
	places := append([]*catalog.NodeCoordinate{}, sorted(m.places)...)
	return encoded(sorted(m.nodes), instances, sorted(m.checks), tags, sorted(m.sessions), sorted(m.pairs), places, append([]*catalog.ServiceDefaults{}, sorted(m.entries)...), sorted(m.virtuals))
}

// contents is what the store holds, through its queries.
func contents(s *state.Store) string {
	tx := s.Read()
	nodes, _ := state.Nodes(tx, nil, nil)
	instances := []*catalog.Instance{}
	state.AllInstances(tx, nil, func(i *catalog.Instance) { instances = append(instances, i) })
	checks, _ := state.StateChecks(tx, nil, catalog.Any, nil)
	names, _ := state.ServiceNames(tx, nil)
	sessions, _ := state.Sessions(tx, nil)
	pairs, _ := state.KVList(tx, nil, "")
	if pairs == nil {
		pairs = []*catalog.KVPair{}
	}
	places, _ := state.Coordinates(tx, nil)
	entries, _ := state.ConfigEntries(tx, nil, "")
	virtuals := []*catalog.VirtualAddress{}
	for _, name := range []string{"db", "web"} {
		if a, _ := state.Virtual(tx, nil, name); a != nil {
			virtuals = append(virtuals, a)
		}
	}
	return encoded(nodes, instances, checks, names, sessions, pairs, places, entries, virtuals)
}

func encoded(parts ...any) string {
	var text strings.Builder
	for _, p := range parts {
		line, err := json.Marshal(p)
		if err != nil {
			panic(err)
		}
		text.Write(append(line, '\n'))
	}
	return text.String()
}

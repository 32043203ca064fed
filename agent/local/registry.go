package local

import (
	"slices"
	"time"

	"github.com/curia-mesh/curia/agent/check"
	"github.com/curia-mesh/curia/catalog"
)

// registry is what is registered, and who waits for changes of it. State.mu guards it.
type registry struct {
	services map[string]*service
	checks   map[string]*health
	owned    map[string]map[string]*health // checks by their service's id; "" has those of the node
	ports    map[int]int                   // how many services use a port
	exposures

	serviceView map[string]*catalog.Service // for readers; nil once it is old
	checkView   map[string]*catalog.Check
	watched     map[topic]chan struct{} // closed at the next change

	saved   map[string]*stateRecord // states of ttl checks before the restart, which no check has claimed yet
	resumed map[string]time.Time    // when ttl checks run out whose services told nothing since the restart
}

// service is a registered service. It is replaced, not changed.
type service struct {
	row    *catalog.Service
	tags   []string // as registered; the row may have the catalog's, see adoptTags
	token  string
	origin check.Origin
	parent string                     // id of the service whose sidecar it is, "" when it is none
	given  *catalog.ServiceDefinition // what the configuration says, nil when that is not its origin; State.change guards it
}

// health is a registered check. It is replaced, not changed, once it is registered.
type health struct {
	def    *catalog.AgentCheck
	row    *catalog.Check
	token  string
	origin check.Origin
	alone  bool // registered by itself, not in a service's definition
}

// topic is what changes can be waited for of: a service, all services for the id "", the checks of a
// service, or those of the node for the id "".
type topic struct {
	kind objectKind
	id   string
}

func newRegistry() registry {
	return registry{
		services: map[string]*service{}, checks: map[string]*health{}, owned: map[string]map[string]*health{},
		ports: map[int]int{}, watched: map[topic]chan struct{}{},
		resumed: map[string]time.Time{}, exposures: newExposures(),
	}
}

// watch returns a channel that is closed at the next change of the topic.
func (r *registry) watch(t topic) <-chan struct{} {
	c := r.watched[t]
	if c == nil {
		c = make(chan struct{})
		r.watched[t] = c
	}
	return c
}

func (r *registry) touch(kind objectKind, id string) {
	if kind == serviceObject {
		r.serviceView = nil
		r.announce(topic{serviceObject, ""})
	} else {
		r.checkView = nil
	}
	r.announce(topic{kind, id})
}

func (r *registry) announce(t topic) {
	if c := r.watched[t]; c != nil {
		close(c)
		delete(r.watched, t)
	}
}

func (r *registry) setService(next *service) {
	id := next.row.ID
	r.freePort(r.services[id])
	r.dropProxy(r.services[id])
	r.services[id] = next
	if next.row.Port > 0 {
		r.ports[next.row.Port]++
	}
	if to := proxyFor(next.row); to != "" {
		if r.proxies[to] == nil {
			r.proxies[to] = map[string]bool{}
		}
		r.proxies[to][id] = true
	}
	r.touch(serviceObject, id)
}

func (r *registry) unsetService(id string) {
	r.freePort(r.services[id])
	r.dropProxy(r.services[id])
	delete(r.services, id)
	delete(r.entries, id)
	r.touch(serviceObject, id)
	r.touch(checkObject, id)
}

func (r *registry) freePort(old *service) {
	if old == nil || old.row.Port == 0 {
		return
	}
	if r.ports[old.row.Port]--; r.ports[old.row.Port] <= 0 {
		delete(r.ports, old.row.Port)
	}
}

func (r *registry) dropProxy(old *service) {
	if old == nil {
		return
	}
	to := proxyFor(old.row)
	if delete(r.proxies[to], old.row.ID); len(r.proxies[to]) == 0 {
		delete(r.proxies, to)
	}
}

func (r *registry) setCheck(next *health) {
	id, owner := next.row.CheckID, next.row.ServiceID
	if old := r.checks[id]; old != nil && old.row.ServiceID != owner {
		r.unsetCheck(id)
	}
	r.checks[id] = next
	if r.owned[owner] == nil {
		r.owned[owner] = map[string]*health{}
	}
	r.owned[owner][id] = next
	r.touch(checkObject, owner)
}

func (r *registry) unsetCheck(id string) {
	owner := r.checks[id].row.ServiceID
	delete(r.checks, id)
	delete(r.owned[owner], id)
	if len(r.owned[owner]) == 0 {
		delete(r.owned, owner)
	}
	r.touch(checkObject, owner)
}

// sidecarPort returns the lowest port of the range that no service uses and that is not taken.
func (r *registry) sidecarPort(first, last int, taken map[int]bool) (int, error) {
	if first <= 0 || last < first {
		return 0, catalog.Errorf(catalog.Invalid, "sidecar_service has no port and the agent gives none: set its port, or ports.sidecar_min_port and ports.sidecar_max_port")
	}
	for port := first; port <= last; port++ {
		if r.ports[port] == 0 && !taken[port] {
			return port, nil
		}
	}
	return 0, catalog.Errorf(catalog.Invalid, "sidecar_service has no port and all from %d to %d are taken: set its port, or raise ports.sidecar_max_port", first, last)
}

// sidecarOf returns the id of a service's sidecar, and whether one came with its definition.
func (r *registry) sidecarOf(id string) (string, bool) {
	child := r.services[id+SidecarSuffix]
	return id + SidecarSuffix, child != nil && child.parent == id
}

// checksOf returns the checks of a service, and those of its node when node is set, by id.
func (r *registry) checksOf(id string, node bool) []*catalog.Check {
	found := []*catalog.Check{}
	for _, c := range r.owned[id] {
		found = append(found, c.row)
	}
	if node && id != "" {
		for _, c := range r.owned[""] {
			found = append(found, c.row)
		}
	}
	slices.SortFunc(found, byCheckID)
	return found
}

// retag returns the row of a check with the name and tags of its service.
func retag(row *catalog.Check, s *catalog.Service) *catalog.Check {
	if row.ServiceName == s.Service && slices.Equal(row.ServiceTags, s.Tags) {
		return row
	}
	next := *row
	next.ServiceName, next.ServiceTags = s.Service, s.Tags
	return &next
}

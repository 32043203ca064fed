package local

import (
	"cmp"
	"maps"
	"slices"

	"github.com/curia-mesh/curia/catalog"
)

func byCheckID(a, b *catalog.Check) int { return cmp.Compare(a.CheckID, b.CheckID) }

// Services returns the services by id. The map is shared and must not be changed.
func (s *State) Services() map[string]*catalog.Service {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.serviceView == nil {
		s.serviceView = make(map[string]*catalog.Service, len(s.services))
		for id, svc := range s.services {
			s.serviceView[id] = svc.row
		}
	}
	return s.serviceView
}

// Checks returns the checks by id. The map is shared and must not be changed.
func (s *State) Checks() map[string]*catalog.Check {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.checkView == nil {
		s.checkView = make(map[string]*catalog.Check, len(s.checks))
		for id, c := range s.checks {
			s.checkView[id] = c.row
		}
	}
	return s.checkView
}

// Sidecars returns the sidecars that were registered within their services, and the mesh gateways whose registrations
// want the agent to run them, by id, as Proxied returns them. Of gateways that has to be said: they are run by others, as a rule.
func (s *State) Sidecars() map[string]*catalog.Service {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := map[string]*catalog.Service{}
	for id, svc := range s.services {
		managed, _ := svc.row.Proxy.Config["managed"].(bool)
		if svc.parent != "" && svc.row.Kind == catalog.KindConnectProxy || managed && svc.row.Kind == catalog.KindMeshGateway {
			found[id] = s.proxied(svc)
		}
	}
	return found
}

// TokenOf returns the secret that a service is registered with, at the moment.
func (s *State) TokenOf(id string) string {
	s.mu.Lock()
	token := ""
	if svc := s.services[id]; svc != nil {
		token = svc.token
	}
	s.mu.Unlock()
	return s.secret(token)
}

// Service returns one service.
func (s *State) Service(id string) (*catalog.Service, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if svc := s.services[id]; svc != nil {
		return svc.row, true
	}
	return nil, false
}

// Proxied returns one service, and of a proxy with the paths of the checks that are made through it.
func (s *State) Proxied(id string) (*catalog.Service, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if svc := s.services[id]; svc != nil {
		return s.proxied(svc), true
	}
	return nil, false
}

// Check returns one check.
func (s *State) Check(id string) (*catalog.Check, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.checks[id]; c != nil {
		return c.row, true
	}
	return nil, false
}

// Changed returns a channel that is closed when a registered service changes or goes; for an id that is
// not registered, and for "", when any service does. Take it before reading what it is about.
func (s *State) Changed(id string) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.services[id] == nil {
		id = "" // so that asking for what is not there keeps nothing
	}
	return s.watch(topic{serviceObject, id})
}

// Health is a service with the checks that decide on it: its own and those of its node, by id.
type Health struct {
	Service *catalog.Service
	Checks  []*catalog.Check
	Status  catalog.Status
}

// Health returns the health of one service.
func (s *State) Health(id string) (Health, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	svc := s.services[id]
	if svc == nil {
		return Health{}, false
	}
	return s.health(svc), true
}

// HealthByName returns the health of all instances of a service on this node, by id, and the worst state
// among them. Without any it is critical.
func (s *State) HealthByName(name string) ([]Health, catalog.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := []Health{}
	for _, id := range slices.Sorted(maps.Keys(s.services)) {
		if svc := s.services[id]; svc.row.Service == name {
			found = append(found, s.health(svc))
		}
	}
	if len(found) == 0 {
		return found, catalog.Critical
	}
	var all []*catalog.Check
	for _, h := range found {
		all = append(all, h.Checks...)
	}
	return found, catalog.Aggregate(all)
}

func (r *registry) health(svc *service) Health {
	checks := r.checksOf(svc.row.ID, true)
	return Health{Service: svc.row, Checks: checks, Status: catalog.Aggregate(checks)}
}

// Counts says how much is registered.
type Counts struct {
	Services, Checks int
	// Kinds is how many checks run of each kind: "http", "ttl", "script" and so on.
	Kinds map[string]int
}

// Counts returns how much is registered.
func (s *State) Counts() Counts {
	kinds := s.set.Counts()
	s.mu.Lock()
	defer s.mu.Unlock()
	return Counts{Services: len(s.services), Checks: len(s.checks), Kinds: kinds}
}

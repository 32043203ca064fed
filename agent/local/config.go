package local

import (
	"cmp"
	"maps"
	"reflect"
	"slices"

	"github.com/curia-mesh/curia/agent/check"
	"github.com/curia-mesh/curia/catalog"
)

// SetConfig makes services and checks what the configuration says, at the start and when it is read anew.
// Those that are the same as before are left alone, those that are gone are deregistered; what came over
// the API stays unless the configuration has the same id. If one of them is not valid nothing changes. It
// does not wait for the catalog.
func (s *State) SetConfig(services []*catalog.ServiceDefinition, checks []*catalog.AgentCheck) error {
	s.change.Lock()
	defer s.change.Unlock()
	free := portsOf{s, map[int]bool{}}
	next, kept, err := s.prepareConfig(services, free)
	if err != nil {
		return err
	}
	alone, err := s.prepareConfigChecks(checks, next, kept)
	if err != nil {
		return err
	}
	reserved := map[string]int{}
	for _, id := range slices.Sorted(maps.Keys(next)) {
		ports, err := s.reserve(next[id], free.taken)
		if err != nil {
			return err
		}
		maps.Copy(reserved, ports)
	}
	s.edit(nil, func(e *edit) {
		e.reserved = reserved
		e.dropUnconfigured(next, kept, alone)
		for _, r := range next {
			e.put(r, false)
		}
		for _, h := range alone {
			e.putCheck(h)
		}
	})
	return nil
}

// prepareConfig returns what to register by its id, and which services stay as they are.
func (s *State) prepareConfig(services []*catalog.ServiceDefinition, free ports) (next map[string]*registration, kept map[string]bool, err error) {
	next, kept = map[string]*registration{}, map[string]bool{}
	defined := map[string]bool{}
	for _, def := range services {
		id := cmp.Or(def.ID, def.Name)
		ids := []string{id}
		if def.Connect != nil && def.Connect.SidecarService != nil {
			ids = append(ids, id+SidecarSuffix)
		}
		for _, id := range ids {
			if defined[id] {
				return nil, nil, catalog.Errorf(catalog.Invalid, "service id %q is defined twice: give one of them another id", id)
			}
			defined[id] = true
		}
		if now := s.registered(id); now != nil && now.given != nil && reflect.DeepEqual(now.given, def) {
			kept[id] = true
			continue
		}
		r, err := s.prepare(def, "", check.Local, free)
		if err != nil {
			return nil, nil, err
		}
		next[id] = r
	}
	return next, kept, nil
}

func (s *State) prepareConfigChecks(checks []*catalog.AgentCheck, next map[string]*registration, kept map[string]bool) (map[string]*health, error) {
	alone := map[string]*health{}
	find := func(id string) *service {
		if r := next[id]; r != nil {
			return r.service
		}
		now := s.registered(id)
		if now != nil && now.origin == check.Local && !kept[id] && !kept[now.parent] {
			return nil // it is about to go
		}
		return now
	}
	for _, def := range checks {
		h, err := s.prepareAlone(def, Options{Source: check.Local}, find)
		if err != nil {
			return nil, err
		}
		if alone[h.row.CheckID] != nil {
			return nil, catalog.Errorf(catalog.Invalid, "check id %q is defined twice: give one of them another id", h.row.CheckID)
		}
		alone[h.row.CheckID] = h
	}
	return alone, nil
}

// dropUnconfigured removes what came from the configuration and is not in it any more.
func (e *edit) dropUnconfigured(next map[string]*registration, kept map[string]bool, alone map[string]*health) {
	for id, svc := range maps.Clone(e.services) {
		if svc.origin == check.Local && svc.parent == "" && next[id] == nil && !kept[id] && e.services[id] != nil {
			e.drop(id)
		}
	}
	for id, h := range maps.Clone(e.checks) {
		if h.origin == check.Local && h.alone && alone[id] == nil && e.checks[id] != nil {
			e.dropCheck(h)
		}
	}
}

package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/curia-mesh/curia/agent/check"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc/pause"
)

// The records on disk. They hold tokens: they are never logged.
type (
	serviceRecord struct {
		Service *catalog.Service
		Token   string `json:",omitempty"`
		Parent  string `json:",omitempty"`
	}
	checkRecord struct {
		Check *catalog.AgentCheck
		Token string `json:",omitempty"`
		Alone bool   `json:",omitempty"`
	}
	stateRecord struct {
		Status  catalog.Status
		Output  string    `json:",omitempty"`
		Expires time.Time `json:",omitzero"` // of a ttl check
	}
)

const (
	servicePrefix = "service/"
	checkPrefix   = "check/"
)

func serviceKey(id string) string { return servicePrefix + id }

func checkKey(id string) string { return checkPrefix + id }

// restore registers what the files say. Nothing is sent before the first comparison with the catalog. What
// cannot be used is left out and named in the log, the rest does not suffer.
func (s *State) restore(saved, states map[string]json.RawMessage) {
	services := decodeAll[serviceRecord](s.log, saved, servicePrefix)
	checks := decodeAll[checkRecord](s.log, saved, checkPrefix)
	s.saved = decodeAll[stateRecord](s.log, states, "")
	for id, r := range decodeAll[exposeRecord](s.log, saved, exposePrefix) {
		if r.Port >= s.cfg.ExposeMinPort && r.Port <= s.cfg.ExposeMaxPort {
			s.before[id] = r.Port
		}
		if r.Entries { // until the servers say otherwise
			s.entries[r.Proxy] = true
		}
	}
	s.edit(nil, func(e *edit) {
		for id, r := range services {
			if err := e.restoreService(id, r, services); err != nil {
				s.log.Error("a saved service cannot be restored: register it again", "service", id, "err", err)
			}
		}
		for id, r := range checks {
			if err := e.restoreCheck(id, r); err != nil {
				s.log.Error("a saved check cannot be restored: register it again", "check", id, "err", err)
			}
		}
		e.saves = nil
		for key := range saved {
			kind, id, _ := strings.Cut(key, "/")
			if kind == "service" && s.services[id] == nil || kind == "check" && s.checks[id] == nil {
				e.saves = append(e.saves, save{key, nil})
			}
		}
	})
}

// decodeAll decodes the values whose key has the prefix, by the rest of their keys.
func decodeAll[T any](log *slog.Logger, saved map[string]json.RawMessage, prefix string) map[string]*T {
	all := map[string]*T{}
	for key, text := range saved {
		id, ok := strings.CutPrefix(key, prefix)
		if !ok {
			continue
		}
		value := new(T)
		if err := json.Unmarshal(text, value); err != nil {
			log.Error("a saved record cannot be read", "key", key, "err", err)
			continue
		}
		all[id] = value
	}
	return all
}

func (e *edit) restoreService(id string, r *serviceRecord, all map[string]*serviceRecord) error {
	switch {
	case r.Service == nil || r.Service.ID != id:
		return errors.New("its record is of something else")
	case r.Parent != "" && all[r.Parent] == nil:
		return fmt.Errorf("it is the sidecar of service %q, which is not there", r.Parent)
	}
	r.Service.Normalize()
	if err := r.Service.Validate(); err != nil {
		return err
	}
	svc := &service{row: r.Service, tags: r.Service.Tags, token: r.Token, origin: check.Remote, parent: r.Parent}
	e.setService(svc)
	e.affect(svc)
	e.tell(svc)
	return nil
}

func (e *edit) restoreCheck(id string, r *checkRecord) error {
	if r.Check == nil || r.Check.CheckID != id {
		return errors.New("its record is of something else")
	}
	var row *catalog.Service
	if owner := r.Check.ServiceID; owner != "" {
		svc := e.services[owner]
		if svc == nil {
			return fmt.Errorf("it belongs to service %q, which is not there", owner)
		}
		row = svc.row
	}
	h := e.newHealth(r.Check, row, r.Token, check.Remote)
	h.alone = r.Alone
	switch {
	case r.Check.Kind() == "":
		h = e.newMaintenance(r.Check, row, r.Token)
	case h.alone:
		plainSpans(h.row)
	}
	e.putCheck(h)
	return nil
}

// resume gives a check that is registered while the agent starts the state it had. Those that the agent makes itself are
// made soon, and until then nobody loses a service because its agent was restarted.
func (e *edit) resume(h *health) {
	r := e.saved[h.row.CheckID]
	if r == nil || h.maintenance() || !r.Status.Valid() {
		return
	}
	delete(e.saved, h.row.CheckID)
	row := *h.row
	row.Status, row.Output = r.Status, r.Output
	left := time.Until(r.Expires)
	switch {
	case h.def.TTL <= 0:
	case left > 0:
		e.resumed[row.CheckID] = r.Expires
	case r.Status != catalog.Critical:
		row.Status, row.Output = catalog.Critical, "TTL expired while the agent was not running"
	}
	h.row = &row
}

// expireResumed makes the ttl checks critical whose services tell nothing until the time is up that they
// had before the restart, and forgets the states that no check has claimed.
func (s *State) expireResumed(ctx context.Context) {
	s.mu.Lock()
	for id := range s.saved {
		s.states.commit([]save{{id, nil}})
	}
	s.saved = nil
	for id := range s.before {
		s.records.commit([]save{{exposePrefix + id, nil}})
	}
	clear(s.before)
	due := maps.Clone(s.resumed)
	s.mu.Unlock()
	for _, id := range slices.SortedFunc(maps.Keys(due), func(a, b string) int { return due[a].Compare(due[b]) }) {
		pause.For(ctx, time.Until(due[id]))
		if ctx.Err() != nil {
			return
		}
		s.mu.Lock()
		at, silent := s.resumed[id]
		s.mu.Unlock()
		if silent && at.Equal(due[id]) {
			// The time to live has begun anew with the agent; this ends it. An error is a check that is gone.
			_ = s.set.Update(id, catalog.Critical, "TTL expired: no update since before the restart of the agent")
		}
	}
}

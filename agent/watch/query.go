package watch

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/curia-mesh/curia/agent/config"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
)

// newQuery returns what a watch looks at.
func newQuery(w *config.Watch, d Deps) (query, error) {
	need := func(field, value string) error {
		if value == "" {
			return catalog.Errorf(catalog.Invalid, "watch of type %q needs %s", w.Type, field)
		}
		return nil
	}
	switch w.Type {
	case "key":
		return ofView(w, d, api.KVRead, &api.KVQuery{Key: w.Key}, keyJSON), need("key", w.Key)
	case "keyprefix":
		return ofView(w, d, api.KVList, &api.KVQuery{Key: w.Prefix}, keysJSON), need("prefix", w.Prefix)
	case "services":
		return ofView(w, d, api.Services, &api.ServiceQuery{}, bodyJSON), nil
	case "nodes":
		return ofView(w, d, api.Nodes, &api.NodeQuery{}, bodyJSON), nil
	case "service":
		q := &api.ServiceQuery{Service: w.Service, Tags: w.Tag, Passing: w.PassingOnly}
		return ofView(w, d, api.HealthService, q, bodyJSON), need("service", w.Service)
	case "checks":
		if w.Service != "" && w.State != "" {
			return nil, catalog.Errorf(catalog.Invalid, "watch of type %q takes service or state, not both", w.Type)
		}
		if w.Service != "" {
			return ofView(w, d, api.HealthChecks, &api.ServiceQuery{Service: w.Service}, bodyJSON), nil
		}
		state := catalog.Any
		if w.State != "" {
			state = catalog.Status(w.State)
		}
		return ofView(w, d, api.HealthState, &api.StateQuery{Status: state}, bodyJSON), nil
	case "event":
		return newEvents(w, d)
	case "agent_service":
		if d.Services == nil {
			return nil, catalog.Errorf(catalog.Internal, "watch of type %q: this agent has no services to watch", w.Type)
		}
		return &serviceQuery{services: d.Services, id: w.ServiceID}, need("service_id", w.ServiceID)
	case "connect_roots":
		return ofView(w, d, api.CARoots, &api.Nothing{}, bodyJSON), nil
	case "connect_leaf":
		if d.Leaves == nil {
			return nil, catalog.Errorf(catalog.Internal, "watch of type %q: this agent has no certificates", w.Type)
		}
		return &leafQuery{leaves: d.Leaves, service: w.Service}, need("service", w.Service)
	}
	return nil, catalog.Errorf(catalog.Invalid, "unknown type of watch %q: want key, keyprefix, services, nodes, service, checks, event, connect_roots, connect_leaf or agent_service", w.Type)
}

// viewQuery looks at a view.
type viewQuery[Req, Rep any] struct {
	cache  *Cache
	method rpc.Method[Req, Rep]
	header rpc.Header
	req    *Req
	shape  func(rpc.Answer) ([]byte, error)

	view  *View[Rep]
	token string
}

func ofView[Req, Rep any](w *config.Watch, d Deps, m rpc.Method[Req, Rep], req *Req, shape func(rpc.Answer) ([]byte, error)) query {
	h := rpc.Header{Datacenter: w.Datacenter, Filter: w.Filter}
	if w.Stale {
		h.Consistency = rpc.Stale
	}
	return &viewQuery[Req, Rep]{cache: d.Cache, method: m, header: h, req: req, shape: shape}
}

func (q *viewQuery[Req, Rep]) look(ctx context.Context, token string, last look) (look, error) {
	if q.view != nil && q.token != token {
		q.close()
	}
	if q.view == nil {
		h := q.header
		h.Token = token
		var err error
		if q.view, err = Open(q.cache, q.method, h, q.req); err != nil {
			return look{}, err
		}
		q.token, last = token, look{}
	}
	answer, _, err := q.view.ask(ctx, last.index)
	if err != nil {
		return look{}, err
	}
	body, err := q.shape(answer)
	return look{index: answer.Meta.Index, json: body}, err
}

func (q *viewQuery[Req, Rep]) close() {
	if q.view != nil {
		q.view.Close()
		q.view = nil
	}
}

// bodyJSON is the answer as the HTTP API gives it, in the encoding that both share.
func bodyJSON(a rpc.Answer) ([]byte, error) { return a.JSON(json.Marshal) }

// pair is a key as watches show it: with a session even where there is none.
type pair struct {
	*catalog.KVPair
	Session string
}

func pairs(a rpc.Answer) []pair {
	list := []pair{}
	if found, ok := a.Value().(*[]*catalog.KVPair); ok {
		for _, p := range *found {
			list = append(list, pair{p, p.Session})
		}
	}
	return list
}

// keyJSON is one key, null when there is none.
func keyJSON(a rpc.Answer) ([]byte, error) {
	list := pairs(a)
	if len(list) == 0 {
		return []byte("null"), nil
	}
	return json.Marshal(list[0])
}

func keysJSON(a rpc.Answer) ([]byte, error) { return json.Marshal(pairs(a)) }

// eventQuery looks at the events that have come since it was made, or since the last look.
type eventQuery struct {
	events Events
	name   string
	last   string // id of the newest event that has been seen
}

func newEvents(w *config.Watch, d Deps) (query, error) {
	if d.Events == nil {
		return nil, catalog.Errorf(catalog.Internal, "watch of type %q: this agent receives no events", w.Type)
	}
	q := &eventQuery{events: d.Events, name: w.Name}
	// What was sent before the watch was made has been handled, or never should be.
	q.newer()
	return q, nil
}

// newer returns the events after the last one seen, and remembers the last of them.
func (q *eventQuery) newer() ([]*catalog.Event, uint64, <-chan struct{}) {
	list, index, changed := q.events.List(q.name)
	after := 1 + slices.IndexFunc(list, func(e *catalog.Event) bool { return e.ID == q.last })
	if len(list) > 0 {
		q.last = list[len(list)-1].ID
	}
	return list[after:], index, changed
}

func (q *eventQuery) look(ctx context.Context, _ string, _ look) (look, error) {
	for {
		list, index, changed := q.newer()
		if len(list) > 0 {
			body, err := json.Marshal(list)
			return look{index, body}, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return look{}, ctx.Err()
		}
	}
}

func (*eventQuery) close() {}

// serviceQuery looks at a service of this agent.
type serviceQuery struct {
	services Services
	id       string
	changed  <-chan struct{}
}

func (q *serviceQuery) look(ctx context.Context, _ string, last look) (look, error) {
	for first := last.json == nil; ; first = false {
		if q.changed != nil && !first {
			select {
			case <-q.changed:
			case <-ctx.Done():
				return look{}, ctx.Err()
			}
		}
		var service any
		if service, q.changed = q.services.Watch(q.id); service != nil {
			body, err := json.Marshal(service)
			return look{json: body}, err
		}
	}
}

func (*serviceQuery) close() {}

// leafQuery looks at the certificate of a service.
type leafQuery struct {
	leaves  Leaves
	service string
}

func (q *leafQuery) look(ctx context.Context, token string, last look) (look, error) {
	cert, err := q.leaves.Get(ctx, q.service, token, last.index, maxWait)
	if err != nil {
		return look{}, err
	}
	body, err := json.Marshal(cert)
	return look{index: cert.ModifyIndex, json: body}, err
}

func (*leafQuery) close() {}

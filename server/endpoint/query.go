package endpoint

import (
	"context"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/filter"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
)

// Keyed requests write what tells one question from another by themselves; others are encoded for it.
type Keyed interface{ AppendKey([]byte) []byte }

// AddQuery registers a query.
func AddQuery[Req, Rep any](r *Registry, q Query[Req, Rep]) {
	v := &verb{name: q.Method.Name, kind: query, blank: func() any { return new(Req) }}
	if q.Needs != nil {
		v.needs = func(req any) []acl.Need { return q.Needs(req.(*Req)) }
	}
	v.act = func(ctx context.Context, r *Registry, az acl.Authorizer, call *rpc.Call) (rpc.Answer, error) {
		req, ok := call.Body.(*Req)
		if !ok {
			return rpc.Answer{}, catalog.Errorf(catalog.Internal, "rpc: %s takes a %T, got %T", v.name, req, call.Body)
		}
		if q.Check != nil {
			if err := q.Check(req); err != nil {
				return rpc.Answer{}, err
			}
		}
		keep, err := r.filters.Compile(call.Header.Filter)
		if err != nil {
			return rpc.Answer{}, err
		}
		read := func() (*result, error) { return q.read(r.store, az, req, keep) }
		if call.Header.MinIndex == 0 && (q.Unshared || q.Plain) || q.Plain {
			found, err := read()
			if err != nil {
				return rpc.Answer{}, err
			}
			return rpc.Answer{Meta: r.meta(call.Header, found.index, found.filtered), Body: found.body}, nil
		}
		found, err := r.answers.ask(ctx, r, questionKey(v.name, az, call, req), call.Header, read)
		if err != nil {
			return rpc.Answer{}, err
		}
		return rpc.Answer{Meta: r.meta(call.Header, found.index, found.filtered), Body: found.body}, nil
	}
	r.add(v)
}

// read makes the answer from the store as it is now.
func (q *Query[Req, Rep]) read(store *state.Store, az acl.Authorizer, req *Req, keep filter.Keep) (*result, error) {
	out := &result{abandoned: store.Abandoned()}
	rep, index, err := q.Read(store.Read(), &out.watch, req)
	if err != nil {
		return nil, err
	}
	if q.Visible != nil {
		rep, out.filtered = q.Visible(az, rep)
	}
	if keep != nil && q.Filter != nil {
		if rep, err = q.Filter(rep, keep); err != nil {
			return nil, err
		}
	}
	out.index = max(index, 1)
	out.changed = make(chan struct{})
	out.body = rpc.NewBody(rep, out.stale)
	return out, nil
}

// questionKey tells apart calls whose answers differ.
func questionKey(name string, az acl.Authorizer, call *rpc.Call, req any) string {
	key := make([]byte, 0, 128)
	key = append(append(key, name...), 0)
	key = append(append(key, az.View()...), 0)
	key = append(append(key, call.Header.Filter...), 0)
	if k, ok := req.(Keyed); ok {
		key = k.AppendKey(key)
	} else {
		key = appendMsgpack(key, req)
	}
	return string(key)
}

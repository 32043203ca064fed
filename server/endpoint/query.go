package endpoint

import (
	"context"
	"encoding/binary"
	"reflect"
	"time"

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
	v := newVerb[Req](q.Method.Name, q.Method.From, query)
	v.open, v.guarded = q.Open, q.Visible != nil || q.Refuse != nil
	if q.Primary != nil {
		v.primary = func(req any) bool { return q.Primary(req.(*Req)) }
	}
	if q.Needs != nil {
		v.needs = func(req any) []acl.Need { return q.Needs(req.(*Req)) }
	}
	v.act = func(ctx context.Context, r *Registry, az acl.Authorizer, call *rpc.Call) (rpc.Answer, error) {
		req := call.Body.(*Req)
		if q.Check != nil {
			if err := q.Check(req); err != nil {
				return rpc.Answer{}, err
			}
		}
		if q.Refuse != nil {
			if rep := q.Refuse(az, req); rep != nil {
				return rpc.Answer{Meta: r.meta(call.Header, 1, false), Body: rpc.NewBody(rep, nil)}, nil
			}
		}
		keep, err := r.filters.Compile(call.Header.Filter)
		if err != nil {
			return rpc.Answer{}, err
		}
		read := func() (*result, error) { return q.read(r, az, req, keep) }
		if q.Plain || call.Header.MinIndex == 0 && q.Unshared != nil && q.Unshared(req) {
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
func (q *Query[Req, Rep]) read(r *Registry, az acl.Authorizer, req *Req, keep filter.Keep) (*result, error) {
	out := &result{abandoned: r.store.Abandoned()}
	tx, readAll := r.store.Read(), q.Read
	if keep != nil && q.ReadKept != nil {
		readAll = func(tx *state.Txn, w *state.Watch, req *Req) (*Rep, uint64, error) {
			return q.ReadKept(tx, w, req, az, keep)
		}
	}
	rep, index, err := readAll(tx, &out.watch, req)
	if err != nil {
		return nil, err
	}
	if q.As != nil {
		if token := q.As(tx, req); token != "" {
			if az, err = r.authorizeLater(token); err != nil {
				return nil, err
			}
		}
	}
	if q.Hides != nil && q.Hides(az, req) {
		az = acl.DenyAll()
	}
	if q.Visible != nil {
		rep, out.filtered = q.Visible(az, rep)
	}
	if keep != nil && q.Filter != nil {
		if rep, err = q.Filter(rep, keep); err != nil {
			return nil, err
		}
	}
	out.index, out.weight = max(index, 1), weigh(rep)
	out.changed = make(chan struct{})
	out.body = rpc.NewBody(rep, out.stale)
	return out, nil
}

// authorizeTime is how long the token of a query may take to resolve.
const authorizeTime = 10 * time.Second

// authorizeLater resolves a token that a query itself names. The query is read anew for whoever waits, long
// after the call that asked first has ended, so nothing of that call is kept.
func (r *Registry) authorizeLater(token string) (acl.Authorizer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), authorizeTime)
	defer cancel()
	return r.host.Authorize(ctx, token)
}

// weigh is about how many bytes a reply takes with its encodings.
func weigh(rep any) int64 {
	const element = 1 << 10
	n := int64(element)
	switch rep := rep.(type) {
	case *[]*catalog.KVPair:
		for _, p := range *rep {
			n += element/2 + 3*int64(len(p.Value))
		}
		return n
	case *[]*catalog.Instance:
		for _, i := range *rep {
			n += element * int64(1+len(i.Checks))
		}
		return n
	}
	return n + element*int64(elements(reflect.ValueOf(rep)))
}

// elements counts those of a list or map, or of the lists and maps of a struct and of those that it points to.
func elements(v reflect.Value) (n int) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			return elements(v.Elem())
		}
	case reflect.Slice, reflect.Map:
		return v.Len()
	case reflect.Struct:
		for i := range v.NumField() {
			switch f := v.Field(i); f.Kind() {
			case reflect.Slice, reflect.Map:
				n += f.Len()
			case reflect.Pointer:
				n += elements(f)
			}
		}
	}
	return n
}

// questionKey tells apart calls whose answers differ.
func questionKey(name string, az acl.Authorizer, call *rpc.Call, req any) string {
	key := make([]byte, 0, 128)
	for _, part := range []string{name, az.View(), call.Header.Filter} {
		key = append(binary.AppendUvarint(key, uint64(len(part))), part...)
	}
	if k, ok := req.(Keyed); ok {
		key = k.AppendKey(key)
	} else {
		key = appendMsgpack(key, req)
	}
	return string(key)
}

package endpoint

import (
	"context"
	"errors"
	"fmt"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
)

// Rejected is an error of Apply that carries a reply: nothing is kept of what was written, and the
// caller learns why from the reply.
type Rejected interface {
	error
	Rejection() any
}

// AddCommand registers a command.
func AddCommand[Req, Rep any](r *Registry, c Command[Req, Rep]) {
	v := newVerb[Req](c.Method.Name, c.Method.From, command)
	v.open, v.guarded = c.Open, c.Refuse != nil
	if c.Primary != nil {
		v.primary = func(req any) bool { return c.Primary(req.(*Req)) }
	}
	if c.Needs != nil {
		v.needs = func(req any) []acl.Need { return c.Needs(req.(*Req)) }
	}
	v.act = func(ctx context.Context, r *Registry, az acl.Authorizer, call *rpc.Call) (rpc.Answer, error) {
		req := call.Body.(*Req)
		if c.Refuse != nil {
			if rep := c.Refuse(az, req); rep != nil {
				return rpc.Answer{Body: rpc.NewBody(rep, nil)}, nil
			}
		}
		if c.Prepare != nil {
			var err error
			if req, err = c.Prepare(ctx, req); err != nil {
				return rpc.Answer{}, err
			}
		}
		if c.Answer != nil {
			if rep := c.Answer(req); rep != nil {
				return rpc.Answer{Body: rpc.NewBody(rep, nil)}, nil
			}
		}
		if v.primary != nil {
			r.ruling.RLock()
			defer r.ruling.RUnlock()
			if primary := r.host.Primary(); primary != r.host.Datacenter() && v.primary(call.Body) {
				return rpc.Answer{}, catalog.Errorf(catalog.Conflict, "datacenter %s has just become the primary: nothing was written; repeat it", primary)
			}
		}
		rep, err := r.host.Propose(ctx, encodeEntry(v.name, req))
		if rejected := Rejected(nil); errors.As(err, &rejected) {
			return rpc.Answer{Body: rpc.NewBody(rejected.Rejection(), nil)}, nil
		}
		if err != nil {
			return rpc.Answer{}, err
		}
		if c.Applied != nil {
			c.Applied(req, rep.(*Rep))
		}
		if own, ok := rep.(*Rep); ok && c.Visible != nil {
			rep = c.Visible(az, own)
		}
		return rpc.Answer{Body: rpc.NewBody(rep, nil)}, nil
	}
	v.apply = func(tx *state.Txn, body []byte) (any, error) {
		req := new(Req)
		if err := decodeMsgpack(body, req); err != nil {
			return nil, catalog.Errorf(catalog.Internal, "log entry of %s: %w", v.name, err)
		}
		rep, err := c.Apply(tx, req)
		if err != nil {
			return nil, err
		}
		return rep, nil
	}
	r.add(v)
}

// AddAction registers an action.
func AddAction[Req, Rep any](r *Registry, a Action[Req, Rep]) {
	v := newVerb[Req](a.Method.Name, a.Method.From, action)
	v.open = a.Open
	v.anywhere, v.stale = a.Anywhere, a.Stale
	if a.Needs != nil {
		v.needs = func(req any) []acl.Need { return a.Needs(req.(*Req)) }
	}
	v.act = func(ctx context.Context, _ *Registry, _ acl.Authorizer, call *rpc.Call) (rpc.Answer, error) {
		req := call.Body.(*Req)
		rep, meta, err := a.Do(ctx, call.Header, req)
		if err != nil {
			return rpc.Answer{}, err
		}
		return rpc.Answer{Meta: meta, Body: rpc.NewBody(rep, nil)}, nil
	}
	r.add(v)
}

// A log entry is a version, the length of the verb's name, the name and the request in msgpack. Names
// rather than numbers let servers of different versions read each other's logs.
const entryVersion = 1

func encodeEntry(name string, req any) []byte {
	entry := make([]byte, 0, 256)
	entry = append(entry, entryVersion, byte(len(name)))
	return appendMsgpack(append(entry, name...), req)
}

// Apply applies one log entry in a transaction of its index and settles it. On an error the transaction
// may hold half of the entry's writes and must be given up.
func (r *Registry) Apply(tx *state.Txn, entry []byte) (any, error) {
	name, body, err := splitEntry(entry)
	if err != nil {
		return nil, err
	}
	v := r.verbs[name]
	if v == nil || v.apply == nil {
		return nil, catalog.Errorf(catalog.Internal, "log entry of unknown verb %q: was it written by a newer version?", name)
	}
	rep, err := v.apply(tx, body)
	if err != nil {
		return nil, err
	}
	tx.Settle()
	return rep, nil
}

func splitEntry(entry []byte) (name string, body []byte, err error) {
	if len(entry) < 2 || entry[0] != entryVersion || len(entry) < 2+int(entry[1]) {
		return "", nil, fmt.Errorf("log entry of %d bytes is none of this version", len(entry))
	}
	end := 2 + int(entry[1])
	return string(entry[2:end]), entry[end:], nil
}

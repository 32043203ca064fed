package handler

import (
	"context"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/filter"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
)

func registerKV(r *endpoint.Registry, d Deps) {
	endpoint.AddCommand(r, endpoint.Command[api.KVWrite, bool]{
		Method: api.KVApply,
		Needs:  func(req *api.KVWrite) []acl.Need { return kvNeeds(d, req.Op, req.Pair.Key) },
		Prepare: func(_ context.Context, req *api.KVWrite) (*api.KVWrite, error) {
			return req, prepareKV(req)
		},
		Answer: func(req *api.KVWrite) *bool {
			if delayed(d, req.Op, req.Pair.Key) {
				return new(bool)
			}
			return nil
		},
		Apply: applyKV,
	})
	endpoint.AddQuery(r, endpoint.Query[api.KVQuery, []*catalog.KVPair]{
		Method:   api.KVRead,
		Unshared: func(*api.KVQuery) bool { return true },
		Needs:    func(q *api.KVQuery) []acl.Need { return need(acl.Key, q.Key, acl.Read) },
		Read: func(tx *state.Txn, w *state.Watch, q *api.KVQuery) (*[]*catalog.KVPair, uint64, error) {
			pair, index := state.KVGet(tx, w, q.Key)
			if pair == nil {
				return new([]*catalog.KVPair), index, nil
			}
			return &[]*catalog.KVPair{pair}, index, nil
		},
	})
	endpoint.AddQuery(r, endpoint.Query[api.KVQuery, []*catalog.KVPair]{
		Method: api.KVList,
		Needs:  func(q *api.KVQuery) []acl.Need { return listNeeds(d, q.Key) },
		Read: func(tx *state.Txn, w *state.Watch, q *api.KVQuery) (*[]*catalog.KVPair, uint64, error) {
			found, index := state.KVList(tx, w, q.Key)
			return &found, index, nil
		},
		Visible: visible(func(az acl.Authorizer, p *catalog.KVPair) bool { return seesKey(az, p.Key) }),
		Filter:  filter.List[*catalog.KVPair],
	})
	endpoint.AddQuery(r, endpoint.Query[api.KVQuery, []string]{
		Method: api.KVKeys,
		Needs:  func(q *api.KVQuery) []acl.Need { return listNeeds(d, q.Key) },
		Read: func(tx *state.Txn, w *state.Watch, q *api.KVQuery) (*[]string, uint64, error) {
			found, index := state.KVKeys(tx, w, q.Key, q.Separator)
			return &found, index, nil
		},
		Visible: visible(seesKey),
	})
}

func seesKey(az acl.Authorizer, key string) bool {
	return az.Allows(acl.Need{Resource: acl.Key, Name: key, Access: acl.Read})
}

func prepareKV(req *api.KVWrite) error {
	switch req.Op {
	case api.KVSet, api.KVCAS, api.KVLock, api.KVUnlock:
		if err := catalog.ValidateKey(req.Pair.Key); err != nil {
			return err
		}
	case api.KVDelete, api.KVDeleteCAS:
		if req.Pair.Key == "" {
			return catalog.Errorf(catalog.Invalid, "missing key name")
		}
	case api.KVDeleteTree:
	default:
		return catalog.Errorf(catalog.Invalid, "unknown KV operation %q", req.Op)
	}
	return nil
}

// delayed reports whether a lock has to wait for the lock-delay of the session that lost it.
func delayed(d Deps, op api.KVOp, key string) bool {
	return op == api.KVLock && d.Store.LockDelayed(key)
}

func applyKV(tx *state.Txn, req *api.KVWrite) (*bool, error) {
	done := true
	var err error
	var stored *catalog.KVPair
	switch req.Op {
	case api.KVSet:
		state.KVSet(tx, &req.Pair)
	case api.KVCAS:
		done = state.KVSetCAS(tx, &req.Pair, req.Pair.ModifyIndex) != nil
	case api.KVLock:
		stored, err = state.KVLock(tx, &req.Pair)
		done = stored != nil
	case api.KVUnlock:
		stored, err = state.KVUnlock(tx, &req.Pair)
		done = stored != nil
	case api.KVDelete:
		state.KVDelete(tx, req.Pair.Key)
	case api.KVDeleteTree:
		state.KVDeleteTree(tx, req.Pair.Key)
	case api.KVDeleteCAS:
		done = state.KVDeleteCAS(tx, req.Pair.Key, req.Pair.ModifyIndex)
	default:
		err = catalog.Errorf(catalog.Invalid, "unknown KV operation %q", req.Op)
	}
	return &done, err
}

package handler

import (
	"context"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
)

// maxCopySpans and maxCopyKeys bound what one question asks for.
const (
	maxCopySpans = 1 << 12
	maxCopyKeys  = 1 << 12
)

func registerKVCopy(r *endpoint.Registry, d Deps) {
	needs := func(q *api.KVCopyQuery) (all []acl.Need) {
		for _, prefix := range q.Scope.Prefixes {
			all = append(all, append(listNeeds(d, prefix), acl.Need{Resource: acl.Key, Name: prefix, Access: acl.ReadPrefix})...)
		}
		return all
	}
	check := func(q *api.KVCopyQuery) error { return checkKVCopy(d, q) }
	endpoint.AddQuery(r, endpoint.Query[api.KVCopyQuery, api.KVDiffering]{
		Method: api.KVCompare, Needs: needs, Check: check,
		Unshared: func(q *api.KVCopyQuery) bool { return len(q.Spans) > 0 },
		Read: func(tx *state.Txn, w *state.Watch, q *api.KVCopyQuery) (*api.KVDiffering, uint64, error) {
			return &api.KVDiffering{Spans: state.KVDiffering(tx, w, &q.Scope, q.Spans)}, state.KVIndex(tx, &q.Scope), nil
		},
	})
	endpoint.AddQuery(r, endpoint.Query[api.KVCopyQuery, api.KVHashList]{
		Method: api.KVHashes, Needs: needs, Check: check, Plain: true,
		Read: func(tx *state.Txn, _ *state.Watch, q *api.KVCopyQuery) (*api.KVHashList, uint64, error) {
			if len(q.Spans) != 1 {
				return nil, 0, catalog.Errorf(catalog.Invalid, "%d spans of keys, want one", len(q.Spans))
			}
			keys, more := state.KVHashes(tx, &q.Scope, &q.Spans[0])
			return &api.KVHashList{Keys: keys, More: more}, 1, nil
		},
	})
	endpoint.AddQuery(r, endpoint.Query[api.KVCopyQuery, api.KVRowList]{
		Method: api.KVRows, Needs: needs, Check: check, Plain: true,
		Read: func(tx *state.Txn, _ *state.Watch, q *api.KVCopyQuery) (*api.KVRowList, uint64, error) {
			pairs, rest := state.KVRows(tx, &q.Scope, q.Keys)
			return &api.KVRowList{Pairs: pairs, Rest: rest}, 1, nil
		},
	})
	endpoint.AddCommand(r, endpoint.Command[api.KVCopyWrite, api.KVCopied]{
		Method: api.KVCopyApply, Needs: func(*api.KVCopyWrite) []acl.Need { return need(acl.Operator, "", acl.Write) },
		Prepare: func(_ context.Context, given *api.KVCopyWrite) (*api.KVCopyWrite, error) {
			return prepareKVCopy(d.Store.Read(), given)
		},
		Apply: applyKVCopy,
	})
}

// checkKVCopy refuses what asks for too much, or comes from a datacenter of the same name.
func checkKVCopy(d Deps, q *api.KVCopyQuery) error {
	if q.From == d.Datacenter {
		return catalog.Errorf(catalog.Conflict, "another datacenter calls itself %s as this one: give one of them another name", q.From)
	}
	if len(q.Spans) > maxCopySpans || len(q.Keys) > maxCopyKeys {
		return catalog.Errorf(catalog.Invalid, "%d spans and %d keys are more than is answered at once", len(q.Spans), len(q.Keys))
	}
	return q.Scope.Validate()
}

// kvCopyEntry is the entry that a write is by, as it was when the write was made.
func kvCopyEntry(tx *state.Txn, req *api.KVCopyWrite) (*catalog.KVReplication, error) {
	found, _ := state.ConfigEntry(tx, nil, catalog.EntryKVReplication, req.Entry)
	e, _ := found.(*catalog.KVReplication)
	if e == nil || e.ModifyIndex != req.Index {
		return nil, catalog.Errorf(catalog.Conflict, "%s/%s has changed in the meantime: nothing is copied as it was before", catalog.EntryKVReplication, req.Entry)
	}
	return e, nil
}

// prepareKVCopy leaves out what cannot be stored, and says why: the source may run another version, or be in the wrong
// hands.
func prepareKVCopy(tx *state.Txn, given *api.KVCopyWrite) (*api.KVCopyWrite, error) {
	e, err := kvCopyEntry(tx, given)
	if err != nil {
		return nil, err
	}
	scope, req := e.Scope(), *given
	req.Rows, req.Unfit = fitting(given.Rows, func(p *catalog.KVPair) error {
		if !scope.Covers(p.Key) {
			return catalog.Errorf(catalog.Invalid, "key %.64q is none that %s speaks of", p.Key, e.Head())
		}
		return catalog.ValidateKey(p.Key)
	})
	return &req, nil
}

func applyKVCopy(tx *state.Txn, req *api.KVCopyWrite) (*api.KVCopied, error) {
	e, err := kvCopyEntry(tx, req)
	if err != nil {
		return nil, err
	}
	out, scope := &api.KVCopied{Refused: req.Unfit}, e.Scope()
	theirs := func(key string) bool { // whether the word of the source counts
		if !scope.Covers(key) {
			return false
		}
		p, _ := state.KVGet(tx, nil, key)
		if p != nil && !e.Counts(p) {
			out.Kept++
			return false
		}
		return true
	}
	for _, p := range req.Rows {
		if theirs(p.Key) {
			state.KVCopy(tx, p, e.Source)
		}
	}
	for _, key := range req.Drop {
		if theirs(key) {
			state.KVDelete(tx, key)
		}
	}
	return out, nil
}

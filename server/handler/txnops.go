package handler

import (
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/server/api"
)

func conflict(format string, args ...any) error {
	return catalog.Errorf(catalog.Conflict, format, args...)
}

func pairResult(p *catalog.KVPair) []api.TxnResult { return []api.TxnResult{{KV: p}} }

// unvalued is a written pair as results show it: without its value, which the writer knows.
func unvalued(p *catalog.KVPair) []api.TxnResult {
	row := *p
	row.Value = nil
	return pairResult(&row)
}

func runKV(tx *state.Txn, op *api.TxnKV) ([]api.TxnResult, error) {
	pair := &catalog.KVPair{Key: op.Key, Value: op.Value, Flags: op.Flags, Session: op.Session}
	switch op.Verb {
	case api.KVSet:
		return unvalued(state.KVSet(tx, pair)), nil
	case api.KVDelete:
		state.KVDelete(tx, op.Key)
		return nil, nil
	case api.KVDeleteTree:
		state.KVDeleteTree(tx, op.Key)
		return nil, nil
	case api.KVCAS:
		if stored := state.KVSetCAS(tx, pair, op.Index); stored != nil {
			return unvalued(stored), nil
		}
		return nil, conflict("failed to set key %q, index is stale", op.Key)
	case api.KVDeleteCAS:
		if state.KVDeleteCAS(tx, op.Key, op.Index) {
			return nil, nil
		}
		return nil, conflict("failed to delete key %q, index is stale", op.Key)
	case api.KVLock, api.KVUnlock:
		return runLock(tx, op, pair)
	}
	return readKV(tx, op)
}

func runLock(tx *state.Txn, op *api.TxnKV, pair *catalog.KVPair) ([]api.TxnResult, error) {
	do, failed := state.KVLock, "failed to lock key %q, lock is already held"
	if op.Verb == api.KVUnlock {
		do, failed = state.KVUnlock, "failed to unlock key %q, lock isn't held, or is held by another session"
	}
	stored, err := do(tx, pair)
	switch {
	case err != nil:
		return nil, err
	case stored == nil:
		return nil, conflict(failed, op.Key)
	}
	return unvalued(stored), nil
}

func readKV(tx *state.Txn, op *api.TxnKV) ([]api.TxnResult, error) {
	if op.Verb == api.KVGetTree {
		found, _ := state.KVList(tx, nil, op.Key)
		var results []api.TxnResult
		for _, p := range found {
			results = append(results, api.TxnResult{KV: p})
		}
		return results, nil
	}
	old, _ := state.KVGet(tx, nil, op.Key)
	switch op.Verb {
	case api.KVGetOrEmpty:
		if old == nil {
			return pairResult(&catalog.KVPair{Key: op.Key}), nil
		}
		return pairResult(old), nil
	case api.KVCheckNotExists:
		if old != nil {
			return nil, conflict("key %q exists", op.Key)
		}
		return nil, nil
	case api.KVGet, api.KVCheckIndex, api.KVCheckSession:
	default:
		return nil, catalog.Errorf(catalog.Invalid, "unknown KV operation: %s", op.Verb)
	}
	switch {
	case old == nil:
		return nil, conflict("key %q doesn't exist", op.Key)
	case op.Verb == api.KVCheckIndex && old.ModifyIndex != op.Index:
		return nil, conflict("current modify index %d for key %q is not equal to %d", old.ModifyIndex, op.Key, op.Index)
	case op.Verb == api.KVCheckSession && old.Session != op.Session:
		return nil, conflict("current session %q for key %q is not equal to %q", old.Session, op.Key, op.Session)
	case op.Verb == api.KVGet:
		return pairResult(old), nil
	}
	return unvalued(old), nil
}

func runNode(tx *state.Txn, op *api.TxnNode) ([]api.TxnResult, error) {
	name := op.Node.Node
	if op.Node.ID != "" {
		if n := state.Node(tx, nil, op.Node.ID); n != nil && op.Verb != api.TxnSet && op.Verb != api.TxnCAS {
			name = n.Node
		}
	}
	old := state.Node(tx, nil, name)
	switch op.Verb {
	case api.TxnGet:
		if old == nil {
			return nil, conflict("node %q doesn't exist", name)
		}
		return []api.TxnResult{{Node: old}}, nil
	case api.TxnCAS:
		if old == nil && op.Node.ModifyIndex != 0 || old != nil && old.ModifyIndex != op.Node.ModifyIndex {
			return nil, conflict("failed to set node %q, index is stale", name)
		}
		fallthrough
	case api.TxnSet:
		stored, err := state.EnsureNode(tx, &op.Node)
		if err != nil {
			return nil, err
		}
		return []api.TxnResult{{Node: stored}}, nil
	case api.TxnDeleteCAS:
		if old != nil && old.ModifyIndex != op.Node.ModifyIndex {
			return nil, conflict("failed to delete node %q, index is stale", name)
		}
		fallthrough
	case api.TxnDelete:
		state.DeleteNode(tx, name)
		return nil, nil
	}
	return nil, catalog.Errorf(catalog.Invalid, "unknown Node operation: %s", op.Verb)
}

func runService(tx *state.Txn, op *api.TxnService) ([]api.TxnResult, error) {
	id := op.Service.ID
	old := state.Instance(tx, nil, op.Node, id)
	stale := func() bool {
		return old == nil && op.Service.ModifyIndex != 0 || old != nil && old.Service.ModifyIndex != op.Service.ModifyIndex
	}
	switch op.Verb {
	case api.TxnGet:
		if old == nil {
			return nil, conflict("service %q on node %q doesn't exist", id, op.Node)
		}
		return []api.TxnResult{{Service: old.Service}}, nil
	case api.TxnCAS:
		if stale() {
			return nil, conflict("failed to set service %q on node %q, index is stale", id, op.Node)
		}
		fallthrough
	case api.TxnSet:
		op.Service.Normalize()
		stored, err := state.EnsureService(tx, op.Node, &op.Service)
		if err != nil {
			return nil, err
		}
		return []api.TxnResult{{Service: stored}}, nil
	case api.TxnDeleteCAS:
		if old != nil && stale() {
			return nil, conflict("failed to delete service %q on node %q, index is stale", id, op.Node)
		}
		fallthrough
	case api.TxnDelete:
		state.DeleteService(tx, op.Node, id)
		return nil, nil
	}
	return nil, catalog.Errorf(catalog.Invalid, "unknown Service operation: %s", op.Verb)
}

func runCheck(tx *state.Txn, op *api.TxnCheck) ([]api.TxnResult, error) {
	node, id := op.Check.Node, op.Check.CheckID
	old := state.Check(tx, nil, node, id)
	stale := func() bool {
		return old == nil && op.Check.ModifyIndex != 0 || old != nil && old.ModifyIndex != op.Check.ModifyIndex
	}
	switch op.Verb {
	case api.TxnGet:
		if old == nil {
			return nil, conflict("check %q on node %q doesn't exist", id, node)
		}
		return []api.TxnResult{{Check: txnCheck(old)}}, nil
	case api.TxnCAS:
		if stale() {
			return nil, conflict("failed to set check %q on node %q, index is stale", id, node)
		}
		fallthrough
	case api.TxnSet:
		op.Check.Normalize()
		if err := state.EnsureCheck(tx, &op.Check); err != nil {
			return nil, err
		}
		return []api.TxnResult{{Check: txnCheck(state.Check(tx, nil, node, id))}}, nil
	case api.TxnDeleteCAS:
		if old != nil && stale() {
			return nil, conflict("failed to delete check %q on node %q, index is stale", id, node)
		}
		fallthrough
	case api.TxnDelete:
		state.DeleteCheck(tx, node, id)
		return nil, nil
	}
	return nil, catalog.Errorf(catalog.Invalid, "unknown Check operation: %s", op.Verb)
}

// txnCheck is a check as transactions show it: one without a service has no tags rather than an empty list of
// them, as clients expect here and nowhere else.
func txnCheck(stored *catalog.Check) *catalog.Check {
	if stored == nil || stored.ServiceID != "" {
		return stored
	}
	c := *stored
	c.ServiceTags = nil
	return &c
}

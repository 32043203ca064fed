package handler

import (
	"context"
	"fmt"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
)

func registerTxn(r *endpoint.Registry, d Deps) {
	refuse := func(az acl.Authorizer, req *api.TxnRequest) *api.TxnReply { return refuseOps(d, az, req) }
	endpoint.AddCommand(r, endpoint.Command[api.TxnRequest, api.TxnReply]{
		Method: api.TxnApply,
		Refuse: refuse,
		Visible: func(az acl.Authorizer, rep *api.TxnReply) *api.TxnReply {
			kept, _ := visibleResults(az, rep)
			return kept
		},
		Prepare: func(_ context.Context, req *api.TxnRequest) (*api.TxnRequest, error) { return prepareTxn(d, req) },
		Answer:  func(req *api.TxnRequest) *api.TxnReply { return refuseTxn(d, req) },
		Apply: func(tx *state.Txn, req *api.TxnRequest) (*api.TxnReply, error) {
			reply := runTxn(tx, req)
			if reply.Errors != nil {
				return nil, &RolledBack{Reply: reply}
			}
			return reply, nil
		},
	})
	endpoint.AddQuery(r, endpoint.Query[api.TxnRequest, api.TxnReply]{
		Method:  api.TxnRead,
		Plain:   true,
		Refuse:  refuse,
		Visible: visibleResults,
		Check:   onlyReads,
		Read: func(tx *state.Txn, _ *state.Watch, req *api.TxnRequest) (*api.TxnReply, uint64, error) {
			return runTxn(tx, req), 1, nil
		},
	})
}

// onlyReads refuses what must go through the log.
func onlyReads(req *api.TxnRequest) error {
	if err := checkSize(req); err != nil {
		return err
	}
	for i := range req.Ops {
		if !req.Ops[i].Reads() {
			return catalog.Errorf(catalog.Invalid, "operation %d writes: a transaction that writes is applied, not read", i)
		}
	}
	return nil
}

func checkSize(req *api.TxnRequest) error {
	if len(req.Ops) > api.MaxTxnOps {
		return catalog.Errorf(catalog.TooLarge, "transaction has %d operations: at most %d are allowed", len(req.Ops), api.MaxTxnOps)
	}
	return nil
}

// RolledBack is the error of a transaction of which an operation failed: what was written is given up,
// and the reply says which operation and why.
type RolledBack struct{ Reply *api.TxnReply }

func (e *RolledBack) Error() string {
	first := e.Reply.Errors[0]
	return fmt.Sprintf("transaction rolled back: operation %d: %s", first.OpIndex, first.What)
}

// Rejection implements endpoint.Rejected.
func (e *RolledBack) Rejection() any { return e.Reply }

// prepareTxn fills what may be left out. What it cannot accept is an error of that operation, which
// refuseTxn reports.
func prepareTxn(d Deps, given *api.TxnRequest) (*api.TxnRequest, error) {
	if err := checkSize(given); err != nil {
		return nil, err
	}
	req := &api.TxnRequest{Ops: make([]api.TxnOp, len(given.Ops))}
	for i, op := range given.Ops {
		switch {
		case op.Node != nil:
			n := *op.Node
			if n.Node.Datacenter == "" {
				n.Node.Datacenter = d.Datacenter
			}
			op.Node = &n
		case op.Service != nil:
			s := *op.Service
			s.Service.Normalize()
			op.Service = &s
		case op.Check != nil:
			c := *op.Check
			c.Check.Normalize()
			op.Check = &c
		}
		req.Ops[i] = op
	}
	return req, nil
}

// refuseTxn returns the errors that can be seen before anything is proposed, nil when there are none.
func refuseTxn(d Deps, req *api.TxnRequest) *api.TxnReply {
	reply := &api.TxnReply{}
	for i, op := range req.Ops {
		var err error
		switch {
		case op.KV != nil:
			err = checkTxnKV(d, op.KV)
		case op.Node != nil:
			err = checkTxnNode(op.Node)
		case op.Service != nil && op.Service.Verb != api.TxnGet && op.Service.Verb != api.TxnDelete && op.Service.Verb != api.TxnDeleteCAS:
			err = op.Service.Service.Validate()
		case op.Check != nil:
			err = op.Check.Check.Validate()
		}
		if err != nil {
			reply.Errors = append(reply.Errors, api.TxnError{OpIndex: i, What: err.Error()})
		}
	}
	if reply.Errors == nil {
		return nil
	}
	return reply
}

func checkTxnKV(d Deps, op *api.TxnKV) error {
	switch op.Verb {
	case api.KVDeleteTree, api.KVGetTree:
		return nil
	}
	if op.Key == "" {
		return catalog.Errorf(catalog.Invalid, "Must provide key")
	}
	if delayed(d, op.Verb, op.Key) {
		return catalog.Errorf(catalog.Conflict, "failed to lock key %q due to lock delay", op.Key)
	}
	return nil
}

func checkTxnNode(op *api.TxnNode) error {
	if op.Node.Node == "" && op.Node.ID == "" {
		return catalog.Errorf(catalog.Invalid, "node operation needs a node name or id")
	}
	if op.Verb == api.TxnSet || op.Verb == api.TxnCAS {
		if op.Node.Node == "" || op.Node.Address == "" {
			return catalog.Errorf(catalog.Invalid, "node %q needs a name and an address", op.Node.Node)
		}
		if op.Node.ID != "" {
			if err := catalog.ValidateID("node id", op.Node.ID); err != nil {
				return err
			}
		}
		return catalog.ValidateMeta(op.Node.Meta, true)
	}
	return nil
}

// runTxn runs the operations in order and stops at none, so that every error is reported.
func runTxn(tx *state.Txn, req *api.TxnRequest) *api.TxnReply {
	reply := &api.TxnReply{Results: []api.TxnResult{}}
	for i, op := range req.Ops {
		results, err := runOp(tx, op)
		if err != nil {
			reply.Errors = append(reply.Errors, api.TxnError{OpIndex: i, What: err.Error()})
			continue
		}
		reply.Results = append(reply.Results, results...)
	}
	if reply.Errors != nil {
		reply.Results = nil
	}
	return reply
}

func runOp(tx *state.Txn, op api.TxnOp) ([]api.TxnResult, error) {
	switch {
	case op.KV != nil:
		return runKV(tx, op.KV)
	case op.Node != nil:
		return runNode(tx, op.Node)
	case op.Service != nil:
		return runService(tx, op.Service)
	case op.Check != nil:
		return runCheck(tx, op.Check)
	case op.Session != nil:
		if op.Session.Verb != api.TxnDelete {
			return nil, catalog.Errorf(catalog.Invalid, "unknown Session operation: %s", op.Session.Verb)
		}
		state.SessionDestroy(tx, op.Session.Session.ID)
	}
	return nil, nil
}

package handler

import (
	"cmp"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/server/api"
)

func need(resource acl.Resource, name string, access acl.Access) []acl.Need {
	return []acl.Need{{Resource: resource, Name: name, Access: access}}
}

// Writes name things by their ids, so what they need is told from what is stored under these: a right to
// one name must not change what has another.

// serviceNeeds is what it takes to change the service with an id of a node, under the name it has and
// the one it gets.
func serviceNeeds(tx *state.Txn, node, id, name string, access acl.Access) []acl.Need {
	stored := state.Instance(tx, nil, node, cmp.Or(id, name))
	if stored == nil {
		return need(acl.Service, name, access)
	}
	needs := need(acl.Service, stored.Service.Service, access)
	if name != "" && name != stored.Service.Service {
		needs = append(needs, need(acl.Service, name, access)...)
	}
	return needs
}

// checkNeeds is what it takes to change a check, of the service that has it and of the one that gets
// it. coming are services that the same request registers.
func checkNeeds(tx *state.Txn, c *catalog.Check, coming map[string]string, access acl.Access) (needs []acl.Need) {
	of := func(service string) {
		if service == "" {
			needs = append(needs, need(acl.Node, c.Node, access)...)
		} else if i := state.Instance(tx, nil, c.Node, service); i != nil {
			needs = append(needs, need(acl.Service, i.Service.Service, access)...)
		} else if name := coming[service]; name != "" {
			needs = append(needs, need(acl.Service, name, access)...)
		} else {
			needs = append(needs, need(acl.Service, c.ServiceName, access)...)
		}
	}
	stored := state.Check(tx, nil, c.Node, cmp.Or(c.CheckID, c.Name))
	if stored != nil {
		of(stored.ServiceID)
	}
	if stored == nil || access == acl.Write && c.ServiceID != stored.ServiceID {
		of(c.ServiceID)
	}
	return needs
}

func registerNeeds(d Deps, req *api.RegisterRequest) (needs []acl.Need) {
	tx, coming := d.Store.Read(), map[string]string{}
	if !req.SkipNodeUpdate {
		needs = need(acl.Node, req.Node, acl.Write)
	}
	for _, s := range append([]*catalog.Service{req.Service}, req.Services...) {
		if s != nil {
			coming[cmp.Or(s.ID, s.Service)] = s.Service
			needs = append(needs, serviceNeeds(tx, req.Node, s.ID, s.Service, acl.Write)...)
		}
	}
	for _, c := range append([]*catalog.Check{req.Check}, req.Checks...) {
		if c != nil {
			of := *c
			of.Node = req.Node
			needs = append(needs, checkNeeds(tx, &of, coming, acl.Write)...)
		}
	}
	return needs
}

func deregisterNeeds(req *api.DeregisterRequest) []acl.Need {
	return need(acl.Node, req.Node, acl.Write)
}

// kvNeeds is what an operation on a key needs, alone and in a transaction.
func kvNeeds(op api.KVOp, key string) []acl.Need {
	switch op {
	case api.KVGet, api.KVGetOrEmpty, api.KVCheckIndex, api.KVCheckSession, api.KVCheckNotExists:
		return need(acl.Key, key, acl.Read)
	case api.KVGetTree:
		return need(acl.Key, key, acl.List)
	case api.KVDeleteTree:
		return need(acl.Key, key, acl.WritePrefix)
	}
	return need(acl.Key, key, acl.Write)
}

// sessionNeeds is what it takes to use the session with an id, or to make one on a node.
func sessionNeeds(d Deps, id, node string) []acl.Need {
	if id != "" {
		if stored, _ := state.Session(d.Store.Read(), nil, id); stored != nil {
			node = stored.Node
		}
	}
	return need(acl.Session, node, acl.Write)
}

func txnNeeds(d Deps, req *api.TxnRequest) (needs []acl.Need) {
	tx := d.Store.Read()
	for i := range req.Ops {
		needs = append(needs, opNeeds(tx, d, &req.Ops[i])...)
	}
	return needs
}

func opNeeds(tx *state.Txn, d Deps, op *api.TxnOp) []acl.Need {
	access := func(verb string) acl.Access {
		if verb == api.TxnGet {
			return acl.Read
		}
		return acl.Write
	}
	switch {
	case op.KV != nil:
		return kvNeeds(op.KV.Verb, op.KV.Key)
	case op.Node != nil:
		needs := need(acl.Node, op.Node.Node.Node, access(op.Node.Verb))
		if n := state.Node(tx, nil, op.Node.Node.ID); n != nil {
			needs = append(needs, need(acl.Node, n.Node, access(op.Node.Verb))...)
		}
		return needs
	case op.Service != nil:
		s := &op.Service.Service
		return serviceNeeds(tx, op.Service.Node, s.ID, s.Service, access(op.Service.Verb))
	case op.Check != nil:
		return checkNeeds(tx, &op.Check.Check, nil, access(op.Check.Verb))
	case op.Session != nil:
		return sessionNeeds(d, op.Session.Session.ID, op.Session.Session.Node)
	}
	return nil
}

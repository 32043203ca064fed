package handler

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strings"

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

// registerNeeds is what it takes to register. A node that is there already, and that the request does not change, is
// not written: whoever may register a service need not be allowed to change its node.
func registerNeeds(d Deps, req *api.RegisterRequest) (needs []acl.Need) {
	tx, coming := d.Store.Read(), map[string]string{}
	if stored := state.Node(tx, nil, req.Node); stored == nil || !req.SkipNodeUpdate && changesNode(stored, req) {
		needs = nodeNeeds(tx, req.Node, req.ID, acl.Write)
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

// nodeNeeds is what it takes to change the node of a name or an id: the one that has the id may be renamed.
func nodeNeeds(tx *state.Txn, name, id string, access acl.Access) (needs []acl.Need) {
	if name != "" {
		needs = need(acl.Node, name, access)
	}
	if id == "" {
		return needs
	}
	if stored := state.Node(tx, nil, id); stored != nil && stored.Node != name {
		needs = append(needs, need(acl.Node, stored.Node, access)...)
	}
	return needs
}

func changesNode(stored *catalog.Node, req *api.RegisterRequest) bool {
	return req.ID != "" && !strings.EqualFold(req.ID, stored.ID) || req.Node != stored.Node || req.Address != stored.Address ||
		!maps.Equal(req.TaggedAddresses, stored.TaggedAddresses) || !maps.Equal(req.NodeMeta, stored.Meta) || !reflect.DeepEqual(req.Locality, stored.Locality)
}

// deregisterNeeds is what it takes to remove a node, a service or a check: the right to the node, or to the service.
// What is not there cannot be told from what may not be removed.
func deregisterNeeds(d Deps, req *api.DeregisterRequest) []acl.Need {
	needs := need(acl.Node, req.Node, acl.Write)
	tx, service := d.Store.Read(), ""
	switch {
	case req.ServiceID != "":
		if i := state.Instance(tx, nil, req.Node, req.ServiceID); i != nil {
			service = i.Service.Service
		}
	case req.CheckID != "":
		if c := state.Check(tx, nil, req.Node, req.CheckID); c != nil && c.ServiceID != "" {
			if i := state.Instance(tx, nil, req.Node, c.ServiceID); i != nil {
				service = i.Service.Service
			}
		}
	}
	if service != "" {
		needs[0].Or = &acl.Need{Resource: acl.Service, Name: service, Access: acl.Write}
	}
	return needs
}

// kvNeeds is what an operation on a key needs, alone and in a transaction. Of a tree that is read the token sees
// what it may read, unless key_prefix rules have to say list for it.
func kvNeeds(d Deps, op api.KVOp, key string) []acl.Need {
	switch op {
	case api.KVGet, api.KVGetOrEmpty, api.KVCheckIndex, api.KVCheckSession, api.KVCheckNotExists:
		return need(acl.Key, key, acl.Read)
	case api.KVGetTree:
		return listNeeds(d, key)
	case api.KVDeleteTree:
		return need(acl.Key, key, acl.WritePrefix)
	}
	return need(acl.Key, key, acl.Write)
}

// listNeeds is what it takes to read the keys under a prefix.
// Source: https://developer.hashicorp.com/consul/docs/reference/acl/rule (list policy for keys)
func listNeeds(d Deps, prefix string) []acl.Need {
	if !d.KeyListPolicy {
		return nil
	}
	return need(acl.Key, prefix, acl.List)
}

// sessionNeeds is what it takes to use the session with an id. One that is not there any more is nobody's: who holds
// its id, which cannot be guessed, learns that it is gone.
func sessionNeeds(d Deps, id string) []acl.Need {
	stored, _ := state.Session(d.Store.Read(), nil, id)
	if stored == nil {
		return nil
	}
	return need(acl.Session, stored.Node, acl.Write)
}

// refuseOps returns the operations of a transaction that the token may not do, nil when it may do all.
func refuseOps(d Deps, az acl.Authorizer, req *api.TxnRequest) *api.TxnReply {
	tx, reply := d.Store.Read(), &api.TxnReply{}
	for i := range req.Ops {
		if err := acl.Enforce(az, opNeeds(tx, d, &req.Ops[i])); err != nil {
			reply.Errors = append(reply.Errors, api.TxnError{OpIndex: i, What: err.Error()})
		}
	}
	if reply.Errors == nil {
		return nil
	}
	return reply
}

// visibleResults leaves out of a transaction's results the keys of trees that the token may not read. Everything else
// was refused before.
func visibleResults(az acl.Authorizer, rep *api.TxnReply) (*api.TxnReply, bool) {
	seen := func(r api.TxnResult) bool { return r.KV == nil || seesKey(az, r.KV.Key) }
	if az.View() == "" || !slices.ContainsFunc(rep.Results, func(r api.TxnResult) bool { return !seen(r) }) {
		return rep, false
	}
	kept := &api.TxnReply{Results: []api.TxnResult{}, Errors: rep.Errors}
	for _, r := range rep.Results {
		if seen(r) {
			kept.Results = append(kept.Results, r)
		}
	}
	return kept, true
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
		return kvNeeds(d, op.KV.Verb, op.KV.Key)
	case op.Node != nil:
		n := &op.Node.Node
		if n.Node == "" && state.Node(tx, nil, n.ID) == nil {
			return need(acl.Node, "", access(op.Node.Verb))
		}
		return nodeNeeds(tx, n.Node, n.ID, access(op.Node.Verb))
	case op.Service != nil:
		s := &op.Service.Service
		return serviceNeeds(tx, op.Service.Node, s.ID, s.Service, access(op.Service.Verb))
	case op.Check != nil:
		return checkNeeds(tx, &op.Check.Check, nil, access(op.Check.Verb))
	case op.Session != nil:
		return sessionNeeds(d, op.Session.Session.ID)
	}
	return nil
}

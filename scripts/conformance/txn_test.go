package conformance

import (
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"
)

// commit makes a transaction that must succeed.
func commit(t *testing.T, a *agent, ops ...*api.TxnOp) []*api.TxnResult {
	t.Helper()
	ok, resp, _, err := a.Txn().Txn(ops, nil)
	must(t, err)
	if !ok {
		t.Fatalf("the transaction failed: %s", asJSON(resp.Errors))
	}
	return resp.Results
}

// fails makes a transaction of which one operation must fail.
func fails(t *testing.T, a *agent, at int, ops ...*api.TxnOp) {
	t.Helper()
	ok, resp, _, err := a.Txn().Txn(ops, nil)
	must(t, err)
	if ok || len(resp.Errors) != 1 || resp.Errors[0].OpIndex != at || resp.Errors[0].What == "" || len(resp.Results) != 0 {
		t.Errorf("%s: ok is %v, want an error of operation %d: %s", asJSON(ops), ok, at, asJSON(resp))
	}
}

func kvOp(verb api.KVOp, key, value string, index uint64, session string) *api.TxnOp {
	return &api.TxnOp{KV: &api.KVTxnOp{Verb: verb, Key: key, Value: []byte(value), Index: index, Session: session}}
}

// Every verb of keys, and that a transaction takes effect whole or not at all.
func TestTxnKV(t *testing.T) {
	t.Parallel()
	a := start(t, nil)
	results := commit(t, a, kvOp(api.KVSet, "t/a", "1", 0, ""), kvOp(api.KVSet, "t/b", "2", 0, ""), kvOp(api.KVGet, "t/a", "", 0, ""), kvOp(api.KVCheckNotExists, "t/c", "", 0, ""))
	if len(results) != 3 || results[0].KV.Value != nil || string(results[2].KV.Value) != "1" || results[0].KV.ModifyIndex != results[2].KV.ModifyIndex {
		t.Errorf("set, set, get: %s", asJSON(results))
	}
	index := results[0].KV.ModifyIndex
	holder := session(t, a)
	results = commit(t, a, kvOp(api.KVGetTree, "t/", "", 0, ""), kvOp(api.KVGetOrEmpty, "t/none", "", 0, ""), kvOp(api.KVCheckIndex, "t/a", "", index, ""))
	if len(results) != 4 || results[0].KV.Key != "t/a" || results[1].KV.Key != "t/b" || results[2].KV.Key != "t/none" || results[2].KV.Value != nil || results[2].KV.CreateIndex != 0 {
		t.Errorf("get-tree, get-or-empty, check-index: %s", asJSON(results))
	}
	results = commit(t, a, kvOp(api.KVCAS, "t/a", "3", index, ""), kvOp(api.KVLock, "t/l", "", 0, holder), kvOp(api.KVCheckSession, "t/l", "", 0, holder))
	if results[1].KV.Session != holder || results[1].KV.LockIndex != 1 {
		t.Errorf("cas, lock, check-session: %s", asJSON(results))
	}
	commit(t, a, kvOp(api.KVUnlock, "t/l", "", 0, holder))

	for _, bad := range []*api.TxnOp{
		kvOp(api.KVGet, "t/none", "", 0, ""), kvOp(api.KVCAS, "t/a", "", index, ""), kvOp(api.KVDeleteCAS, "t/a", "", index, ""), kvOp(api.KVCheckIndex, "t/a", "", index, ""),
		kvOp(api.KVCheckNotExists, "t/a", "", 0, ""), kvOp(api.KVCheckSession, "t/l", "", 0, holder), kvOp(api.KVUnlock, "t/l", "", 0, holder),
		kvOp(api.KVLock, "t/l", "", 0, uuid1), kvOp("odd", "t/a", "", 0, ""), kvOp(api.KVSet, "", "", 0, ""),
	} {
		fails(t, a, 1, kvOp(api.KVSet, "t/new", "x", 0, ""), bad)
	}
	if p, _, err := a.KV().Get("t/new", nil); err != nil || p != nil {
		t.Errorf("a transaction that failed left %s (%v)", asJSON(p), err)
	}
	p, _, err := a.KV().Get("t/b", nil)
	must(t, err)
	results = commit(t, a, kvOp(api.KVDelete, "t/a", "", 0, ""), kvOp(api.KVDeleteCAS, "t/b", "", p.ModifyIndex, ""), kvOp(api.KVDeleteTree, "t/", "", 0, ""))
	equal(t, "results of deletions", len(results), 0)
	keys, _, err := a.KV().Keys("t/", "", nil)
	must(t, err)
	equal(t, "keys left", len(keys), 0)
}

// The verbs of nodes, services and checks.
func TestTxnCatalog(t *testing.T) {
	t.Parallel()
	a := start(t, nil)
	node := func(verb api.NodeOp, address string, index uint64) *api.TxnOp {
		return &api.TxnOp{Node: &api.NodeTxnOp{Verb: verb, Node: api.Node{ID: uuid1, Node: "n1", Address: address, ModifyIndex: index}}}
	}
	service := func(verb api.ServiceOp, port int, index uint64) *api.TxnOp {
		return &api.TxnOp{Service: &api.ServiceTxnOp{Verb: verb, Node: "n1", Service: api.AgentService{ID: "web-1", Service: "web", Port: port, ModifyIndex: index}}}
	}
	check := func(verb api.CheckOp, status string, index uint64) *api.TxnOp {
		return &api.TxnOp{Check: &api.CheckTxnOp{Verb: verb, Check: api.HealthCheck{Node: "n1", CheckID: "c", Name: "c", ServiceID: "web-1", Status: status, ModifyIndex: index,
			Definition: api.HealthCheckDefinition{TCP: "10.0.0.1:80", IntervalDuration: 5e9}}}}
	}
	results := commit(t, a, node(api.NodeSet, "10.0.0.1", 0), service(api.ServiceSet, 80, 0), check(api.CheckSet, api.HealthPassing, 0))
	if len(results) != 3 || results[0].Node.Address != "10.0.0.1" || results[1].Service.Port != 80 || results[2].Check.Status != api.HealthPassing {
		t.Fatalf("set: %s", asJSON(results))
	}
	entries, _, err := a.Health().Service("web", "", true, nil)
	must(t, err)
	if len(entries) != 1 || len(entries[0].Checks) != 1 || entries[0].Checks[0].Definition.IntervalDuration != 5e9 {
		t.Errorf("what the transaction registered: %s", asJSON(entries))
	}
	index := results[0].Node.ModifyIndex
	results = commit(t, a, node(api.NodeCAS, "10.0.0.2", index), service(api.ServiceCAS, 81, index), check(api.CheckCAS, api.HealthCritical, index))
	later := results[0].Node.ModifyIndex
	results = commit(t, a, node(api.NodeGet, "", 0), service(api.ServiceGet, 0, 0), check(api.CheckGet, "", 0))
	equal(t, "get", []any{results[0].Node.Address, results[1].Service.Port, results[2].Check.Status}, []any{"10.0.0.2", 81, api.HealthCritical})
	for _, bad := range []*api.TxnOp{
		node(api.NodeCAS, "10.0.0.3", index), service(api.ServiceCAS, 82, index), check(api.CheckCAS, api.HealthPassing, index),
		node(api.NodeDeleteCAS, "", index), service(api.ServiceDeleteCAS, 0, index), check(api.CheckDeleteCAS, "", index),
		node("odd", "", 0), service("odd", 0, 0), check("odd", "", 0),
		{Node: &api.NodeTxnOp{Verb: api.NodeGet, Node: api.Node{Node: "absent"}}},
		{Service: &api.ServiceTxnOp{Verb: api.ServiceGet, Node: "n1", Service: api.AgentService{ID: "absent"}}},
		{Check: &api.CheckTxnOp{Verb: api.CheckGet, Check: api.HealthCheck{Node: "n1", CheckID: "absent"}}},
		{Service: &api.ServiceTxnOp{Verb: api.ServiceSet, Node: "absent", Service: api.AgentService{Service: "x"}}},
	} {
		fails(t, a, 1, kvOp(api.KVSet, "new", "", 0, ""), bad)
	}
	commit(t, a, check(api.CheckDeleteCAS, "", later), service(api.ServiceDeleteCAS, 0, later), node(api.NodeDeleteCAS, "", later))
	commit(t, a, node(api.NodeSet, "10.0.0.1", 0), service(api.ServiceSet, 80, 0), check(api.CheckSet, api.HealthPassing, 0))
	commit(t, a, check(api.CheckDelete, "", 0), service(api.ServiceDelete, 0, 0), node(api.NodeDelete, "", 0))
	found, _, err := a.Catalog().Node("n1", nil)
	must(t, err)
	if found != nil {
		t.Errorf("a deleted node: %s", asJSON(found))
	}
}

// Reads tell how fresh they are; sizes are bounded.
func TestTxnPlain(t *testing.T) {
	t.Parallel()
	a := start(t, nil)
	ok, resp, meta, err := a.KV().Txn(api.KVTxnOps{{Verb: api.KVSet, Key: "k", Value: []byte("v")}}, nil)
	must(t, err)
	if !ok || len(resp.Results) != 1 || meta.RequestTime == 0 {
		t.Errorf("by the older client call: %v %s", ok, asJSON(resp))
	}
	for _, opts := range []*api.QueryOptions{nil, {RequireConsistent: true}, {AllowStale: true}} {
		ok, resp, meta, err := a.KV().Txn(api.KVTxnOps{{Verb: api.KVGet, Key: "k"}}, opts)
		must(t, err)
		if !ok || string(resp.Results[0].Value) != "v" || !meta.KnownLeader || meta.LastContact != 0 {
			t.Errorf("a read: %v %s %s", ok, asJSON(resp), asJSON(meta))
		}
	}
	const op, most = `{"KV": {"Verb": "set", "Key": "x", "Value": "dg=="}}`, 128
	a.status(200, "PUT", "/v1/txn", "["+strings.Repeat(op+",", most-1)+op+"]")
	a.status(413, "PUT", "/v1/txn", "["+strings.Repeat(op+",", most)+op+"]")
	a.status(413, "PUT", "/v1/txn", `[{"KV": {"Verb": "set", "Key": "x", "Value": "`+strings.Repeat("A", 1<<20)+`"}}]`)
	a.status(400, "PUT", "/v1/txn", `[{"KV": {"Verb": "set", "Key": "x", "Value": "no base64!"}}]`)
	a.status(400, "PUT", "/v1/txn", "")
	a.status(405, "POST", "/v1/txn", "[]")
}

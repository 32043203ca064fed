package handler

import (
	"cmp"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/connect/chain"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
)

func registerChain(r *endpoint.Registry, d Deps) {
	endpoint.AddQuery(r, endpoint.Query[api.ChainQuery, api.ChainReply]{
		Method: api.ChainGet,
		Needs:  func(q *api.ChainQuery) []acl.Need { return need(acl.Service, q.Service, acl.Read) },
		Check:  checkChainQuery,
		Read: func(tx *state.Txn, w *state.Watch, q *api.ChainQuery) (*api.ChainReply, uint64, error) {
			return readChain(tx, w, d.Datacenter, q)
		},
	})
}

func checkChainQuery(q *api.ChainQuery) error {
	if q.Service == "" {
		return catalog.Errorf(catalog.Invalid, "missing service name")
	}
	switch q.OverrideMeshGateway.Mode {
	case "", "none", "local", "remote":
	default:
		return catalog.Errorf(catalog.Invalid, "OverrideMeshGateway: invalid mode %q: want none, local or remote", q.OverrideMeshGateway.Mode)
	}
	if q.OverrideConnectTimeout < 0 {
		return catalog.Errorf(catalog.Invalid, "OverrideConnectTimeout: %s is below zero", q.OverrideConnectTimeout)
	}
	return nil
}

// readChain compiles a chain. It depends on the entries that the compiler looked at, those that it looked
// for in vain included, and on the service's virtual addresses.
func readChain(tx *state.Txn, w *state.Watch, datacenter string, q *api.ChainQuery) (*api.ChainReply, uint64, error) {
	domain, index := trustDomain(tx, w)
	from := &entriesRead{tx: tx, w: w, index: index}
	made, err := chain.Compile(chain.Request{
		Service:     q.Service,
		Datacenter:  cmp.Or(q.EvaluateIn, datacenter),
		TrustDomain: domain,
		Overrides: chain.Overrides{
			MeshGateway:    q.OverrideMeshGateway,
			Protocol:       q.OverrideProtocol,
			ConnectTimeout: q.OverrideConnectTimeout,
		},
	}, from)
	if err != nil {
		return nil, 0, err
	}
	virtual, changed := state.Virtual(tx, w, q.Service)
	if virtual != nil {
		made.AutoVirtualIPs = []string{virtual.Address}
		made.ManualVirtualIPs = append([]string{}, virtual.Manual...)
	}
	return &api.ChainReply{Chain: made}, max(from.index, changed), nil
}

// entriesRead are the stored entries, with what was read of them.
type entriesRead struct {
	tx    *state.Txn
	w     *state.Watch
	index uint64 // of the last change of what was read
}

// Get implements chain.Entries.
func (r *entriesRead) Get(kind catalog.EntryKind, name string) catalog.ConfigEntry {
	e, index := state.ConfigEntry(r.tx, r.w, kind, name)
	r.index = max(r.index, index)
	return e
}

// List implements chain.Entries.
func (r *entriesRead) List(kind catalog.EntryKind) []catalog.ConfigEntry {
	list, index := state.ConfigEntries(r.tx, r.w, kind)
	r.index = max(r.index, index)
	return list
}

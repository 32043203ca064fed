package handler

import (
	"context"
	"slices"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
)

func registerVirtual(r *endpoint.Registry) {
	endpoint.AddQuery(r, endpoint.Query[api.VirtualQuery, api.Virtual]{
		Method: api.VirtualRead,
		Needs:  func(q *api.VirtualQuery) []acl.Need { return need(acl.Service, q.Service, acl.Read) },
		Read:   readVirtual,
	})
	endpoint.AddCommand(r, endpoint.Command[api.VirtualWrite, api.VirtualWritten]{
		Method: api.VirtualAssign,
		Needs:  func(*api.VirtualWrite) []acl.Need { return need(acl.Mesh, "", acl.Write) },
		Prepare: func(_ context.Context, given *api.VirtualWrite) (*api.VirtualWrite, error) {
			if given.Service == "" {
				return nil, catalog.Errorf(catalog.Invalid, "missing service name: set Service")
			}
			addresses, err := catalog.ManualAddresses(given.ManualVIPs)
			if err != nil {
				return nil, err
			}
			return &api.VirtualWrite{Service: given.Service, ManualVIPs: addresses}, nil
		},
		Apply: func(tx *state.Txn, req *api.VirtualWrite) (*api.VirtualWritten, error) {
			found, from := state.SetManual(tx, req.Service, req.ManualVIPs)
			rep := &api.VirtualWritten{Found: found}
			for _, name := range from {
				var other api.UnassignedName
				other.ServiceName.Name = name
				rep.UnassignedFrom = append(rep.UnassignedFrom, other)
			}
			return rep, nil
		},
	})
}

// readVirtual answers with nothing too when a port is asked for that no instance of the service has.
func readVirtual(tx *state.Txn, w *state.Watch, q *api.VirtualQuery) (*api.Virtual, uint64, error) {
	if q.Peer != "" {
		return importedVirtual(tx, w, q)
	}
	found, index := state.Virtual(tx, w, q.Service)
	if found == nil || q.Port == "" {
		return &api.Virtual{Addresses: found}, index, nil
	}
	instances, changed, _ := state.ServiceInstances(tx, w, q.Service)
	if !hasPort(instances, q.Port) {
		found = nil
	}
	return &api.Virtual{Addresses: found}, max(index, changed), nil
}

// hasPort reports whether some instance has a port of a name.
func hasPort(instances []*catalog.Instance, name string) bool {
	return slices.ContainsFunc(instances, func(i *catalog.Instance) bool {
		_, some := i.Service.PortNamed(name)
		return some
	})
}

// importedVirtual is the virtual address that a service of a peer has in this cluster.
func importedVirtual(tx *state.Txn, w *state.Watch, q *api.VirtualQuery) (*api.Virtual, uint64, error) {
	s, index := state.Imported(tx, w, q.Peer, q.Service)
	if s == nil || s.Virtual == "" || q.Port != "" && !hasPort(s.Instances, q.Port) {
		return &api.Virtual{}, index, nil
	}
	return &api.Virtual{Addresses: &catalog.VirtualAddress{Service: s.Service, Address: s.Virtual, CreateIndex: s.CreateIndex, ModifyIndex: s.ModifyIndex}}, index, nil
}

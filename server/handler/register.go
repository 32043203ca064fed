package handler

import (
	"slices"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/server/api"
)

// prepareRegister refuses what can never be stored and fills what may be left out, in a copy.
func prepareRegister(d Deps, given *api.RegisterRequest) (*api.RegisterRequest, error) {
	req := *given
	switch {
	case req.Node == "":
		return nil, catalog.Errorf(catalog.Invalid, "registration has no node name: set Node")
	case req.Address == "" && !req.SkipNodeUpdate:
		return nil, catalog.Errorf(catalog.Invalid, "registration of node %q has no address: set Address", req.Node)
	}
	if req.ID != "" {
		if err := catalog.ValidateID("node id", req.ID); err != nil {
			return nil, err
		}
	}
	if err := catalog.ValidateMeta(req.NodeMeta, true); err != nil {
		return nil, catalog.Errorf(catalog.Invalid, "node %q: %w", req.Node, err)
	}
	if req.Datacenter == "" {
		req.Datacenter = d.Datacenter
	}
	if err := prepareServices(&req); err != nil {
		return nil, err
	}
	return &req, prepareChecks(&req)
}

func prepareServices(req *api.RegisterRequest) error {
	prepare := func(given *catalog.Service) (*catalog.Service, error) {
		if given == nil {
			return nil, catalog.Errorf(catalog.Invalid, "registration of node %q holds a service that is null", req.Node)
		}
		s := *given
		s.Normalize()
		return &s, s.Validate()
	}
	var err error
	if req.Service != nil {
		if req.Service, err = prepare(req.Service); err != nil {
			return err
		}
	}
	all := make([]*catalog.Service, len(req.Services))
	for i, s := range req.Services {
		if all[i], err = prepare(s); err != nil {
			return err
		}
	}
	req.Services = all
	return nil
}

// prepareChecks moves the single check to the others and makes each belong to the node.
func prepareChecks(req *api.RegisterRequest) error {
	given := req.Checks
	if req.Check != nil {
		given = append([]*catalog.Check{req.Check}, given...)
		req.Check = nil
	}
	all := make([]*catalog.Check, len(given))
	for i, g := range given {
		if g == nil {
			return catalog.Errorf(catalog.Invalid, "registration of node %q holds a check that is null", req.Node)
		}
		c := *g
		if c.Node == "" {
			c.Node = req.Node
		}
		if c.Node != req.Node {
			return catalog.Errorf(catalog.Invalid, "check %q is of node %q, the registration of node %q", c.CheckID, c.Node, req.Node)
		}
		if c.ServiceID != "" && c.CheckID == "" && c.Name == "" {
			c.CheckID = "service:" + c.ServiceID
		}
		c.Normalize()
		if err := c.Validate(); err != nil {
			return err
		}
		all[i] = &c
	}
	req.Checks = all
	return nil
}

// registration is the request as the store takes it.
func registration(req *api.RegisterRequest) *state.Registration {
	r := &state.Registration{
		Node: &catalog.Node{
			ID: req.ID, Node: req.Node, Address: req.Address, Datacenter: req.Datacenter,
			TaggedAddresses: req.TaggedAddresses, Meta: req.NodeMeta, Locality: req.Locality,
		},
		SkipNodeUpdate: req.SkipNodeUpdate, KeepNode: req.KeepNode, Service: req.Service, Services: req.Services, Checks: req.Checks,
	}
	// What crossed the log has lost the shared parts that normalizing gives.
	if r.Service != nil {
		r.Service.Normalize()
	}
	r.Services = slices.DeleteFunc(r.Services, func(s *catalog.Service) bool { return s == nil })
	for _, s := range r.Services {
		s.Normalize()
	}
	r.Checks = slices.DeleteFunc(r.Checks, func(c *catalog.Check) bool { return c == nil })
	for _, c := range r.Checks {
		c.Normalize()
	}
	return r
}

func checkDeregister(req *api.DeregisterRequest) error {
	if req.Node == "" {
		return catalog.Errorf(catalog.Invalid, "deregistration has no node name: set Node")
	}
	return nil
}

func deregister(tx *state.Txn, req *api.DeregisterRequest) {
	switch {
	case req.ServiceID != "":
		state.DeleteService(tx, req.Node, req.ServiceID)
	case req.CheckID != "":
		state.DeleteCheck(tx, req.Node, req.CheckID)
	default:
		state.DeleteNode(tx, req.Node)
	}
}

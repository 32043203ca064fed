package state

import "github.com/curia-mesh/curia/catalog"

// Registration is a node with what is on it, to be written together.
type Registration struct {
	Node *catalog.Node
	// SkipNodeUpdate leaves a node that exists as it is. One that does not is made, without an address if
	// need be: the registration that names its address may come later.
	SkipNodeUpdate bool
	// KeepNode leaves a node with this id and address as it is.
	KeepNode bool
	Service  *catalog.Service
	Services []*catalog.Service
	Checks   []*catalog.Check
}

// empty reports whether nothing but the node is registered.
func (r *Registration) empty() bool {
	return r.Service == nil && len(r.Services) == 0 && len(r.Checks) == 0
}

// Register writes a normalized registration.
func Register(tx *Txn, r *Registration) error {
	node := r.Node.Node
	existing := nodeNamed(tx, nil, node)
	if existing == nil && r.Node.Address == "" && (!r.SkipNodeUpdate || r.empty()) {
		return catalog.Errorf(catalog.Invalid, "node %q is not registered, and cannot be without an address", node)
	}
	kept := existing != nil && (r.SkipNodeUpdate || r.KeepNode && existing.ID == r.Node.ID && existing.Address == r.Node.Address)
	if !kept {
		stored, err := EnsureNode(tx, r.Node)
		if err != nil {
			return err
		}
		node = stored.Node
	}
	if r.Service != nil {
		if _, err := EnsureService(tx, node, r.Service); err != nil {
			return err
		}
	}
	for _, s := range r.Services {
		if _, err := EnsureService(tx, node, s); err != nil {
			return err
		}
	}
	for _, c := range r.Checks {
		if c.Node == "" {
			with := *c
			with.Node = node
			c = &with
		}
		if err := EnsureCheck(tx, c); err != nil {
			return err
		}
	}
	return nil
}

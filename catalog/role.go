package catalog

// Role is a set of policies and identities under a name.
// Source: https://developer.hashicorp.com/consul/api-docs/acl/roles
type Role struct {
	ID                string
	Name              string
	Description       string
	Policies          []Link             `json:",omitempty"`
	ServiceIdentities []*ServiceIdentity `json:",omitempty"`
	NodeIdentities    []*NodeIdentity    `json:",omitempty"`
	TemplatedPolicies []*TemplatedPolicy `json:",omitempty"`
	Hash              []byte
	CreateIndex       uint64
	ModifyIndex       uint64
}

// Grants are what the role gives.
func (r *Role) Grants() *Grants {
	return &Grants{r.Policies, r.ServiceIdentities, r.NodeIdentities, r.TemplatedPolicies}
}

// Normalize writes things one way.
func (r *Role) Normalize() error {
	r.ID = lowerUUID(r.ID)
	g := r.Grants()
	if err := g.normalize(); err != nil {
		return Errorf(Invalid, "role %q: %w", r.Name, err)
	}
	r.Policies, r.ServiceIdentities, r.NodeIdentities, r.TemplatedPolicies = g.Policies, g.Services, g.Nodes, g.Templated
	return nil
}

// Validate checks a normalized role.
func (r *Role) Validate() error {
	where := "role " + r.Name
	switch {
	case !ruleName(r.Name, 256):
		return Errorf(Invalid, "role: name %.64q: want 1 to 256 letters, digits, - and _", r.Name)
	case reserved(r.ID):
		return Errorf(Invalid, "%s: ids that begin with %s are kept for what is built in", where, reservedPrefix)
	}
	if err := validateDescription(where, r.Description); err != nil {
		return err
	}
	return r.Grants().validate(where)
}

// Digest returns a hash of what the role says, its indexes left aside.
func (r *Role) Digest() []byte {
	d := newDigest()
	d.add(r.Name, r.Description)
	d.grants(r.Grants())
	return d.sum()
}

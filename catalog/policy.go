package catalog

import "strings"

// The policies that are always there.
const (
	GlobalManagementID = "00000000-0000-0000-0000-000000000001"
	GlobalReadOnlyID   = "00000000-0000-0000-0000-000000000002"
)

// Policy is a set of rules under a name.
// Source: https://developer.hashicorp.com/consul/api-docs/acl/policies
type Policy struct {
	ID          string
	Name        string
	Description string
	Rules       string
	Datacenters []string `json:",omitempty"` // where it counts; empty is everywhere
	Hash        []byte
	CreateIndex uint64
	ModifyIndex uint64
}

// PolicySummary is a policy as lists show it.
type PolicySummary struct {
	ID          string
	Name        string
	Description string
	Datacenters []string
	Hash        []byte
	CreateIndex uint64
	ModifyIndex uint64
}

// Summary returns the policy as lists show it.
func (p *Policy) Summary() *PolicySummary {
	return &PolicySummary{p.ID, p.Name, p.Description, p.Datacenters, p.Hash, p.CreateIndex, p.ModifyIndex}
}

// CountsIn reports whether the policy counts in a datacenter.
func (p *Policy) CountsIn(datacenter string) bool {
	if len(p.Datacenters) == 0 {
		return true
	}
	for _, dc := range p.Datacenters {
		if strings.EqualFold(dc, datacenter) {
			return true
		}
	}
	return false
}

// Normalize writes things one way.
func (p *Policy) Normalize() { p.ID, p.Datacenters = lowerUUID(p.ID), sortedUnique(p.Datacenters) }

// maxRules is how long the rules of a policy may be, in bytes.
const maxRules = 256 << 10

// Validate checks a normalized policy but for its rules, which package acl parses.
func (p *Policy) Validate() error {
	where := "policy " + p.Name
	switch {
	case !ruleName(p.Name, 128):
		return Errorf(Invalid, "policy: name %.64q: want 1 to 128 letters, digits, - and _", p.Name)
	case reserved(p.ID):
		return Errorf(Invalid, "%s: ids that begin with %s are kept for what is built in", where, reservedPrefix)
	case len(p.Rules) > maxRules:
		return Errorf(Invalid, "%s: its rules have %d bytes: at most %d are allowed", where, len(p.Rules), maxRules)
	}
	if err := validateDatacenters(where, p.Datacenters); err != nil {
		return err
	}
	return validateDescription(where, p.Description)
}

// Digest returns a hash of what the policy says, its indexes left aside.
func (p *Policy) Digest() []byte {
	d := newDigest()
	d.add(p.Name, p.Description, p.Rules, strings.Join(p.Datacenters, ","))
	return d.sum()
}

// BuiltinPolicy reports whether a policy is always there as it is.
func BuiltinPolicy(id string) bool { return id == GlobalManagementID || id == GlobalReadOnlyID }

// BuiltinPolicies are the policies that are always there.
// Source: https://developer.hashicorp.com/consul/docs/secure/acl/policy (built-in policies)
func BuiltinPolicies() []*Policy {
	list := []*Policy{
		{ID: GlobalManagementID, Name: "global-management", Description: "Everything is allowed.", Rules: everything("write") + "acl = \"write\"\n"},
		{ID: GlobalReadOnlyID, Name: "builtin/global-read-only", Description: "Everything may be read.", Rules: everything("read") + "acl = \"read\"\n"},
	}
	for _, p := range list {
		p.Hash = p.Digest()
	}
	return list
}

// everything gives one access to all resources but acl.
func everything(access string) string {
	var b strings.Builder
	for _, resource := range []string{"agent", "event", "key", "node", "query", "service", "session"} {
		extra := ""
		if resource == "service" {
			extra = "\n\tintentions = \"" + access + "\""
		}
		b.WriteString(resource + "_prefix \"\" {\n\tpolicy = \"" + access + "\"" + extra + "\n}\n")
	}
	for _, resource := range []string{"keyring", "mesh", "operator", "peering"} {
		b.WriteString(resource + " = \"" + access + "\"\n")
	}
	return b.String()
}

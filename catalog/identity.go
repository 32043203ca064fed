package catalog

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"slices"
	"strings"
)

// ServiceIdentity grants what the instances of a service need.
type ServiceIdentity struct {
	ServiceName string
	Datacenters []string `json:",omitempty"` // where it counts; empty is everywhere
}

// NodeIdentity grants what the agent of a node needs, in one datacenter.
type NodeIdentity struct {
	NodeName   string
	Datacenter string
}

// TemplatedPolicy grants what a template says for its variables.
type TemplatedPolicy struct {
	TemplateID        string             `json:",omitempty"`
	TemplateName      string             `json:",omitempty"`
	TemplateVariables *TemplateVariables `json:",omitempty"`
	Datacenters       []string           `json:",omitempty"` // where it counts; empty is everywhere
}

// TemplateVariables fill a template.
type TemplateVariables struct {
	Name string `json:"name,omitempty"`
}

func (v *TemplateVariables) name() string {
	if v == nil {
		return ""
	}
	return v.Name
}

// Grants are what a token and a role have in common: the ways of allowing something.
type Grants struct {
	Policies  []Link
	Services  []*ServiceIdentity
	Nodes     []*NodeIdentity
	Templated []*TemplatedPolicy
}

func (g *Grants) hasService(name string) bool {
	return slices.ContainsFunc(g.Services, func(s *ServiceIdentity) bool { return s.ServiceName == name }) ||
		slices.ContainsFunc(g.Templated, func(t *TemplatedPolicy) bool {
			return t.TemplateName == TemplateService && t.TemplateVariables.name() == name
		})
}

// Synthetic returns the policies that the identities and templates come to. The same ones come to the same ids.
func (g *Grants) Synthetic() []*Policy {
	var list []*Policy
	for _, s := range g.Services {
		t := &TemplatedPolicy{TemplateName: TemplateService, TemplateVariables: &TemplateVariables{s.ServiceName}, Datacenters: s.Datacenters}
		list = append(list, t.mustRender())
	}
	for _, n := range g.Nodes {
		t := &TemplatedPolicy{TemplateName: TemplateNode, TemplateVariables: &TemplateVariables{n.NodeName}, Datacenters: []string{n.Datacenter}}
		list = append(list, t.mustRender())
	}
	for _, t := range g.Templated {
		list = append(list, t.mustRender())
	}
	return list
}

// maxGrants bounds each list of what one token or role is granted.
const maxGrants = 1024

// normalize writes the grants one way: each once.
func (g *Grants) normalize() error {
	if n := max(len(g.Policies), len(g.Services), len(g.Nodes), len(g.Templated)); n > maxGrants {
		return Errorf(Invalid, "%d policies or identities of one kind: at most %d are allowed", n, maxGrants)
	}
	g.Policies = uniqueLinks(g.Policies)
	var services []*ServiceIdentity
	for _, s := range g.Services {
		if s == nil {
			return Errorf(Invalid, "a service identity is null: want ServiceName")
		}
		s = &ServiceIdentity{s.ServiceName, sortedUnique(s.Datacenters)}
		same := slices.IndexFunc(services, func(o *ServiceIdentity) bool { return o.ServiceName == s.ServiceName })
		switch {
		case same < 0:
			services = append(services, s)
		case len(s.Datacenters) == 0 || len(services[same].Datacenters) == 0:
			services[same].Datacenters = nil // it counts everywhere
		default:
			services[same].Datacenters = sortedUnique(append(services[same].Datacenters, s.Datacenters...))
		}
	}
	var nodes []*NodeIdentity
	for _, n := range g.Nodes {
		if n == nil {
			return Errorf(Invalid, "a node identity is null: want NodeName and Datacenter")
		}
		if !slices.ContainsFunc(nodes, func(o *NodeIdentity) bool { return *o == *n }) {
			nodes = append(nodes, &NodeIdentity{n.NodeName, n.Datacenter})
		}
	}
	var templated []*TemplatedPolicy
	for _, t := range g.Templated {
		if t == nil {
			return Errorf(Invalid, "a templated policy is null: want TemplateName")
		}
		next, err := t.normalized()
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(templated, next.same) {
			templated = append(templated, next)
		}
	}
	g.Services, g.Nodes, g.Templated = services, nodes, templated
	return nil
}

// validate checks normalized grants.
func (g *Grants) validate(where string) error {
	if err := validateLinks(where, "policy", g.Policies); err != nil {
		return err
	}
	for _, s := range g.Services {
		if !identityName(s.ServiceName) {
			return Errorf(Invalid, "%s: a service identity has the name %.64q: %s", where, s.ServiceName, identityRule)
		}
		if err := validateDatacenters(where, s.Datacenters); err != nil {
			return err
		}
	}
	for _, n := range g.Nodes {
		if !identityName(n.NodeName) {
			return Errorf(Invalid, "%s: a node identity has the name %.64q: %s", where, n.NodeName, identityRule)
		}
		if !datacenterName(n.Datacenter) {
			return Errorf(Invalid, "%s: the node identity %q has the datacenter %.64q: want lower-case letters, digits, - and _", where, n.NodeName, n.Datacenter)
		}
	}
	for _, t := range g.Templated {
		if err := t.validate(); err != nil {
			return Errorf(Invalid, "%s: %w", where, err)
		}
	}
	return nil
}

const (
	maxIdentityName = 256
	maxAbout        = 4096
	// reservedPrefix begins the ids of what is built in.
	reservedPrefix = "00000000-0000-0000-0000-0000000000"
	identityRule   = "want 1 to 256 lower-case letters, digits, - and _, the first and the last a letter or digit"
)

func reserved(id string) bool { return strings.HasPrefix(id, reservedPrefix) }

// identityName reports whether a name can be put into rules.
// Source: https://developer.hashicorp.com/consul/docs/secure/acl/token (service identities)
func identityName(name string) bool {
	if name == "" || len(name) > maxIdentityName {
		return false
	}
	alnum := func(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }
	for i := range len(name) {
		if c := name[i]; !alnum(c) && c != '-' && c != '_' {
			return false
		}
	}
	return alnum(name[0]) && alnum(name[len(name)-1])
}

func datacenterName(name string) bool {
	return identityName(strings.Trim(name, "-_")) && len(name) <= 64
}

func validateDatacenters(where string, list []string) error {
	for _, dc := range list {
		if !datacenterName(dc) {
			return Errorf(Invalid, "%s: datacenter %.64q: want lower-case letters, digits, - and _", where, dc)
		}
	}
	return nil
}

func validateDescription(where, text string) error {
	if len(text) > maxAbout {
		return Errorf(Invalid, "%s: its description has %d bytes: at most %d are allowed", where, len(text), maxAbout)
	}
	return nil
}

// ruleName reports whether a policy, role or auth method may have a name.
func ruleName(name string, longest int) bool {
	return name != "" && len(name) <= longest && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == ""
}

func validateLinks(where, what string, links []Link) error {
	if len(links) > maxGrants {
		return Errorf(Invalid, "%s: %d links: at most %d are allowed", where, len(links), maxGrants)
	}
	for _, l := range links {
		if l.ID == "" && l.Name == "" {
			return Errorf(Invalid, "%s: a %s is named neither by ID nor by Name", where, what)
		}
	}
	return nil
}

// uniqueLinks returns each link once.
func uniqueLinks(links []Link) []Link {
	var out []Link
	for _, l := range links {
		l.ID = lowerUUID(l.ID)
		same := func(o Link) bool { return o.ID == l.ID && (l.ID != "" || o.Name == l.Name) }
		if !slices.ContainsFunc(out, same) {
			out = append(out, l)
		}
	}
	return out
}

func lowerUUID(id string) string {
	if IsUUID(id) {
		return strings.ToLower(id)
	}
	return id
}

func sortedUnique(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list)
}

// digest hashes parts so that they cannot run together.
type digest struct{ h hash.Hash }

func newDigest() *digest { return &digest{sha256.New()} }

func (d *digest) add(parts ...string) {
	for _, p := range parts {
		d.h.Write(binary.AppendUvarint(nil, uint64(len(p))))
		d.h.Write([]byte(p))
	}
}

func (d *digest) links(links []Link) {
	d.add(fmt.Sprint(len(links)))
	for _, l := range links {
		d.add(l.ID)
	}
}

func (d *digest) grants(g *Grants) {
	d.links(g.Policies)
	d.add(fmt.Sprint(len(g.Services)))
	for _, s := range g.Services {
		d.add(s.ServiceName, strings.Join(s.Datacenters, ","))
	}
	d.add(fmt.Sprint(len(g.Nodes)))
	for _, n := range g.Nodes {
		d.add(n.NodeName, n.Datacenter)
	}
	for _, t := range g.Templated {
		d.add(t.TemplateName, t.TemplateVariables.name(), strings.Join(t.Datacenters, ","))
	}
}

func (d *digest) sum() []byte { return d.h.Sum(nil) }

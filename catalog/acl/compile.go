package acl

import (
	"crypto/sha256"
	"encoding/hex"
)

// Effect is what becomes of what no rule speaks of: a cluster's default policy.
type Effect uint8

// The effects. Allow does not reach to ACLs themselves, which take a rule in any case.
const (
	Deny Effect = iota
	Allow
)

func (e Effect) String() string {
	if e == Allow {
		return "allow"
	}
	return "deny"
}

// Compile makes one authorizer of the rules of several policies. Names that differ in nothing but case are one name
// where the catalog takes them for one: keys and events it tells apart. Of the rules that fit a name the exact one
// decides, else that with the longest prefix; of several on the same place deny comes before write, list and read.
// A rule of service or identity that says nothing of intentions lets those read who may read the service.
// Source: https://developer.hashicorp.com/consul/docs/secure-mesh/intention/create (ACL requirements)
func Compile(def Effect, sets ...*Rules) Authorizer {
	merged := merge(sets)
	c := &compiled{def: def}
	lists := map[Resource][]rule{}
	for _, r := range merged {
		if r.resource.named() {
			lists[r.resource] = append(lists[r.resource], r)
			continue
		}
		switch r.resource {
		case ACL:
			c.acl = r.level
		case Keyring:
			c.keyring = r.level
		case Mesh:
			c.mesh = r.level
		case Operator:
			c.operator = r.level
		case Peering:
			c.peering = r.level
		}
	}
	for resource, list := range lists {
		*c.table(resource) = newTable(list)
	}
	intentions := make([]rule, len(lists[Service]))
	for i, r := range lists[Service] {
		intentions[i] = rule{place: r.place, level: r.intended()}
	}
	c.intention = newTable(intentions)
	sum := sha256.Sum256([]byte(def.String() + "\n" + (&Rules{list: merged}).String()))
	c.view = hex.EncodeToString(sum[:16])
	return c
}

// intended is what the rule says of intentions.
func (r *rule) intended() level {
	switch {
	case r.intentions != unset:
		return r.intentions
	case r.level.reads():
		return levelRead
	}
	return r.level
}

// compiled is the authorizer of a set of rules.
type compiled struct {
	def                                                                   Effect
	view                                                                  string
	acl, keyring, mesh, operator, peering                                 level
	agent, event, identity, intention, key, node, query, service, session table
}

// table returns where the rules of a resource with names are, nil for other ones.
func (c *compiled) table(r Resource) *table {
	switch r {
	case Agent:
		return &c.agent
	case Event:
		return &c.event
	case Identity:
		return &c.identity
	case Intention:
		return &c.intention
	case Key:
		return &c.key
	case Node:
		return &c.node
	case Query:
		return &c.query
	case Service:
		return &c.service
	case Session:
		return &c.session
	}
	return nil
}

// View implements Authorizer.
func (c *compiled) View() string { return c.view }

// Allows implements Authorizer. It does not allocate.
func (c *compiled) Allows(n Need) bool {
	t := c.table(n.Resource)
	switch {
	case t == nil:
		l, def := c.single(n.Resource)
		return c.grants(l, n.Access, def)
	case n.Access == WritePrefix:
		return c.all(t, n.Resource.fold(n.Name), Write)
	case n.Access == ReadPrefix:
		return c.all(t, n.Resource.fold(n.Name), Read)
	case n.Access == ReadAll:
		return c.all(t, "", Read)
	case n.Resource == Intention && n.Name == everything:
		return c.intends(n.Access)
	}
	l, _ := t.find(n.Resource.fold(n.Name))
	return c.grants(l, n.Access, c.def == Allow)
}

// everything is the name of all services in an intention.
const everything = "*"

// single returns what is granted of a resource without names, and whether it is allowed when that is not said.
// Of mesh and peering operator decides when no rule speaks of them. ACLs are never left to the default.
func (c *compiled) single(r Resource) (l level, def bool) {
	def = c.def == Allow
	switch r {
	case ACL:
		return c.acl, false
	case Keyring:
		return c.keyring, def
	case Operator:
		return c.operator, def
	case Mesh:
		l = c.mesh
	case Peering:
		l = c.peering
	default:
		return unset, false // a resource that is none
	}
	if l == unset {
		l = c.operator
	}
	return l, def
}

func (c *compiled) grants(l level, access Access, def bool) bool {
	if l == unset {
		return def
	}
	switch access {
	case Read:
		return l.reads()
	case List:
		return l.lists()
	case Write:
		return l == levelWrite
	}
	return false
}

// all reports whether there is access to all names that begin with a prefix: the rule that covers them says so, and none
// below it says anything else.
func (c *compiled) all(t *table, prefix string, access Access) bool {
	if l, _ := t.cover(prefix); !c.grants(l, access, c.def == Allow) {
		return false
	}
	return t.under(prefix, func(exact, prefixed level) bool {
		return c.grants(exact, access, true) && c.grants(prefixed, access, true)
	})
}

// intends answers about the intentions of all services together. Whoever may read those of one sees them; to
// write them takes the right to write those of each.
func (c *compiled) intends(access Access) bool {
	root, _ := c.intention.cover("")
	whole := c.grants(root, access, c.def == Allow)
	if access == Write {
		return whole && c.all(&c.intention, "", Write)
	}
	return whole || !c.intention.under("", func(exact, prefixed level) bool {
		return !exact.reads() && !prefixed.reads()
	})
}

// Explain implements Explainer.
func (c *compiled) Explain(n Need) string {
	t := c.table(n.Resource)
	if t == nil {
		of := n.Resource
		l, _ := c.single(of)
		if (of == Mesh && c.mesh == unset) || (of == Peering && c.peering == unset) {
			of = Operator
		}
		switch {
		case l != unset:
			return "the rule " + string(of) + " = \"" + l.String() + "\""
		case n.Resource == ACL:
			return "that no rule speaks of acl"
		}
		return c.fallback()
	}
	resource, what := n.Resource, "policy"
	if resource == Intention {
		resource, what = Service, "intentions"
	}
	at := place{resource: resource, name: n.Name}
	l, prefix := t.find(n.Resource.fold(n.Name))
	if n.Access == WritePrefix || n.Access == ReadPrefix {
		access := Write
		if n.Access == ReadPrefix {
			access = Read
		}
		if l, prefix = t.cover(n.Resource.fold(n.Name)); c.grants(l, access, c.def == Allow) {
			return "a rule below " + place{resource: resource, prefix: true, name: n.Name}.String()
		}
	}
	if l == unset {
		return c.fallback()
	}
	if prefix >= 0 {
		at.prefix, at.name = true, t.names[prefix]
	}
	return "the rule " + at.String() + " with " + what + " " + l.String()
}

func (c *compiled) fallback() string { return "the default policy, " + c.def.String() + "," }

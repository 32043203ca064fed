// Package acl reads the rules of policies and decides what a token may do.
//
// Parse makes Rules of a policy's text, Compile makes one Authorizer of the rules of all policies of a token.
// Both are immutable.
package acl

import (
	"strings"

	"github.com/curia-mesh/curia/catalog"
)

// Resource is a kind of thing that rules speak of.
type Resource string

// The resources of the rule language. Intention has no rules of its own: those of service speak of it.
// Source: https://developer.hashicorp.com/consul/docs/reference/acl/rule
const (
	ACL       Resource = "acl"
	Agent     Resource = "agent"
	Event     Resource = "event"
	Identity  Resource = "identity"
	Key       Resource = "key"
	Keyring   Resource = "keyring"
	Mesh      Resource = "mesh"
	Node      Resource = "node"
	Operator  Resource = "operator"
	Peering   Resource = "peering"
	Query     Resource = "query"
	Service   Resource = "service"
	Session   Resource = "session"
	Intention Resource = "intention"
)

// Access is what is done to a resource.
type Access string

// The ways of access. List is reading many keys at once; ReadPrefix and WritePrefix are reading and writing everything under
// one, and ReadAll is reading everything there is of a resource.
const (
	Read        Access = "read"
	ReadAll     Access = "read-all"
	List        Access = "list"
	Write       Access = "write"
	ReadPrefix  Access = "read-prefix"
	WritePrefix Access = "write-prefix"
)

// Need is one thing that a request must be allowed to do. An empty name means that the resource has
// none, as with operator.
type Need struct {
	Resource Resource
	Name     string
	Access   Access
	// Or is what does as well; nil for nothing else.
	Or *Need
}

// Authorizer answers for one token. It is immutable and safe for many goroutines.
type Authorizer interface {
	// Allows reports whether the token may do what is needed.
	Allows(need Need) bool
	// View tells apart authorizers that see different things: two with the same view may share answers. It is
	// empty for those that see everything.
	View() string
}

// Explainer is implemented by authorizers that can say why.
type Explainer interface {
	// Explain names what decides about a need, a rule or the default policy.
	Explain(need Need) string
}

// AnonymousID is the accessor id of the token that counts for requests without one.
const AnonymousID = "00000000-0000-0000-0000-000000000002"

// As is az as that of the token with an accessor id, which refusals name.
func As(accessor string, az Authorizer) Authorizer { return held{az, accessor} }

type held struct {
	Authorizer
	accessor string
}

// AccessorOf returns whose authorizer it is, "" when it does not know.
func AccessorOf(az Authorizer) string {
	if h, ok := az.(held); ok {
		return h.accessor
	}
	return ""
}

// Explain names what decides about a need, "" when az cannot say.
func Explain(az Authorizer, need Need) string {
	if h, ok := az.(held); ok {
		az = h.Authorizer
	}
	if e, ok := az.(Explainer); ok {
		return e.Explain(need)
	}
	return ""
}

// Enforce returns an error with code denied that names the first need that is not allowed.
func Enforce(az Authorizer, needs []Need) error {
	for i := range needs {
		if !Allowed(az, &needs[i]) {
			return Refuse(az, needs[i])
		}
	}
	return nil
}

// Allowed reports whether az allows a need, or what does as well.
func Allowed(az Authorizer, need *Need) bool {
	for ; need != nil; need = need.Or {
		if az.Allows(*need) {
			return true
		}
	}
	return false
}

// Refuse is the error that says whose token lacks what, and why. Clients look for its first half, which is
// Consul's.
func Refuse(az Authorizer, need Need) error {
	who, why := "token", ""
	id := AccessorOf(az)
	switch id {
	case "":
	case AnonymousID:
		who, why = "anonymous token", ". The anonymous token is used implicitly when a request does not specify a token"
	default:
		who = "token with AccessorID '" + id + "'"
	}
	access := need.Access
	switch access {
	case WritePrefix:
		access = Write
	case ReadAll, ReadPrefix:
		access = Read
	}
	if id == AnonymousID && need.Resource == ACL {
		why += "." // clients compare the whole of it; nobody may do this without a token unless a rule says so
	} else if rule := Explain(az, need); rule != "" {
		why += "; " + rule + " decides"
	}
	if !need.Resource.named() || need.Access == ReadAll {
		return catalog.Errorf(catalog.Denied, "Permission denied: %s lacks permission '%s:%s'%s", who, need.Resource, access, why)
	}
	return catalog.Errorf(catalog.Denied, "Permission denied: %s lacks permission '%s:%s' on %q%s", who, need.Resource, access, need.Name, why)
}

// named reports whether the resource is one of many, which have names.
func (r Resource) named() bool {
	switch r {
	case ACL, Keyring, Mesh, Operator, Peering:
		return false
	}
	return true
}

// fold makes names equal that mean the same thing. It does not allocate for names in small letters.
func (r Resource) fold(name string) string {
	switch r {
	case Event, Key:
		return name
	}
	return strings.ToLower(name)
}

// AllowAll is the authorizer of a cluster without ACLs.
func AllowAll() Authorizer { return allowAll{} }

// ManageAll is the authorizer of a token that may do everything, ACLs included.
func ManageAll() Authorizer { return allowAll{} }

type allowAll struct{}

func (allowAll) Allows(Need) bool    { return true }
func (allowAll) View() string        { return "" }
func (allowAll) Explain(Need) string { return "management" }

// DenyAll is the authorizer of whoever may do nothing.
func DenyAll() Authorizer { return denyAll{} }

type denyAll struct{}

func (denyAll) Allows(Need) bool    { return false }
func (denyAll) View() string        { return "none" }
func (denyAll) Explain(Need) string { return "no rule" }

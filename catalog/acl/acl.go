// Package acl decides what a token may do.
package acl

import (
	"github.com/curia-mesh/curia/catalog"
)

// Resource is a kind of thing that rules speak of.
type Resource string

// The resources of the rule language.
// Source: https://developer.hashicorp.com/consul/docs/reference/acl/rule
const (
	ACL       Resource = "acl"
	Agent     Resource = "agent"
	Event     Resource = "event"
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

// The ways of access. List is reading many keys at once; WritePrefix is writing everything under one.
const (
	Read        Access = "read"
	List        Access = "list"
	Write       Access = "write"
	WritePrefix Access = "write-prefix"
)

// Need is one thing that a request must be allowed to do. An empty name means that the resource has
// none, as with operator.
type Need struct {
	Resource Resource
	Name     string
	Access   Access
}

// Authorizer answers for one token. It is immutable and safe for many goroutines.
type Authorizer interface {
	// Allows reports whether the token may do what is needed.
	Allows(need Need) bool
	// View tells apart authorizers that see different things: two with the same view may share answers.
	View() string
}

// Enforce returns an error with code denied that names the first need that is not allowed.
func Enforce(az Authorizer, needs []Need) error {
	for _, n := range needs {
		if !az.Allows(n) {
			return catalog.Errorf(catalog.Denied, "permission denied: the token lacks %s:%s on %q", n.Resource, n.Access, n.Name)
		}
	}
	return nil
}

// AllowAll is the authorizer of a cluster without ACLs.
func AllowAll() Authorizer { return allowAll{} }

type allowAll struct{}

func (allowAll) Allows(Need) bool { return true }
func (allowAll) View() string     { return "" }

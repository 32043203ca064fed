package httpapi

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/curia-mesh/curia/catalog/acl"
)

// Rights is what a method of a route needs of the token, as the table says: rights joined with commas are all needed,
// and of those between bars it depends on what is asked for which one counts. "none" needs nothing.
//
// The servers enforce what their verbs need; what an agent answers by itself it enforces by itself, see Route.Local
// and call.need. A test holds the table to what is really enforced.
type Rights string

// needs are the rights as the agent enforces them by itself: on the node it runs on, where they have a name.
func (r Rights) needs(node string) (needs []acl.Need) {
	if r == "none" {
		return nil
	}
	for _, right := range strings.Split(string(r), ", ") {
		resource, access, _ := strings.Cut(right, ":")
		n := acl.Need{Resource: acl.Resource(resource), Access: acl.Access(access)}
		if n.Resource == acl.Agent || n.Resource == acl.Node && n.Access != acl.ReadAll {
			n.Name = node
		}
		needs = append(needs, n)
	}
	return needs
}

// Rights are those of a method of the route.
func (r *Route) Rights(method string) Rights {
	if i := slices.IndexFunc(r.Methods, func(m Method) bool { return m.Name == method }); i >= 0 && r.Methods[i].ACL != "" {
		return r.Methods[i].ACL
	}
	return r.ACL
}

// authorizer is what the call's token may do, as this agent knows it.
func (c *call) authorizer() (acl.Authorizer, error) {
	if c.api.Authorize == nil {
		return acl.AllowAll(), nil
	}
	return c.api.Authorize(c.ctx(), c.token())
}

// view tells apart what tokens see: an answer in memory is for those who see what its first reader saw.
func (c *call) view() (string, error) {
	az, err := c.authorizer()
	if err != nil {
		return "", err
	}
	return az.View(), nil
}

// need refuses the call unless its token has all these rights.
func (c *call) need(needs ...acl.Need) error {
	az, err := c.authorizer()
	if err != nil {
		return err
	}
	return acl.Enforce(az, needs)
}

// needService is need for the service of a name, and needNode for the agent's own node.
func (c *call) needService(name string, access acl.Access) error {
	return c.need(acl.Need{Resource: acl.Service, Name: name, Access: access})
}

func (c *call) needNode(access acl.Access) error {
	return c.need(acl.Need{Resource: acl.Node, Name: c.api.Node.NodeName(), Access: access})
}

// visible returns what tells which things of a resource the call's token may see.
func (c *call) visible(resource acl.Resource) (func(name string) bool, error) {
	az, err := c.authorizer()
	if err != nil {
		return nil, err
	}
	return func(name string) bool { return az.Allows(acl.Need{Resource: resource, Name: name, Access: acl.Read}) }, nil
}

// filtered says that something was left out. Whoever has no token is not told, as with Consul.
func (c *call) filtered(some bool) {
	if some && c.token() != "" {
		c.w.Header()[headerFiltered] = valueTrue
	}
}

// recheck is how often it is looked at whether a stream's token still has the right to it.
const recheck = 10 * time.Second

// whileAllowed is a context that ends with ctx, or when the call's token lacks what its route needs. stop must be
// called.
func (c *call) whileAllowed(ctx context.Context) (allowed context.Context, stop func()) {
	allowed, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { // ends with the context
		defer close(done)
		tick := time.NewTicker(recheck)
		defer tick.Stop()
		for {
			select {
			case <-allowed.Done():
				return
			case <-tick.C:
			}
			if c.need(c.route.Rights(c.r.Method).needs(c.api.Node.NodeName())...) != nil {
				cancel()
			}
		}
	}()
	return allowed, func() {
		cancel()
		<-done
	}
}

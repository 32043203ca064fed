package httpapi

import (
	"net/http"
	"slices"
	"strings"
)

// Handler answers one call. It writes the answer with the call's methods, or returns an error before it
// has written anything.
type Handler func(c *call) error

// Route is one path with the methods it takes.
type Route struct {
	// Path is a pattern of net/http.ServeMux without the method.
	Path string
	// Doc says in a few words what it is for.
	Doc string
	// ACL is what its methods need of the token that do not say it themselves.
	ACL Rights
	// Local routes are answered by the agent itself, which enforces their ACL before anything else.
	Local bool
	// Methods in the order of the Allow header.
	Methods []Method
	// Effective answers tell the consistency they really have in a header.
	Effective bool
	// Blank routes say in the header of an error to a GET that nothing is known, as Consul does on some.
	Blank bool
	// NoOptions leaves OPTIONS out of the Allow header, as Consul does where it tells methods apart by itself.
	NoOptions bool
}

// Method is one HTTP method of a route.
type Method struct {
	Name   string
	Handle Handler
	ACL    Rights // in place of the route's
}

func get(h Handler) []Method  { return []Method{{Name: http.MethodGet, Handle: h}} }
func put(h Handler) []Method  { return []Method{{Name: http.MethodPut, Handle: h}} }
func post(h Handler) []Method { return []Method{{Name: http.MethodPost, Handle: h}} }

// allow is the value of the Allow header.
func (r *Route) allow() string {
	var names []string
	if !r.NoOptions {
		names = append(names, http.MethodOptions)
	}
	for _, m := range r.Methods {
		names = append(names, m.Name)
	}
	return strings.Join(names, ",")
}

func (r *Route) handler(method string) Handler {
	if i := slices.IndexFunc(r.Methods, func(m Method) bool { return m.Name == method }); i >= 0 {
		return r.Methods[i].Handle
	}
	return nil
}

// Routes is the one table of everything that is served under /v1 and /api.
func Routes() []Route {
	return slices.Concat(
		connectRoutes(),
		agentRoutes(), checkRoutes(), catalogRoutes(), healthRoutes(), kvRoutes(), configRoutes(), sessionRoutes(), txnRoutes(), queryRoutes(),
		peeringRoutes(), exportRoutes(), internalRoutes(),
		eventRoutes(), coordinateRoutes(), statusRoutes(), snapshotRoutes(), operatorRoutes(), keyringRoutes(), joinRoutes(), aclRoutes(),
		intentionRoutes(), chainRoutes(),
	)
}

package proxy

import (
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect/canon"
	"github.com/curia-mesh/curia/rpc/http1/wire"
)

// Routes say where what arrives at a listener goes to. They are compiled and never changed.
type Routes struct {
	routes  []*route          // the first that matches; the last one matches everything
	targets []*Target         // all there are
	names   map[string]*route // in place of routes, where names of servers lead
}

// route is where what matches goes to.
type route struct {
	name    string
	stats   *edge  // nil where there is only one
	match   *match // nil for everything
	legs    []leg
	total   uint32 // of the weights
	timeout time.Duration
	idle    time.Duration // without a byte of a response, once it has begun
	from    string        // prefix that is written anew as to, in any case where fold
	to      string
	rewrite bool
	hash    []hashPolicy
	retries *retries // nil for none
	fault   *fault   // nil for none
	mirror  *mirror  // nil for none
}

// leg is one of those that what arrives is spread over by weight.
type leg struct {
	below             uint32    // of a number that is drawn
	targets           []*Target // the first, and those that stand in for it
	request, response edits
	timeout           time.Duration
}

// Direct sends everything to one target.
func Direct(t *Target) *Routes {
	return &Routes{routes: []*route{{legs: []leg{{below: 1, targets: []*Target{t}}}, total: 1}}, targets: []*Target{t}}
}

// NewRoutes compiles a chain, whose targets are given by their ids. It gives them what the chain says of them and they
// leave open: how endpoints are chosen, the time to connect, the name of the server. What is wrong with a chain is said
// by the entry's field.
func NewRoutes(chain *catalog.DiscoveryChain, targets map[string]*Target) (*Routes, error) {
	b := builder{chain: chain, targets: targets, routes: new(Routes)}
	start := chain.Nodes[chain.StartNode]
	if start == nil {
		return nil, fmt.Errorf("chain of %s: it has no node %q, where it begins", chain.ServiceName, chain.StartNode)
	}
	if start.Type != catalog.ChainRouter {
		r := new(route)
		if err := b.spread(r, chain.StartNode, nil); err != nil {
			return nil, err
		}
		b.routes.routes = []*route{r}
		return b.routes, nil
	}
	for i, from := range start.Routes {
		r, err := b.route(from, i)
		if err != nil {
			return nil, fmt.Errorf("chain of %s: route %d: %w", chain.ServiceName, i, err)
		}
		b.routes.routes = append(b.routes.routes, r)
	}
	if n := len(b.routes.routes); n == 0 || b.routes.routes[n-1].match != nil {
		return nil, fmt.Errorf("chain of %s: no route matches everything", chain.ServiceName)
	}
	return b.routes, nil
}

type builder struct {
	chain   *catalog.DiscoveryChain
	targets map[string]*Target
	routes  *Routes
}

func (b *builder) route(from catalog.ChainRoute, at int) (*route, error) {
	r := new(route)
	var d *catalog.ServiceRouteDestination
	if from.Definition != nil {
		r.name = nameRoute(from.Definition.Match, at)
		var err error
		if r.match, err = newMatch(from.Definition.Match); err != nil {
			return nil, err
		}
		if d = from.Definition.Destination; d != nil {
			r.retries = newRetries(d, from.Definition.Match)
			r.fault = newFault(d.FaultInjection)
			if d.Mirror != nil && from.MirrorNode != "" {
				r.mirror = &mirror{share: shareOf(d.Mirror.Percentage), to: new(route)}
				if err := b.spread(r.mirror.to, from.MirrorNode, nil); err != nil {
					return nil, fmt.Errorf("mirror: %w", err)
				}
			}
			r.timeout, r.idle = time.Duration(d.RequestTimeout), time.Duration(d.IdleTimeout)
			if m := from.Definition.Match; d.PrefixRewrite != "" && m != nil && m.HTTP != nil {
				r.from, r.to, r.rewrite = or(canon.Exact(m.HTTP.PathExact), canon.Prefix(m.HTTP.PathPrefix)), d.PrefixRewrite, true
			}
		}
	}
	return r, b.spread(r, from.NextNode, d)
}

// spread gives a route its legs, which begin at a node of the chain.
func (b *builder) spread(r *route, name string, d *catalog.ServiceRouteDestination) error {
	node := b.chain.Nodes[name]
	if node == nil {
		return fmt.Errorf("node %q does not exist", name)
	}
	var request, response *catalog.HeaderModifiers
	if d != nil {
		request, response = d.RequestHeaders, d.ResponseHeaders
	}
	r.hash = newHash(node.LoadBalancer)
	if node.Type == catalog.ChainResolver {
		l := leg{request: newEdits(request), response: newEdits(response)}
		return b.leg(r, l, name, 1)
	}
	for _, s := range node.Splits {
		l := leg{request: newEdits(request), response: newEdits(response)}
		if s.Definition != nil {
			l.request = newEdits(request, s.Definition.RequestHeaders)
			l.response = newEdits(response, s.Definition.ResponseHeaders)
		}
		if err := b.leg(r, l, s.NextNode, uint32(float64(s.Weight)*100+0.5)); err != nil {
			return err
		}
	}
	if r.total == 0 {
		return fmt.Errorf("node %q has no split with a weight", name)
	}
	return nil
}

// leg adds a leg that ends at a resolver.
func (b *builder) leg(r *route, l leg, name string, weight uint32) error {
	node := b.chain.Nodes[name]
	if node == nil || node.Resolver == nil {
		return fmt.Errorf("node %q is no resolver", name)
	}
	if weight == 0 {
		return nil
	}
	ids := []string{node.Resolver.Target}
	if f := node.Resolver.Failover; f != nil {
		ids = append(ids, f.Targets...)
	}
	for _, id := range ids {
		t := b.targets[id]
		if t == nil {
			return fmt.Errorf("target %q does not exist", id)
		}
		t.resolve(b.chain, id, node)
		l.targets = append(l.targets, t)
		if !slices.Contains(b.routes.targets, t) {
			b.routes.targets = append(b.routes.targets, t)
		}
	}
	r.total += weight
	l.below, l.timeout = r.total, time.Duration(node.Resolver.RequestTimeout)
	r.legs = append(r.legs, l)
	return nil
}

// maxCounted is how many routes of a listener are counted each by itself.
const maxCounted = 64

// count gives the routes of a listener their counters, where there are several.
func (r *Routes) count(p *Proxy, listener string) {
	if len(r.routes) < 2 {
		return
	}
	for i, route := range r.routes {
		if route.stats != nil {
			return
		}
		route.name = or(route.name, "default")
		if i >= maxCounted {
			route.name = "other"
		}
		route.stats = p.edge(listener, "", route.name)
	}
}

// nameRoute is a name for a route by what it matches.
func nameRoute(m *catalog.ServiceRouteMatch, at int) string {
	if m == nil || m.HTTP == nil {
		return "default"
	}
	switch h := m.HTTP; {
	case h.PathExact != "":
		return h.PathExact
	case h.PathPrefix != "":
		return h.PathPrefix + "*"
	case h.PathRegex != "":
		return "~" + h.PathRegex
	}
	return "route " + strconv.Itoa(at+1)
}

// ambiguous returns a name that two targets have.
func (r *Routes) ambiguous() (string, bool) {
	names := make(map[string]bool, len(r.targets))
	for _, t := range r.targets {
		if names[t.Name] {
			return t.Name, true
		}
		names[t.Name] = true
	}
	return "", false
}

// connection is the route of what is no request.
func (r *Routes) connection() *route { return r.routes[len(r.routes)-1] }

// find is the route of a request.
func (r *Routes) find(q *query) *route {
	for _, route := range r.routes {
		if route.match == nil || route.match.matches(q) {
			return route
		}
	}
	return r.connection()
}

// pick draws a leg by weight.
func (r *route) pick() *leg {
	if len(r.legs) == 1 {
		return &r.legs[0]
	}
	n := rand.Uint32N(r.total)
	for i := range r.legs {
		if n < r.legs[i].below {
			return &r.legs[i]
		}
	}
	return &r.legs[len(r.legs)-1]
}

// alone reports whether no target stands in for another.
func (l *leg) alone() bool { return len(l.targets) == 1 }

// inOrder goes through the targets of a leg: first those that can do with the endpoints in service, then the others that have
// any. While no target has one it waits for the first that gets one, and goes through all.
func (l *leg) inOrder(yield func(*Target) bool) {
	if l.alone() {
		yield(l.targets[0])
		return
	}
	tried := false
	for _, wanted := range []bool{true, false} {
		for _, t := range l.targets {
			if ready, some := t.ready(); some && ready == wanted {
				if tried = true; !yield(t) {
					return
				}
			}
		}
	}
	if tried && slices.ContainsFunc(l.targets, func(t *Target) bool { _, some := t.ready(); return some }) {
		return
	}
	l.await()
	for _, t := range l.targets {
		if !yield(t) {
			return
		}
	}
}

// await waits until one of the targets has an endpoint, or each has had none for as long as it is waited for.
func (l *leg) await() {
	ctx, enough := context.WithCancel(context.Background())
	defer enough()
	has := make(chan bool, len(l.targets))
	for _, t := range l.targets {
		go func() { has <- t.await(ctx) }() // ends with ctx
	}
	for range l.targets {
		if <-has {
			return
		}
	}
}

// query is what routes look at. Its strings last as long as the request's head.
type query struct {
	method, path, raw string // raw is behind the question mark
	head              *wire.Head
	text              []byte // of the head
}

// field is the first value of a field, whose name is in lower case.
func (q *query) field(name string) (string, bool) {
	for i := range q.head.Fields {
		if f := &q.head.Fields[i]; wire.Same(f.Name.Of(q.text), name) {
			return view(f.Value.Of(q.text)), true
		}
	}
	return "", false
}

// match is what a request has to be: all of it.
type match struct {
	path    func(string) bool
	methods []string
	headers []headerMatch
	params  []paramMatch
}

type headerMatch struct {
	name   string // in lower case
	test   func(string) bool
	invert bool
}

type paramMatch struct {
	name string
	test func(string) bool
}

func newMatch(from *catalog.ServiceRouteMatch) (*match, error) {
	if from == nil || from.HTTP == nil {
		return nil, nil
	}
	h := from.HTTP
	m := &match{methods: h.Methods}
	var err error
	if m.path, err = pathTest(h); err != nil {
		return nil, err
	}
	for _, f := range h.Header {
		test, err := textTest(f.Exact, f.Prefix, f.Suffix, f.Regex)
		if err != nil {
			return nil, fmt.Errorf("header %s: %w", f.Name, err)
		}
		m.headers = append(m.headers, headerMatch{strings.ToLower(f.Name), test, f.Invert})
	}
	for _, q := range h.QueryParam {
		test, err := textTest(q.Exact, "", "", q.Regex)
		if err != nil {
			return nil, fmt.Errorf("query parameter %s: %w", q.Name, err)
		}
		m.params = append(m.params, paramMatch{q.Name, test})
	}
	if m.path == nil && len(m.methods) == 0 && len(m.headers) == 0 && len(m.params) == 0 {
		return nil, nil
	}
	return m, nil
}

func pathTest(h *catalog.HTTPRequestMatch) (func(string) bool, error) {
	exact, prefix := canon.Exact(h.PathExact), canon.Prefix(h.PathPrefix)
	switch {
	case exact != "" && h.CaseInsensitive:
		return func(p string) bool { return strings.EqualFold(p, exact) }, nil
	case exact != "":
		return func(p string) bool { return p == exact }, nil
	case prefix == "/":
		return nil, nil
	case prefix != "" && h.CaseInsensitive:
		return func(p string) bool { return len(p) >= len(prefix) && strings.EqualFold(p[:len(prefix)], prefix) }, nil
	case prefix != "":
		return func(p string) bool { return strings.HasPrefix(p, prefix) }, nil
	case h.PathRegex != "":
		fold := ""
		if h.CaseInsensitive {
			fold = "(?i)"
		}
		re, err := regexp.Compile("^(?:" + fold + h.PathRegex + ")$")
		if err != nil {
			return nil, fmt.Errorf("PathRegex: %w", err)
		}
		return re.MatchString, nil
	}
	return nil, nil
}

// textTest is nil where being there is enough.
func textTest(exact, prefix, suffix, regex string) (func(string) bool, error) {
	switch {
	case exact != "":
		return func(v string) bool { return v == exact }, nil
	case prefix != "":
		return func(v string) bool { return strings.HasPrefix(v, prefix) }, nil
	case suffix != "":
		return func(v string) bool { return strings.HasSuffix(v, suffix) }, nil
	case regex != "":
		re, err := regexp.Compile("^(?:" + regex + ")$")
		if err != nil {
			return nil, fmt.Errorf("regular expression: %w", err)
		}
		return re.MatchString, nil
	}
	return nil, nil
}

func (m *match) matches(q *query) bool {
	if m.path != nil && !m.path(q.path) || len(m.methods) > 0 && !slices.Contains(m.methods, q.method) {
		return false
	}
	for i := range m.headers {
		h := &m.headers[i]
		value, some := q.field(h.name)
		if (some && (h.test == nil || h.test(value))) == h.invert {
			return false
		}
	}
	for i := range m.params {
		p := &m.params[i]
		value, some := param(q.raw, p.name)
		if !some || p.test != nil && !p.test(value) {
			return false
		}
	}
	return true
}

// param is the first value of a parameter of a query, as it is written.
func param(raw, name string) (string, bool) {
	for part := range strings.SplitSeq(raw, "&") {
		if key, value, _ := strings.Cut(part, "="); key == name {
			return value, true
		}
	}
	return "", false
}

package sidecar

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/connect/balance"
	"github.com/curia-mesh/curia/connect/chain"
	"github.com/curia-mesh/curia/connect/proxy"
)

// compiler makes the listeners of one snapshot. What is wrong with one of them leaves out that one and says so.
type compiler struct {
	certs    map[string]*certs // by the id of the sidecar; those of before are gone on with
	tokens   tokens
	mesh     *mesh
	out      []*proxy.Listener
	problems map[string]error // by the name of the listener
}

// errUnknown is why an upstream has no listener that was registered just now.
var errUnknown = errors.New("where it leads is not known yet")

// made is a listener that was compiled, or what is wrong with it.
type made struct {
	name string
	*proxy.Listener
	err error
}

// sidecar compiles the listeners of a sidecar. What they are does not depend on other sidecars.
func (c *compiler) sidecar(s *Sidecar) (all []made) {
	name := s.Service.ID
	own := c.certs[name]
	if own == nil {
		own = new(certs)
	}
	if err := own.set(s.Leaf, c.mesh, s.peers()); err != nil {
		return []made{{name: inboundName(s), err: err}}
	}
	c.certs[name] = own
	paths := s.exposed()
	all = make([]made, 0, 1+len(s.Service.Proxy.Upstreams)+len(paths))
	add := func(name string, l *proxy.Listener, err error) {
		if err == nil {
			l.Name, l.Service = name, s.Service.Proxy.DestinationServiceName
		}
		all = append(all, made{name, l, err})
	}
	l, err := c.inbound(s, own)
	add(inboundName(s), l, err)
	for i := range s.Service.Proxy.Upstreams {
		u := &s.Service.Proxy.Upstreams[i]
		l, err := c.upstream(s, u, own)
		add(upstreamName(s, u), l, err)
	}
	for i := range paths {
		l, err := c.exposed(s, &paths[i])
		add(fmt.Sprintf("%s/expose:%d", name, paths[i].ListenerPort), l, err)
	}
	return all
}

// add adds listeners, or what is wrong with them.
func (c *compiler) add(all ...made) {
	for _, m := range all {
		err := m.err
		if err == nil && slices.ContainsFunc(c.out, func(o *proxy.Listener) bool { return o.Network == m.Network && o.Address == m.Address }) {
			err = fmt.Errorf("another listener has the address %s", m.Address)
		}
		if err != nil {
			c.problems[m.name] = err
			continue
		}
		c.out = append(c.out, m.Listener)
	}
}

func inboundName(s *Sidecar) string { return s.Service.ID + "/inbound" }

func upstreamName(s *Sidecar, u *catalog.Upstream) string {
	name := s.Service.ID + "/" + u.DestinationName
	if u.Datacenter != "" {
		name += "." + u.Datacenter
	}
	if u.DestinationPeer != "" {
		name += "." + u.DestinationPeer
	}
	if u.LocalBindSocketPath != "" {
		return name + ":" + u.LocalBindSocketPath
	}
	return name + ":" + strconv.Itoa(u.LocalBindPort)
}

// protocolOf is what a listener takes connections for.
func protocolOf(protocol string) proxy.Protocol {
	if chain.ForRequests(protocol) {
		return proxy.HTTP
	}
	return proxy.TCP
}

// Protocol is what the service of the sidecar speaks: what its registration says counts before its config entries.
func (s *Sidecar) Protocol() string {
	if p, ok := s.Service.Proxy.Config["protocol"].(string); ok && p != "" {
		return strings.ToLower(p)
	}
	if d := s.Defaults.Service; d != nil && d.Protocol != "" {
		return d.Protocol
	}
	if d := s.Defaults.Proxy; d != nil {
		if p, ok := d.Config["protocol"].(string); ok && p != "" {
			return strings.ToLower(p)
		}
	}
	return chain.DefaultProtocol
}

// inbound takes connections of the mesh for the application.
func (c *compiler) inbound(s *Sidecar, own *certs) (*proxy.Listener, error) {
	policy, err := policyOf(s.Intentions, s.Groups, s.DefaultAllow)
	if err != nil {
		return nil, err
	}
	p := s.Service.Proxy
	app := proxy.Endpoint{Network: "tcp", Address: net.JoinHostPort(cmp.Or(p.LocalServiceAddress, "127.0.0.1"), strconv.Itoa(p.LocalServicePort))}
	switch {
	case p.LocalServiceSocketPath != "":
		app = proxy.Endpoint{Network: "unix", Address: p.LocalServiceSocketPath}
	case p.LocalServicePort == 0:
		return nil, fmt.Errorf("service %q has neither a port nor a socket: set LocalServicePort or LocalServiceSocketPath", p.DestinationServiceName)
	}
	target := local(app)
	target.HTTP2 = s.Protocol() != "http" && chain.ForRequests(s.Protocol())
	l := &proxy.Listener{
		Network: "tcp", Address: s.address(), Protocol: protocolOf(s.Protocol()), Certs: inward{own}, Policy: policy, Tokens: c.tokens.of(s.Providers), Explain: true, TrustForwarded: true,
		Routes: proxy.Direct(target),
	}
	if s.Service.Port == 0 {
		l.Network, l.Address = "unix", s.Service.SocketPath
	}
	if d := s.Defaults.Service; d != nil {
		l.MaxConns = d.MaxInboundConnections
		target.ConnectTimeout = time.Duration(d.LocalConnectTimeoutMs) * time.Millisecond
		target.RequestTimeout = time.Duration(d.LocalRequestTimeoutMs) * time.Millisecond
		if l.Rates, err = proxy.NewRates(d.RateLimits); err != nil {
			return nil, err
		}
		if kib := d.MaxRequestHeadersKB; kib != nil {
			l.MaxHead = int(*kib) << 10
		}
	}
	if n := millis(p.Config["max_inbound_connections"]) / time.Millisecond; n > 0 {
		l.MaxConns = int(n)
	}
	target.ConnectTimeout = cmp.Or(millis(p.Config["local_connect_timeout_ms"]), target.ConnectTimeout)
	target.RequestTimeout = cmp.Or(millis(p.Config["local_request_timeout_ms"]), target.RequestTimeout)
	return l, nil
}

// local is a target on this machine, without TLS. What it can bear is the application's to say.
func local(e proxy.Endpoint) *proxy.Target {
	return &proxy.Target{Name: localTarget, Endpoints: []proxy.Endpoint{e}, Limits: proxy.Limits{Connections: math.MaxInt32, Pending: math.MaxInt32, Requests: math.MaxInt32}}
}

const localTarget = "local"

// address is where a sidecar listens.
// Source: https://developer.hashicorp.com/consul/docs/reference/proxy/envoy (bind_address, bind_port)
func (s *Sidecar) address() string { return boundAt(s.Service, s.Bind) }

// boundAt is where a proxy listens, by its registration and else at an address.
func boundAt(s *catalog.Service, bind string) string {
	host, port := cmp.Or(s.Address, bind), s.Port
	if bind, ok := s.Proxy.Config["bind_address"].(string); ok && bind != "" {
		host = bind
	}
	if n := int(millis(s.Proxy.Config["bind_port"]) / time.Millisecond); n > 0 {
		port = n
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// policyOf compiles intentions. While the clusters of a sameness group are not known, what it is allowed is allowed to
// nobody, and all else is asked of this cluster's services.
func policyOf(list []*catalog.Intention, groups map[string][]string, allow bool) (*connect.Policy, error) {
	entries := map[bool]*catalog.ServiceIntentions{}
	for _, i := range list {
		all := i.DestinationName == catalog.Wildcard
		e := entries[all]
		if e == nil {
			e = &catalog.ServiceIntentions{EntryHead: catalog.EntryHead{Kind: catalog.EntryServiceIntentions, Name: i.DestinationName}, JWT: i.JWT}
			entries[all] = e
		}
		source := i.Source()
		if group := source.SamenessGroup; group != "" && groups[group] == nil {
			if source.Action == catalog.IntentionAllow {
				continue
			}
			source.SamenessGroup = ""
		}
		e.Sources = append(e.Sources, source)
	}
	for _, e := range entries {
		e.Normalize()
	}
	return connect.NewPolicy(entries[false], entries[true], allow, func(group string) []string { return groups[group] })
}

// upstream takes plain connections of the application for another service.
func (c *compiler) upstream(s *Sidecar, u *catalog.Upstream, own *certs) (*proxy.Listener, error) {
	if u.DestinationName == "" || u.CentrallyConfigured {
		return nil, fmt.Errorf("it has no address to listen at")
	}
	w := wantOf(s.Service.Proxy, u, s.Defaults)
	known := s.Upstreams[w.Key()]
	if known == nil {
		return nil, errUnknown
	}
	l := &proxy.Listener{TrustForwarded: true}
	l.Network, l.Address = "tcp", net.JoinHostPort(cmp.Or(u.LocalBindAddress, "127.0.0.1"), strconv.Itoa(u.LocalBindPort))
	if u.LocalBindSocketPath != "" {
		l.Network, l.Address = "unix", u.LocalBindSocketPath
		if mode, err := strconv.ParseUint(u.LocalBindSocketMode, 8, 9); err == nil {
			l.Mode = os.FileMode(mode)
		}
	} else if u.LocalBindPort == 0 {
		return nil, fmt.Errorf("upstream %q has neither a port nor a socket: set LocalBindPort or LocalBindSocketPath", u.DestinationName)
	}
	var err error
	if known.Chain == nil {
		l.Protocol = protocolOf(cmp.Or(w.Protocol, chain.DefaultProtocol))
		l.Routes = proxy.Direct(c.target(s, u, w.Name, "", known.Targets[""], false, own))
		return l, nil
	}
	l.Protocol = protocolOf(known.Chain.Protocol)
	targets := make(map[string]*proxy.Target, len(known.Targets))
	for id, t := range known.Targets {
		from := known.Chain.Targets[id]
		near := from.PrioritizeByLocality
		targets[id] = c.target(s, u, id, from.SNI, t, near != nil && near.Mode == "failover", own)
	}
	l.Routes, err = proxy.NewRoutes(known.Chain, targets)
	return l, err
}

// reached is the endpoint as proxies know it.
func (e *Endpoint) reached() proxy.Endpoint {
	return proxy.Endpoint{
		Network: e.Network, Address: e.Address, Weight: uint32(e.Weight), Unhealthy: e.Weight == 0, // which warnings may mean
		Registered: e.Registered,
	}
}

// target is one that is reached over TLS, with what the defaults of the service say of its upstreams. What neither it nor a chain
// gives a name for TLS is called by who it has to prove to be.
func (c *compiler) target(s *Sidecar, u *catalog.Upstream, name, sni string, t *Target, near bool, own *certs) *proxy.Target {
	target := &proxy.Target{Name: name, Certs: own, ServerName: cmp.Or(t.ServerName, sni)}
	target.Balance.Empty = t.empty()
	for _, e := range t.Reached() {
		to := e.reached()
		if at := s.Service.Locality; near && at != nil {
			to.Level = balance.Level(at.Region, at.Zone, e.Region, e.Zone)
		}
		target.Endpoints = append(target.Endpoints, to)
	}
	for _, id := range t.Identities {
		id.TrustDomain = cmp.Or(id.TrustDomain, c.mesh.trust.Domain)
		target.Identities = append(target.Identities, id)
	}
	if target.ServerName == "" && len(target.Identities) > 0 {
		target.ServerName = chain.ServerName("", target.Identities[0].Name, target.Identities[0].Datacenter, c.mesh.trust.Domain)
	}
	for _, d := range slices.Backward(upstreamDefaults(u, s.Defaults)) { // what counts first comes last
		if d.Limits != nil {
			target.Limits = proxy.LimitsOf(d.Limits)
		}
		if d.PassiveHealthCheck != nil {
			target.Balance.Outliers = proxy.OutliersOf(d.PassiveHealthCheck)
		}
	}
	if d := s.Defaults.Proxy; d != nil {
		tune(target, d.Config)
	}
	tune(target, u.Config)
	target.ConnectTimeout = wantOf(s.Service.Proxy, u, s.Defaults).ConnectTimeout // else the chain's
	return target
}

// exposed are the paths that are there without TLS: those of the registration, else of the service's defaults, else of all
// proxies; and those of checks that are made through the proxy.
func (s *Sidecar) exposed() []catalog.ExposePath {
	var paths, checks []catalog.ExposePath
	for _, p := range s.Service.Proxy.Expose.Paths {
		if p.ParsedFromCheck {
			checks = append(checks, p)
		} else {
			paths = append(paths, p)
		}
	}
	if d := s.Defaults.Service; d != nil && len(paths) == 0 {
		paths = d.Expose.Paths
	}
	if d := s.Defaults.Proxy; d != nil && len(paths) == 0 {
		paths = d.Expose.Paths
	}
	return slices.Concat(paths, checks)
}

// exposed takes plain requests for one path of the application: for those who cannot be in the mesh, or, where the path is
// that of a check, for who makes it.
// Source: https://developer.hashicorp.com/consul/docs/reference/proxy/connect-proxy (expose)
func (c *compiler) exposed(s *Sidecar, p *catalog.ExposePath) (*proxy.Listener, error) {
	port := cmp.Or(p.LocalPathPort, s.Service.Proxy.LocalServicePort)
	if p.ListenerPort == 0 || port == 0 {
		return nil, fmt.Errorf("path %q has no port: set ListenerPort and LocalPathPort", p.Path)
	}
	to := local(proxy.Endpoint{Network: "tcp", Address: net.JoinHostPort(cmp.Or(s.Service.Proxy.LocalServiceAddress, "127.0.0.1"), strconv.Itoa(port))})
	to.HTTP2 = p.Protocol == "http2"
	none := &proxy.Target{Name: "other paths", Patience: -1}
	const here, nowhere = "resolver:path", "resolver:other"
	made := &catalog.DiscoveryChain{ServiceName: s.Service.Proxy.DestinationServiceName, StartNode: "router", Nodes: map[string]*catalog.ChainNode{
		"router": {Type: catalog.ChainRouter, Routes: []catalog.ChainRoute{
			{Definition: &catalog.ServiceRoute{Match: &catalog.ServiceRouteMatch{HTTP: &catalog.HTTPRequestMatch{PathExact: p.Path}}}, NextNode: here},
			{NextNode: nowhere},
		}},
		here:    {Type: catalog.ChainResolver, Resolver: &catalog.ChainTerminal{Target: here}},
		nowhere: {Type: catalog.ChainResolver, Resolver: &catalog.ChainTerminal{Target: nowhere}},
	}}
	routes, err := proxy.NewRoutes(made, map[string]*proxy.Target{here: to, nowhere: none})
	if err != nil {
		return nil, err
	}
	also, _ := netip.ParseAddr(s.Agent) // a name is nobody's
	return &proxy.Listener{
		Network: "tcp", Address: net.JoinHostPort(s.Bind, strconv.Itoa(p.ListenerPort)), Protocol: proxy.HTTP, Routes: routes, FromHere: p.ParsedFromCheck, Also: also,
	}, nil
}

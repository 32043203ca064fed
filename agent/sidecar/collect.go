package sidecar

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/rpc/tend"
)

// collector learns what one sidecar has to know. A registration that changes gets another one, which begins with what
// the one before knew.
type collector struct {
	service *catalog.Service
	parts   []string // that have to be known
	source  Source
	log     *slog.Logger
	changed func() // is told of news; it does not block

	mu         sync.Mutex
	known      Known
	has        map[string]bool   // parts of known that the servers have told, now or in a snapshot from before
	errs       map[string]string // why parts cannot be had, at the moment
	upstreams  chan struct{}     // has a value when others may be wanted
	references chan struct{}     // the same of what intentions name
}

// Parts of what is known.
const (
	partLeaf       = "certificate"
	partIntentions = "intentions"
	partDefault    = "default of intentions"
	partService    = "service-defaults"
	partProxy      = "proxy-defaults"
)

var allParts = []string{partLeaf, partIntentions, partDefault, partService, partProxy}

// newCollector returns one that knows what an earlier snapshot says, if there is one.
func newCollector(service *catalog.Service, source Source, before *Sidecar, log *slog.Logger, changed func()) *collector {
	c := &collector{
		service: service, parts: allParts, source: source, log: log.With("sidecar", service.ID), changed: changed,
		has: map[string]bool{}, errs: map[string]string{}, upstreams: make(chan struct{}, 1), references: make(chan struct{}, 1),
	}
	c.known.Upstreams = map[string]*Upstream{}
	if before != nil && before.Service.Proxy.DestinationServiceName == service.Proxy.DestinationServiceName {
		c.known = before.Known
		c.known.Upstreams = maps.Clone(before.Known.Upstreams)
		if c.known.Upstreams == nil {
			c.known.Upstreams = map[string]*Upstream{}
		}
		for _, p := range allParts {
			c.has[p] = true
		}
	}
	c.known.Datacenter = source.Datacenter()
	return c
}

// registration implements learner.
func (c *collector) registration() *catalog.Service { return c.service }

// addTo implements learner.
func (c *collector) addTo(s *Snapshot, node, bind string) {
	if known := c.snapshot(); known != nil {
		s.Sidecars = append(s.Sidecars, &Sidecar{Service: c.service, Node: node, Bind: bind, Known: *known})
	}
}

// snapshot is what is known, nil while too little is.
func (c *collector) snapshot() *Known {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.has) < len(allParts) {
		return nil
	}
	known := c.known
	known.Upstreams = map[string]*Upstream{}
	for _, w := range c.wants() {
		if u := c.known.Upstreams[w.Key()]; u != nil {
			known.Upstreams[w.Key()] = u
		}
	}
	asked := c.named()
	known.Providers, known.Groups = maps.Clone(c.known.Providers), maps.Clone(c.known.Groups)
	maps.DeleteFunc(known.Providers, func(name string, _ *catalog.JWTProvider) bool {
		return !asked[reference{catalog.EntryJWTProvider, name}]
	})
	maps.DeleteFunc(known.Groups, func(name string, _ []string) bool { return !asked[reference{catalog.EntrySamenessGroup, name}] })
	return &known
}

// wants are the upstreams that are wanted. The lock is held.
func (c *collector) wants() []Want {
	var wants []Want
	for i := range c.service.Proxy.Upstreams {
		if u := &c.service.Proxy.Upstreams[i]; u.DestinationName != "" && !u.CentrallyConfigured {
			wants = append(wants, wantOf(c.service.Proxy, u, c.known.Defaults))
		}
	}
	return wants
}

// learn takes up a part.
func (c *collector) learn(part string, take func(k *Known)) {
	c.mu.Lock()
	take(&c.known)
	c.has[part] = true
	delete(c.errs, part)
	c.mu.Unlock()
	c.changed()
}

// failed takes note of why a part cannot be had.
func (c *collector) failed(part string) func(error) {
	return func(err error) {
		c.mu.Lock()
		c.errs[part] = err.Error()
		c.mu.Unlock()
	}
}

// waits says which parts a sidecar waits for of which too little is known, and why; nil when it does not.
func (c *collector) waits() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var missing []string
	for _, part := range c.parts {
		if !c.has[part] {
			missing = append(missing, part+": "+cmp.Or(c.errs[part], "it is asked for"))
		}
	}
	return missing
}

// run learns until ctx ends, and returns when nobody is at work.
func (c *collector) run(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	name := c.service.Proxy.DestinationServiceName
	all.Go(func() {
		follow(ctx, c.log, partLeaf, func(ctx context.Context, index uint64) (*catalog.IssuedCert, uint64, error) {
			return c.source.Leaf(ctx, name, index)
		}, func(leaf *catalog.IssuedCert) { c.learn(partLeaf, func(k *Known) { k.Leaf = leaf }) }, c.failed(partLeaf))
	})
	all.Go(func() {
		follow(ctx, c.log, partIntentions, func(ctx context.Context, index uint64) ([]*catalog.Intention, uint64, error) {
			return c.source.Intentions(ctx, name, index)
		}, func(list []*catalog.Intention) {
			c.learn(partIntentions, func(k *Known) { k.Intentions = list })
			ring(c.references)
		}, c.failed(partIntentions))
	})
	all.Go(func() {
		tend.Each(ctx, c.references, func() map[reference]bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.named()
		}, c.followReference)
	})
	all.Go(func() {
		follow(ctx, c.log, partDefault, c.source.DefaultAllow, func(allow bool) {
			c.learn(partDefault, func(k *Known) { k.DefaultAllow = allow })
		}, c.failed(partDefault))
	})
	all.Go(func() {
		follow(ctx, c.log, partService, func(ctx context.Context, index uint64) (*catalog.ServiceDefaults, uint64, error) {
			return c.source.ServiceDefaults(ctx, name, index)
		}, func(e *catalog.ServiceDefaults) { c.learnDefaults(partService, func(d *Defaults) { d.Service = e }) }, c.failed(partService))
	})
	all.Go(func() {
		follow(ctx, c.log, partProxy, c.source.ProxyDefaults, func(e *catalog.ProxyDefaults) {
			c.learnDefaults(partProxy, func(d *Defaults) { d.Proxy = e })
		}, c.failed(partProxy))
	})
	all.Go(func() {
		follow(ctx, c.log, "peers", func(ctx context.Context, index uint64) ([]*catalog.PeerTrust, uint64, error) {
			return c.source.PeerTrust(ctx, name, "", index)
		}, func(list []*catalog.PeerTrust) { c.refer(func(k *Known) { k.Peers = list }) }, nil)
	})
	c.followUpstreams(ctx)
}

func (c *collector) learnDefaults(part string, take func(d *Defaults)) {
	c.learn(part, func(k *Known) { take(&k.Defaults) })
	ring(c.upstreams)
}

// followUpstreams learns about the upstreams that are wanted, which change with the defaults, until ctx ends.
func (c *collector) followUpstreams(ctx context.Context) {
	tend.Each(ctx, c.upstreams, func() map[Want]bool {
		wanted := map[Want]bool{}
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.has[partService] && c.has[partProxy] {
			for _, w := range c.wants() {
				wanted[w] = true
			}
		}
		return wanted
	}, c.followUpstream)
}

// reference is an entry that intentions name: a provider of tokens, or a sameness group.
type reference struct {
	kind catalog.EntryKind
	name string
}

// named are the entries that intentions name. The lock is held.
func (c *collector) named() map[reference]bool {
	names := map[reference]bool{}
	add := func(need *catalog.JWTRequirement) {
		if need != nil {
			for _, p := range need.Providers {
				names[reference{catalog.EntryJWTProvider, p.Name}] = true
			}
		}
	}
	for _, i := range c.known.Intentions {
		if i.SourceSamenessGroup != "" {
			names[reference{catalog.EntrySamenessGroup, i.SourceSamenessGroup}] = true
		}
		add(i.JWT)
		for _, p := range i.Permissions {
			add(p.JWT)
		}
	}
	return names
}

// followReference learns about an entry that intentions name until ctx ends.
func (c *collector) followReference(ctx context.Context, r reference) {
	if r.kind == catalog.EntrySamenessGroup {
		follow(ctx, c.log, "sameness group "+r.name, func(ctx context.Context, index uint64) (*catalog.SamenessGroup, uint64, error) {
			return c.source.SamenessGroup(ctx, r.name, index)
		}, func(g *catalog.SamenessGroup) {
			clusters := []string{}
			if g != nil {
				clusters = g.Clusters()
			}
			c.refer(func(k *Known) { k.Groups = with(k.Groups, r.name, clusters) })
		}, nil)
		return
	}
	follow(ctx, c.log, "provider of tokens "+r.name, func(ctx context.Context, index uint64) (*catalog.JWTProvider, uint64, error) {
		return c.source.JWTProvider(ctx, r.name, index)
	}, func(e *catalog.JWTProvider) {
		c.refer(func(k *Known) {
			k.Providers = with(k.Providers, r.name, e)
			if e == nil {
				delete(k.Providers, r.name)
			}
		})
	}, nil)
}

// refer takes up an entry that intentions name.
func (c *collector) refer(take func(k *Known)) {
	c.mu.Lock()
	take(&c.known)
	c.mu.Unlock()
	c.changed()
}

// with is a map with one more value: those of snapshots are not changed.
func with[V any](m map[string]V, name string, value V) map[string]V {
	more := make(map[string]V, len(m)+1)
	maps.Copy(more, m)
	more[name] = value
	return more
}

// followUpstream learns where one upstream leads until ctx ends.
func (c *collector) followUpstream(ctx context.Context, w Want) {
	if w.Query {
		c.followQuery(ctx, w)
		return
	}
	if w.Peer != "" { // how it is routed there is the peer's affair
		c.followPeer(ctx, &catalog.ChainTarget{Service: w.Name, Peer: w.Peer, MeshGateway: catalog.MeshGateway{Mode: w.MeshGateway}}, c.source.Instances, func(t *Target) {
			c.mu.Lock()
			c.known.Upstreams[w.Key()] = &Upstream{Targets: map[string]*Target{"": t}}
			c.mu.Unlock()
			c.changed()
		})
		return
	}
	p := c.path(w)
	defer p.following.End()
	follow(ctx, c.log, "chain of "+w.Name, func(ctx context.Context, index uint64) (*catalog.DiscoveryChain, uint64, error) {
		return c.source.Chain(ctx, w, index)
	}, func(chain *catalog.DiscoveryChain) { p.setChain(ctx, chain, "", c.source.Instances) }, nil)
}

// path is an upstream's chain and the targets that are followed for it. A chain takes the place of the one before when
// all of its targets are known, so that nothing leads to a target of which only its name is.
type path struct {
	*collector
	want      Want
	following tend.Set[string]        // by the target as it is asked for
	chain     *catalog.DiscoveryChain // the newest; guarded by the collector's lock, like targets
	targets   map[string]*Target      // by id
}

// path is where an upstream led in a snapshot from before, if there is one.
func (c *collector) path(w Want) *path {
	p := &path{collector: c, want: w, targets: map[string]*Target{}}
	c.mu.Lock()
	defer c.mu.Unlock()
	if u := c.known.Upstreams[w.Key()]; u != nil {
		maps.Copy(p.targets, u.Targets)
	}
	return p
}

// ask asks for the instances of a target. It is a method of Source, or like one.
type ask func(ctx context.Context, t *catalog.ChainTarget, index uint64) ([]*catalog.Instance, uint64, error)

// setChain takes up a chain, whose targets are asked for in a way that has a name. It is for one goroutine at a time.
func (p *path) setChain(ctx context.Context, chain *catalog.DiscoveryChain, way string, ask ask) {
	asked := map[string]*catalog.ChainTarget{}
	for _, t := range chain.Targets {
		asked[askedAs(t)+way] = t
	}
	p.following.Keep(func(as string) bool { return asked[as] != nil })
	p.mu.Lock()
	p.chain = chain
	maps.DeleteFunc(p.targets, func(id string, _ *Target) bool { return chain.Targets[id] == nil }) // it is not followed, and gets old
	p.publish()
	p.mu.Unlock()
	p.changed()
	for as, t := range asked {
		p.following.Begin(ctx, as, func(ctx context.Context) { p.followTarget(ctx, t, ask) })
	}
}

// askedAs is what a target's instances depend on: a subset keeps its id when its filter changes.
func askedAs(t *catalog.ChainTarget) string {
	passing := ""
	if t.Subset.OnlyPassing {
		passing = "passing"
	}
	return t.ID + "\n" + passing + "\n" + t.MeshGateway.Mode + "\n" + t.Subset.Filter
}

// followTarget learns of the instances of a target, and of the gateways before them, until ctx ends.
func (p *path) followTarget(ctx context.Context, t *catalog.ChainTarget, ask ask) {
	var found Target
	through, some := p.through(t.Datacenter, t.MeshGateway.Mode), false
	set := func(change func()) {
		p.mu.Lock()
		change()
		if ctx.Err() == nil && some && (through == "" || found.Gateways != nil) {
			whole := found
			p.targets[t.ID] = &whole
			p.publish()
		}
		p.mu.Unlock()
		p.changed()
	}
	if t.Peer != "" && t.Datacenter != "" {
		set(func() {
			found.Error, some = "peer "+t.Peer+" is one of datacenter "+t.Datacenter+": sidecars of "+p.source.Datacenter()+" cannot prove themselves to it", true
		})
		return
	}
	if t.Peer != "" {
		through = ""
		p.followPeer(ctx, t, ask, func(whole *Target) { set(func() { found, some = *whole, true }) })
		return
	}
	var beside sync.WaitGroup
	defer beside.Wait()
	if through != "" {
		beside.Go(func() { // ends with ctx
			p.followGateways(ctx, through, func(g *Gateways) { set(func() { found.Gateways = g }) })
		})
	}
	follow(ctx, p.log, "instances of "+t.ID, func(ctx context.Context, index uint64) ([]*catalog.Instance, uint64, error) {
		return ask(ctx, t, index)
	}, func(list []*catalog.Instance) {
		set(func() {
			found.Identities = []connect.ID{{Kind: connect.KindService, Datacenter: t.Datacenter, Name: spelled(t.Service, list)}}
			found.Endpoints, found.Error, some = p.endpointsOf(list, t.Datacenter), "", true
		})
	}, func(err error) {
		p.mu.Lock()
		unknown := p.targets[t.ID] == nil
		p.mu.Unlock()
		if unknown { // else what is known stands
			set(func() { found.Error, some = err.Error(), true })
		}
	})
}

// publish shows the chain with its targets when all of these are known. The lock is held.
func (p *path) publish() {
	if p.chain == nil {
		return
	}
	next := &Upstream{Chain: p.chain, Targets: make(map[string]*Target, len(p.chain.Targets))}
	for id := range p.chain.Targets {
		t := p.targets[id]
		if t == nil {
			return
		}
		next.Targets[id] = t
	}
	p.known.Upstreams[p.want.Key()] = next
}

// spelled is the name of a service as its instances write it in their certificates: whoever asks for them may use other cases.
func spelled(service string, list []*catalog.Instance) string {
	for _, i := range list {
		name := i.Service.Service
		if i.Service.Kind == catalog.KindConnectProxy {
			name = i.Service.Proxy.DestinationServiceName
		}
		if strings.EqualFold(name, service) {
			return name
		}
	}
	return service
}

// endpointsOf are the instances of a datacenter that can be connected to: those without a critical check.
func (c *collector) endpointsOf(list []*catalog.Instance, datacenter string) []Endpoint {
	return endpointsOf(list, datacenter != "" && datacenter != c.source.Datacenter())
}

// endpointsOf are the instances that can be connected to, from abroad or at home.
func endpointsOf(list []*catalog.Instance, abroad bool) []Endpoint {
	found := make([]Endpoint, 0, len(list))
	for _, i := range list {
		status := i.Status()
		if status != catalog.Passing && status != catalog.Warning || i.Service.Port == 0 && (abroad || i.Service.SocketPath == "") {
			continue
		}
		host, port := i.Address(), i.Service.Port
		if abroad {
			host, port = i.Abroad()
		}
		e := Endpoint{Network: "tcp", Address: net.JoinHostPort(host, strconv.Itoa(port)), Node: i.Node.Node, ID: i.Service.ID, Status: status, Weight: i.Weight(), Registered: i.Service.CreateIndex}
		if i.Service.Port == 0 {
			e.Network, e.Address = "unix", i.Service.SocketPath
		}
		if at := i.Service.Locality; at != nil {
			e.Region, e.Zone = at.Region, at.Zone
		} else if at := i.Node.Locality; at != nil {
			e.Region, e.Zone = at.Region, at.Zone
		}
		found = append(found, e)
	}
	return found
}

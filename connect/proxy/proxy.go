package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/curia-mesh/curia/connect/balance"
)

// Options are what a proxy is made with, and does not change.
type Options struct {
	Log *slog.Logger
	// DrainTime is how long connections may go on when the proxy ends.
	DrainTime time.Duration
	// Access gets a record of each exchange; nil for none. See AccessLog.
	Access *AccessLog
	// Tracer takes part in traces; nil passes their fields on as they come.
	Tracer *Tracer
	// Inherited are listeners of the process before; nil for none.
	Inherited *Inherited
}

// Proxy carries out one snapshot after the other.
type Proxy struct {
	Options
	handshakes chan struct{} // a place for each that may be under way
	seq        counterSeq
	epoch      time.Time  // from which balancers count
	events     chan event // of balancers, to be logged
	begun      chan struct{}

	mu        sync.Mutex
	ctx       context.Context // of Run; nil before and after it
	rouser    *rouser         // set by Run; nil where each listener waits for itself
	listening map[socket]*listening
	leaving   []*listening // whose last connections have not ended
	hosts     map[hostKey]*host
	edges     map[edgeKey]*edge
	clusters  map[clusterKey]*cluster
	ended     bool
	served    sync.WaitGroup
	carried   sync.WaitGroup // connections to endpoints that many exchanges share, and copies of requests
	copies    copies
}

// maxHandshakes is how many handshakes may be under way at once, so that many callers who come back together leave time
// for those who are there.
const maxHandshakes = 64

// New makes a proxy that does nothing yet.
func New(o Options) *Proxy {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.DrainTime = or(o.DrainTime, 30*time.Second)
	return &Proxy{
		Options: o, handshakes: make(chan struct{}, maxHandshakes), listening: map[socket]*listening{},
		hosts: map[hostKey]*host{}, edges: map[edgeKey]*edge{}, clusters: map[clusterKey]*cluster{}, epoch: time.Now(), events: make(chan event, maxEvents),
		begun: make(chan struct{}),
	}
}

// Update replaces what the proxy does. Listeners that are new are opened, those that are gone take no more connections
// and let the ones they have end; connections that a new policy denies are cut. When a listener cannot be opened nothing
// changes.
func (p *Proxy) Update(s *Snapshot) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return errors.New("proxy: it has ended")
	}
	if err := s.validate(); err != nil {
		return err
	}
	opened, err := p.open(s)
	if err != nil {
		return err
	}
	p.bind(s)
	now := make(map[socket]*Listener, len(s.Listeners))
	for _, c := range s.Listeners {
		now[c.at()] = c
		l := p.listening[c.at()]
		if l == nil {
			l = newListening(p, opened[c.at()], c)
			p.listening[c.at()] = l
			if p.ctx != nil {
				l.start()
			}
			continue
		}
		l.replace(c)
	}
	p.leaving = slices.DeleteFunc(p.leaving, (*listening).empty)
	for at, l := range p.listening {
		if now[at] == nil {
			delete(p.listening, at)
			l.stop()
			p.leaving = append(p.leaving, l)
		}
	}
	return nil
}

func (l *Listener) at() socket { return socket{l.Network, l.Address} }

// validate refuses what cannot be carried out.
func (s *Snapshot) validate() error {
	seen := map[socket]bool{}
	for _, l := range s.Listeners {
		switch {
		case l.Network != "tcp" && l.Network != "unix":
			return fmt.Errorf("proxy: listener %q: network %q: want tcp or unix", l.Name, l.Network)
		case seen[l.at()]:
			return fmt.Errorf("proxy: listener %q: another one has the address %s", l.Name, l.Address)
		case l.Routes == nil:
			return fmt.Errorf("proxy: listener %q has no routes", l.Name)
		case (l.Protocol == SNI) != (l.Routes.names != nil):
			return fmt.Errorf("proxy: listener %q: routes by name are for connections of TLS that are passed on, and for nothing else", l.Name)
		case l.Policy != nil && l.Certs == nil:
			return fmt.Errorf("proxy: listener %q has a policy and no certificates, which callers would prove themselves with", l.Name)
		}
		seen[l.at()] = true
		if name, twice := l.Routes.ambiguous(); twice {
			return fmt.Errorf("proxy: listener %q: two targets have the name %q", l.Name, name)
		}
	}
	return nil
}

// open opens the listeners that are new, all or none.
func (p *Proxy) open(s *Snapshot) (map[socket]net.Listener, error) {
	opened := map[socket]net.Listener{}
	for _, c := range s.Listeners {
		if p.listening[c.at()] != nil {
			continue
		}
		l, err := p.Inherited.Listen(c.Network, c.Address)
		if err == nil && c.Network == "unix" && c.Mode != 0 {
			if err = os.Chmod(c.Address, c.Mode); err != nil {
				l.Close()
			}
		}
		if err != nil {
			for _, l := range opened {
				l.Close()
			}
			return nil, &ListenError{c.Name, err}
		}
		opened[c.at()] = l
	}
	return opened, nil
}

// ListenError says which listener of a snapshot could not be opened, and why.
type ListenError struct {
	Listener string
	Err      error
}

// Error implements error.
func (e *ListenError) Error() string { return fmt.Sprintf("proxy: listener %q: %v", e.Listener, e.Err) }

// Unwrap is why.
func (e *ListenError) Unwrap() error { return e.Err }

// listen opens a listener. The file of a socket that nobody listens at, which a process leaves that did not end in order,
// is in nobody's way.
func listen(network, address string) (net.Listener, error) {
	l, err := net.Listen(network, address)
	if network != "unix" || !errors.Is(err, syscall.EADDRINUSE) {
		return l, err
	}
	if c, refused := net.Dial(network, address); !errors.Is(refused, syscall.ECONNREFUSED) {
		if refused == nil {
			c.Close()
		}
		return nil, err
	}
	if err := os.Remove(address); err != nil {
		return nil, err
	}
	return net.Listen(network, address)
}

// bind gives the targets of a snapshot what is kept of them and their endpoints, and lets go what no target has any more.
func (p *Proxy) bind(s *Snapshot) {
	hosts, clusters := make(map[hostKey]bool, len(p.hosts)), make(map[clusterKey]bool, len(p.clusters))
	for _, l := range s.Listeners {
		l.Routes.count(p, l.Name)
		for _, t := range l.Routes.targets {
			if t.owner == nil {
				t.bind(p, l)
			}
			clusters[t.cluster.key] = true
			for _, h := range t.hosts {
				hosts[h.key] = true
			}
		}
	}
	p.forget(s)
	maps.DeleteFunc(p.clusters, func(key clusterKey, _ *cluster) bool { return !clusters[key] })
	for key, h := range p.hosts {
		if !hosts[key] {
			delete(p.hosts, key)
			h.retire()
		}
	}
	for _, l := range s.Listeners {
		for _, t := range l.Routes.targets {
			p.clusters[t.cluster.key] = t.cluster // where a snapshot between had let it go
			for _, h := range t.hosts {
				if p.hosts[h.key] == nil {
					p.hosts[h.key] = h
					h.revive()
				}
			}
			t.cluster.update(t, p.clock())
		}
	}
}

// forget lets go of what was counted of listeners, targets and routes that are gone.
func (p *Proxy) forget(s *Snapshot) {
	old := p.edges
	p.edges = make(map[edgeKey]*edge, len(old))
	for _, l := range s.Listeners {
		if own := (edgeKey{l.Name, "", ""}); old[own] != nil {
			p.edges[own] = old[own]
		}
		for _, t := range l.Routes.targets {
			p.edges[edgeKey{t.cluster.key.listener, t.Name, ""}] = t.stats
		}
		for _, r := range l.Routes.routes {
			if r.stats != nil {
				p.edges[edgeKey{l.Name, "", r.name}] = r.stats
			}
		}
	}
}

func (t *Target) bind(p *Proxy, l *Listener) {
	t.owner = p
	t.stats = p.edge(l.Name, t.Name, "")
	if l.Protocol != HTTP && t.Balance.Method == balance.PeakEWMA { // how long a connection lasts says nothing
		t.Balance.Method = balance.LeastRequest
	}
	for _, e := range t.Endpoints {
		key := keyOf(t, e)
		h := p.hosts[key]
		if h == nil {
			h = newHost(t, key)
			p.hosts[key] = h
		}
		t.hosts = append(t.hosts, h)
	}
	key := clusterKey{l.Name, t.Name, t.Certs, t.identity(), t.ServerName}
	t.cluster = p.clusters[key]
	if t.cluster == nil {
		t.cluster = newCluster(p, key)
		p.clusters[key] = t.cluster
	}
}

// clock is the time for balancers.
func (p *Proxy) clock() time.Duration { return time.Since(p.epoch) }

func (p *Proxy) at(t time.Time) time.Duration { return t.Sub(p.epoch) }

// Addr is where the listener of a name is listening, nil when there is none: the system chooses port 0.
func (p *Proxy) Addr(name string) net.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.listening {
		if l.config.Load().Name == name {
			return l.Listener.Addr()
		}
	}
	return nil
}

// Run serves until ctx ends, then takes no more connections and lets those it has end for DrainTime. It returns when
// none is left.
func (p *Proxy) Run(ctx context.Context) error {
	p.mu.Lock()
	if p.ended || p.ctx != nil {
		p.mu.Unlock()
		return errors.New("proxy: it ran before")
	}
	p.ctx, p.rouser = ctx, newRouser()
	for _, l := range p.listening {
		l.start()
	}
	close(p.begun)
	p.mu.Unlock()
	p.sweep(ctx)
	p.drain()
	p.rouser.close()
	return nil
}

// lookEvery is how often it is looked whether endpoints have fallen silent, and half as often for connections that were idle
// too long.
const lookEvery = 500 * time.Millisecond

// sweep lets go of idle connections to endpoints, and of those that have fallen silent, until ctx ends.
func (p *Proxy) sweep(ctx context.Context) {
	every := time.NewTicker(lookEvery)
	defer every.Stop()
	var hosts []*host
	for n := 0; ; {
		select {
		case <-ctx.Done():
			return
		case e := <-p.events:
			e.log(p.Log)
		case now := <-every.C:
			n++
			hosts = hosts[:0]
			p.mu.Lock()
			for _, h := range p.hosts {
				hosts = append(hosts, h)
			}
			p.mu.Unlock()
			for _, h := range hosts {
				h.watch(p, now)
				if n%2 == 0 {
					h.sweep(now)
				}
			}
		}
	}
}

// drain ends everything.
func (p *Proxy) drain() {
	p.mu.Lock()
	p.ended, p.ctx = true, nil
	all := slices.Clone(p.leaving)
	for _, l := range p.listening {
		l.stop()
		all = append(all, l)
	}
	p.mu.Unlock()
	done := make(chan struct{})
	go func() { // ends with the last connection
		p.served.Wait()
		close(done)
	}()
	late := time.NewTimer(p.DrainTime)
	defer late.Stop()
	select {
	case <-done:
	case <-late.C:
		p.cutAll(all)
		<-done
	}
	p.copies.end()
	p.mu.Lock()
	for _, h := range p.hosts {
		h.retire()
	}
	p.mu.Unlock()
	p.carried.Wait()
}

package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Options are what a proxy is made with, and does not change.
type Options struct {
	Log *slog.Logger
	// DrainTime is how long connections may go on when the proxy ends.
	DrainTime time.Duration
	// Access gets a record of each exchange; nil for none. See AccessLog.
	Access *AccessLog
}

// Proxy carries out one snapshot after the other.
type Proxy struct {
	Options
	handshakes chan struct{} // a place for each that may be under way
	seq        counterSeq

	mu        sync.Mutex
	ctx       context.Context // of Run; nil before and after it
	listening map[Endpoint]*listening
	leaving   []*listening // whose last connections have not ended
	hosts     map[hostKey]*host
	edges     map[edgeKey]*edge
	ended     bool
	served    sync.WaitGroup
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
		Options: o, handshakes: make(chan struct{}, maxHandshakes), listening: map[Endpoint]*listening{},
		hosts: map[hostKey]*host{}, edges: map[edgeKey]*edge{},
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
	now := make(map[Endpoint]*Listener, len(s.Listeners))
	for _, c := range s.Listeners {
		now[c.at()] = c
		l := p.listening[c.at()]
		if l == nil {
			l = newListening(p, opened[c.at()], c)
			p.listening[c.at()] = l
			if p.ctx != nil {
				p.start(l)
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

func (l *Listener) at() Endpoint { return Endpoint{l.Network, l.Address} }

// validate refuses what cannot be carried out.
func (s *Snapshot) validate() error {
	seen := map[Endpoint]bool{}
	for _, l := range s.Listeners {
		switch {
		case l.Network != "tcp" && l.Network != "unix":
			return fmt.Errorf("proxy: listener %q: network %q: want tcp or unix", l.Name, l.Network)
		case seen[l.at()]:
			return fmt.Errorf("proxy: listener %q: another one has the address %s", l.Name, l.Address)
		case l.Routes == nil:
			return fmt.Errorf("proxy: listener %q has no routes", l.Name)
		case l.Policy != nil && l.Certs == nil:
			return fmt.Errorf("proxy: listener %q has a policy and no certificates, which callers would prove themselves with", l.Name)
		}
		seen[l.at()] = true
	}
	return nil
}

// open opens the listeners that are new, all or none.
func (p *Proxy) open(s *Snapshot) (map[Endpoint]net.Listener, error) {
	opened := map[Endpoint]net.Listener{}
	for _, c := range s.Listeners {
		if p.listening[c.at()] != nil {
			continue
		}
		l, err := listen(c.Network, c.Address)
		if err != nil {
			for _, l := range opened {
				l.Close()
			}
			return nil, fmt.Errorf("proxy: listener %q: %w", c.Name, err)
		}
		opened[c.at()] = l
	}
	return opened, nil
}

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

// bind gives the targets of a snapshot what is kept of their endpoints, and lets go what no target has any more.
func (p *Proxy) bind(s *Snapshot) {
	used := make(map[hostKey]bool, len(p.hosts))
	for _, l := range s.Listeners {
		for _, t := range l.Routes.targets {
			if t.owner == nil {
				t.bind(p, l)
			}
			for _, h := range t.hosts {
				used[h.key] = true
			}
		}
	}
	for key, h := range p.hosts {
		if !used[key] {
			delete(p.hosts, key)
			h.retire()
		}
	}
	for _, l := range s.Listeners {
		for _, t := range l.Routes.targets {
			for _, h := range t.hosts {
				if p.hosts[h.key] == nil { // let go by a snapshot between
					p.hosts[h.key] = h
					h.revive()
				}
			}
		}
	}
}

func (t *Target) bind(p *Proxy, l *Listener) {
	t.owner = p
	t.stats = p.edge(l.Name, t.Name)
	for _, e := range t.Endpoints {
		key := keyOf(t, e)
		h := p.hosts[key]
		if h == nil {
			h = newHost(t, key)
			p.hosts[key] = h
		}
		t.hosts = append(t.hosts, h)
	}
}

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

// start has a listener accept. It is called with the lock held.
func (p *Proxy) start(l *listening) {
	p.served.Add(1)
	go func() { // ends with the listener
		defer p.served.Done()
		l.accept()
	}()
}

// Run serves until ctx ends, then takes no more connections and lets those it has end for DrainTime. It returns when
// none is left.
func (p *Proxy) Run(ctx context.Context) error {
	p.mu.Lock()
	if p.ended || p.ctx != nil {
		p.mu.Unlock()
		return errors.New("proxy: it ran before")
	}
	p.ctx = ctx
	for _, l := range p.listening {
		p.start(l)
	}
	p.mu.Unlock()
	p.sweep(ctx)
	p.drain()
	return nil
}

// sweepEvery is how often connections that were idle too long are looked for.
const sweepEvery = time.Second

// sweep lets go of idle connections to endpoints until ctx ends.
func (p *Proxy) sweep(ctx context.Context) {
	every := time.NewTicker(sweepEvery)
	defer every.Stop()
	var hosts []*host
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-every.C:
			hosts = hosts[:0]
			p.mu.Lock()
			for _, h := range p.hosts {
				hosts = append(hosts, h)
			}
			p.mu.Unlock()
			for _, h := range hosts {
				h.sweep(now)
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
	p.mu.Lock()
	for _, h := range p.hosts {
		h.retire()
	}
	p.mu.Unlock()
}

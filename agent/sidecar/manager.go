package sidecar

import (
	"context"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/curia-mesh/curia/catalog"
)

// Registrations are what is registered on the agent.
type Registrations interface {
	// Sidecars are those that were registered within their services, and gateways that the agent is to run, by id.
	Sidecars() map[string]*catalog.Service
	// Changed returns a channel that is closed when, for "", any service changes. It is taken before looking.
	Changed(id string) <-chan struct{}
	// ExposeChecks is told, as soon as it is known and again and again, of which sidecars, by id, config entries say that
	// the checks of their services are made through them.
	ExposeChecks(by map[string]bool)
}

// Deps are what a Manager needs.
type Deps struct {
	Local Registrations
	// Source is what the sidecar with an id asks; the agent itself has the id "".
	Source func(id string) Source
	Node   string
	// Agent is the address that the agent calls from, which makes the checks; empty where it is on this machine.
	Agent string
	// Bind is the address that sidecars listen at whose registration names none.
	Bind string
	Log  *slog.Logger
}

// Manager makes the snapshots of a node's sidecars.
type Manager struct {
	Deps
	before *Snapshot
	latest atomic.Pointer[Snapshot]
	news   chan struct{} // has a value when latest is another
	dirty  chan struct{} // has a value when another is due

	mu         sync.Mutex
	roots      *catalog.Roots
	collectors map[string]*running
}

// learner learns what one proxy has to know. Its methods but run do not block.
type learner interface {
	registration() *catalog.Service
	// run learns until ctx ends.
	run(ctx context.Context)
	// waits says what it lacks; nil when it does not.
	waits() []string
	// addTo adds what is known to a snapshot, unless that is too little.
	addTo(s *Snapshot, node, bind string)
}

// running is a learner at work.
type running struct {
	learner
	stop context.CancelFunc
}

// NewManager makes a manager that begins with a snapshot from before, which may be nil.
func NewManager(d Deps, before *Snapshot) *Manager {
	m := &Manager{Deps: d, before: before, news: make(chan struct{}, 1), dirty: make(chan struct{}, 1), collectors: map[string]*running{}}
	if before != nil {
		m.latest.Store(before)
		m.roots = before.Roots
	}
	return m
}

// Latest is the newest snapshot, nil before there is one, and News has a value each time there is another.
func (m *Manager) Latest() *Snapshot { return m.latest.Load() }

// News tells one reader of others.
func (m *Manager) News() <-chan struct{} { return m.news }

// Wanted reports whether there is a sidecar to run.
func (m *Manager) Wanted() bool {
	for _, s := range m.Local.Sidecars() {
		if managed(s) {
			return true
		}
	}
	return false
}

// Waiting are the sidecars that have no listener yet, since too little is known, and what they wait for, by id.
func (m *Manager) Waiting() map[string][]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := map[string][]string{}
	for id, c := range m.collectors {
		missing := c.waits()
		if m.roots == nil {
			missing = append(missing, "roots of the mesh: they are asked for")
		}
		if len(missing) > 0 {
			all[id] = missing
		}
	}
	return all
}

// Run follows what is registered and what the servers say until ctx ends.
func (m *Manager) Run(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { m.followRoots(ctx) })
	all.Go(func() { m.compose(ctx) })
	for ctx.Err() == nil {
		changed := m.Local.Changed("")
		m.reconcile(ctx, m.Local.Sidecars(), &all)
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
	return nil
}

// followRoots asks nothing before there is a sidecar.
func (m *Manager) followRoots(ctx context.Context) {
	for {
		changed := m.Local.Changed("")
		if len(m.Local.Sidecars()) > 0 {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
	follow(ctx, m.Log, "roots", m.Source("").Roots, func(r *catalog.Roots) {
		if r.Active() == nil {
			return
		}
		m.mu.Lock()
		m.roots = r
		m.mu.Unlock()
		m.touch()
	}, nil)
}

func (m *Manager) touch() { ring(m.dirty) }

// managed reports whether the agent runs a sidecar: it says otherwise when somebody else does.
func managed(s *catalog.Service) bool {
	off, said := s.Proxy.Config["managed"].(bool)
	return !said || off
}

// reconcile has a collector for each sidecar, as it is registered now.
func (m *Manager) reconcile(ctx context.Context, now map[string]*catalog.Service, all *sync.WaitGroup) {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(now, func(_ string, s *catalog.Service) bool { return !managed(s) })
	for id, r := range m.collectors {
		if now[id] == nil {
			r.stop()
			delete(m.collectors, id)
		}
	}
	for id, service := range now {
		old := m.collectors[id]
		if old != nil && old.registration() == service {
			continue
		}
		before := m.latest.Load()
		if old != nil {
			old.stop()
			known := &Snapshot{}
			if old.addTo(known, "", ""); len(known.Sidecars)+len(known.Gateways) > 0 {
				before = known
			}
		}
		own, stop := context.WithCancel(ctx)
		var l learner
		if service.Kind == catalog.KindMeshGateway {
			l = newGatherer(service, m.Source(id), before.gateway(id), m.Log, m.touch)
		} else {
			l = newCollector(service, m.Source(id), before.find(id), m.Log, m.touch)
		}
		m.collectors[id] = &running{l, stop}
		all.Go(func() { l.run(own) }) // ends with own
	}
	m.touch()
	ring(m.news) // whether any is wanted may be another now
}

// compose makes a snapshot whenever something has changed, until ctx ends.
func (m *Manager) compose(ctx context.Context) {
	for {
		select {
		case <-m.dirty:
		case <-ctx.Done():
			return
		}
		next := m.snapshot()
		if next != nil {
			m.Local.ExposeChecks(next.exposeChecks())
		}
		old := m.latest.Load()
		if next == nil || old != nil && reflect.DeepEqual(old.Roots, next.Roots) && reflect.DeepEqual(old.Sidecars, next.Sidecars) && reflect.DeepEqual(old.Gateways, next.Gateways) {
			continue
		}
		next.Version = 1
		if old != nil {
			next.Version = old.Version + 1
		}
		m.latest.Store(next)
		ring(m.news)
	}
}

// snapshot is what is known now, nil while that is nothing.
func (m *Manager) snapshot() *Snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := &Snapshot{Roots: m.roots, Sidecars: []*Sidecar{}}
	if m.roots == nil {
		return nil
	}
	for _, id := range slices.Sorted(maps.Keys(m.collectors)) {
		m.collectors[id].addTo(s, m.Node, m.Bind)
	}
	for _, side := range s.Sidecars {
		side.Agent = m.Agent
	}
	return s
}

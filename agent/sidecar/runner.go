package sidecar

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/curia-mesh/curia/connect/proxy"
	"github.com/curia-mesh/curia/rpc/pause"
)

// RunnerOptions are what a Runner is made with.
type RunnerOptions struct {
	// Dir is where the last snapshot is kept; empty keeps none.
	Dir string
	// Detached means that nobody reads what the process prints: what is to be printed goes to a file.
	Detached bool
	// Alone is whether the process does nothing else: see proxy.Alone.
	Alone bool
	// Drain is how long connections may go on when the runner ends.
	Drain time.Duration
	Log   *slog.Logger
}

// Runner carries out snapshots.
type Runner struct {
	RunnerOptions
	proxy    *proxy.Proxy
	observer *observer
	keep     chan struct{} // has a value when the snapshot is to be kept
	retry    chan struct{} // has a value when listeners could not be opened

	mu       sync.Mutex
	snapshot *Snapshot
	since    time.Time // the snapshot is in use
	mesh     *mesh
	certs    map[string]*certs
	tokens   tokens
	problems map[string]error // by listener
	shut     map[string]bool  // listeners that could not be opened
	opened   []*proxy.Listener
	turn     uint64        // grows with each change of what Show shows
	changed  chan struct{} // closed when it does
}

// NewRunner makes a runner that has nothing to do.
func NewRunner(o RunnerOptions) *Runner {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Alone {
		proxy.Alone()
	}
	watch := newObserver(o.Dir, o.Detached, o.Log)
	p := proxy.New(proxy.Options{Log: o.Log, DrainTime: o.Drain, Access: watch.access, Tracer: watch.tracer})
	watch.write = p.WriteMetrics
	return &Runner{
		RunnerOptions: o, proxy: p, observer: watch,
		keep: make(chan struct{}, 1), retry: make(chan struct{}, 1), certs: map[string]*certs{}, tokens: tokens{log: o.Log}, turn: uint64(time.Now().UnixMilli()), changed: make(chan struct{}),
	}
}

// Apply carries out a snapshot as far as that is possible: what is wrong with a listener leaves out that one, and Status
// says so. Those whose address is in use are tried again.
func (r *Runner) Apply(s *Snapshot) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.apply(s); err != nil {
		return err
	}
	ring(r.keep)
	return nil
}

func ring(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it has rung already
	}
}

func (r *Runner) apply(s *Snapshot) error {
	var err error
	if r.mesh, err = r.mesh.with(s.Roots); err != nil {
		return err
	}
	c := &compiler{certs: r.certs, tokens: r.tokens.next(), mesh: r.mesh, problems: map[string]error{}}
	ids := map[string]bool{}
	for _, side := range s.Sidecars {
		ids[side.Service.ID] = true
		c.sidecar(side)
	}
	for _, g := range s.Gateways {
		c.gateway(g)
	}
	shut := map[string]bool{}
	for {
		err := r.proxy.Update(&proxy.Snapshot{Listeners: c.out})
		if err == nil {
			break
		}
		var failed *proxy.ListenError
		if !errors.As(err, &failed) {
			return err
		}
		shut[failed.Listener], c.problems[failed.Listener] = true, failed.Err
		c.out = slices.DeleteFunc(c.out, func(l *proxy.Listener) bool { return l.Name == failed.Listener })
	}
	if err := r.observer.apply(s); err != nil {
		r.Log.Warn("the proxy does not tell of what passes as proxy-defaults want it", "err", err)
	}
	r.tokens = c.tokens
	maps.DeleteFunc(r.certs, func(id string, _ *certs) bool { return !ids[id] })
	for name, why := range c.problems {
		if old := r.problems[name]; (old == nil || old.Error() != why.Error()) && !errors.Is(why, errUnknown) {
			r.Log.Warn("a listener is not open", "listener", name, "err", why)
		}
	}
	r.tell(c.out)
	if r.snapshot == nil || r.snapshot.Version != s.Version {
		r.since = time.Now()
	}
	r.turn++
	close(r.changed)
	r.changed = make(chan struct{})
	r.snapshot, r.problems, r.shut, r.opened = s, c.problems, shut, c.out
	if len(shut) > 0 {
		ring(r.retry)
	}
	return nil
}

// tell says in the log which listeners are others now.
func (r *Runner) tell(now []*proxy.Listener) {
	has := func(list []*proxy.Listener, l *proxy.Listener) bool {
		return slices.ContainsFunc(list, func(o *proxy.Listener) bool { return o.Name == l.Name && o.Address == l.Address })
	}
	for _, l := range now {
		if !has(r.opened, l) {
			r.Log.Info("listener open", "listener", l.Name, "address", l.Address)
		}
	}
	for _, l := range r.opened {
		if !has(now, l) {
			r.Log.Info("listener closed", "listener", l.Name, "address", l.Address)
		}
	}
}

// Snapshot is the one that is carried out, nil when there is none.
func (r *Runner) Snapshot() *Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.snapshot
}

// Run serves until ctx ends and the connections have, or the time to drain them is over.
func (r *Runner) Run(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { r.observer.run(ctx) })
	all.Go(func() { r.reopen(ctx) })
	all.Go(func() { r.keepLast(ctx) })
	if r.Alone {
		all.Go(func() { proxy.GiveBack(ctx) })
	}
	return r.proxy.Run(ctx)
}

// reopen tries listeners again that could not be opened, until ctx ends.
func (r *Runner) reopen(ctx context.Context) {
	failures := 0
	for {
		select {
		case <-r.retry:
		case <-ctx.Done():
			return
		}
		failures++
		pause.For(ctx, backoff(failures))
		r.mu.Lock()
		if s := r.snapshot; ctx.Err() == nil && len(r.shut) > 0 {
			if err := r.apply(s); err != nil {
				r.Log.Error("the proxy could not be updated", "err", err)
			}
		}
		if len(r.shut) == 0 {
			failures = 0
		}
		r.mu.Unlock()
	}
}

// keepLast writes down the last snapshot until ctx ends.
func (r *Runner) keepLast(ctx context.Context) {
	for {
		select {
		case <-r.keep:
		case <-ctx.Done():
			return
		}
		if r.Dir == "" {
			continue
		}
		if err := save(r.Dir, r.Snapshot()); err != nil {
			r.Log.Warn("the proxy's snapshot could not be stored: it will not outlive this process", "err", err)
		}
	}
}

// Follow carries out what a manager in this process makes, until ctx ends.
func (r *Runner) Follow(ctx context.Context, m *Manager) error {
	for {
		select {
		case <-m.News():
		case <-ctx.Done():
			return nil
		}
		s := m.Latest()
		if s == nil || s == r.Snapshot() {
			continue
		}
		if err := r.Apply(s); err != nil {
			r.Log.Error("the proxy could not be updated", "err", err)
		}
	}
}

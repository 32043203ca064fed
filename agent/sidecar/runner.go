package sidecar

import (
	"context"
	"encoding/json"
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
	// Inherited are listeners of the process before; nil for none.
	Inherited *proxy.Inherited
	Log       *slog.Logger
}

// Runner carries out snapshots.
type Runner struct {
	RunnerOptions
	proxy    *proxy.Proxy
	observer *observer
	keep     chan struct{} // has a value when the snapshot is to be kept
	retry    chan struct{} // has a value when listeners could not be opened
	storing  sync.Mutex    // held while the snapshot is written down, so that an older one never comes later

	mu       sync.Mutex
	kept     *kept     // the snapshot, nil before there is one
	version  uint64    // of it
	since    time.Time // it is in use
	sides    []*side   // its sidecars
	by       map[sum]*side
	gateways int // how many it has
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
	p := proxy.New(proxy.Options{Log: o.Log, DrainTime: o.Drain, Access: watch.access, Tracer: watch.tracer, Inherited: o.Inherited})
	watch.write, watch.inherited = p.WriteMetrics, o.Inherited
	return &Runner{
		RunnerOptions: o, proxy: p, observer: watch,
		keep: make(chan struct{}, 1), retry: make(chan struct{}, 1), certs: map[string]*certs{}, tokens: tokens{log: o.Log}, turn: uint64(time.Now().UnixMilli()), changed: make(chan struct{}),
	}
}

// Apply carries out a snapshot as far as that is possible: what is wrong with a listener leaves out that one, and Status
// says so. Those whose address is in use are tried again.
func (r *Runner) Apply(s *Snapshot) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return r.take(text)
}

// take is Apply for the text of a snapshot, which is not changed any more. One that cannot be read changes nothing.
func (r *Runner) take(text []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.apply(text); err != nil {
		return err
	}
	r.kept = &kept{text: text}
	ring(r.keep)
	return nil
}

func ring(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it has rung already
	}
}

func (r *Runner) apply(text []byte) error {
	p, err := unwrap(text)
	if err != nil {
		return err
	}
	mesh, err := r.mesh.with(p.Roots)
	if err != nil {
		return err
	}
	if mesh != r.mesh {
		r.by = nil // all are compiled anew
	}
	sides, by, others, err := p.sides(r.by)
	if err != nil {
		return err
	}
	r.mesh = mesh
	c := &compiler{certs: r.certs, tokens: r.tokens.next(), mesh: r.mesh, problems: map[string]error{}}
	ids := map[string]bool{}
	for i, side := range sides {
		ids[side.id] = true
		if s := others[i]; s != nil {
			side.made = c.sidecar(s)
		}
		c.add(side.made...)
	}
	for _, g := range p.Gateways {
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
	if err := r.observer.apply(defaultsOf(sides)); err != nil {
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
	if r.kept == nil || r.version != p.Version {
		r.since = time.Now()
	}
	r.turn++
	close(r.changed)
	r.changed = make(chan struct{})
	r.version, r.sides, r.by, r.gateways = p.Version, sides, by, len(p.Gateways)
	r.problems, r.shut, r.opened = c.problems, shut, c.out
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

// Version is that of the snapshot that is carried out, 0 when there is none.
func (r *Runner) Version() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.version
}

// Snapshot is the one that is carried out, nil when there is none.
func (r *Runner) Snapshot() (*Snapshot, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.snapshot()
}

func (r *Runner) snapshot() (*Snapshot, error) {
	if r.kept == nil {
		return nil, nil
	}
	text, err := r.kept.open()
	if err != nil {
		return nil, err
	}
	return decode(text)
}

// useful reports whether the certificate of any sidecar still holds.
func (r *Runner) useful(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.gateways > 0 || slices.ContainsFunc(r.sides, func(s *side) bool { return now.Before(s.until) }) // gateways have none
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

// sockets are the listeners that are open.
func (r *Runner) sockets() []proxy.Socket { return append(r.proxy.Sockets(), r.observer.socket()...) }

// begun returns when the runner that runs accepts connections.
func (r *Runner) begun(ctx context.Context) error {
	for _, c := range []<-chan struct{}{r.proxy.Begun(), r.observer.begun} {
		select {
		case <-c:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
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
		if ctx.Err() == nil && len(r.shut) > 0 {
			text, err := r.kept.open()
			if err == nil {
				err = r.apply(text)
			}
			if err != nil {
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
		if err := r.store(); err != nil {
			r.Log.Warn("the proxy's snapshot could not be stored: it will not outlive this process", "err", err)
		}
	}
}

// store writes down the snapshot, and lets go of it in memory.
func (r *Runner) store() error {
	r.storing.Lock()
	defer r.storing.Unlock()
	r.mu.Lock()
	last := r.kept
	r.mu.Unlock()
	if r.Dir == "" || last == nil || last.text == nil {
		return nil
	}
	if err := save(r.Dir, last.text); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kept == last {
		r.kept = &kept{dir: r.Dir}
	}
	return nil
}

// Follow carries out what a manager in this process makes, until ctx ends.
func (r *Runner) Follow(ctx context.Context, m *Manager) error {
	var last *Snapshot
	for {
		select {
		case <-m.News():
		case <-ctx.Done():
			return nil
		}
		s := m.Latest()
		if s == nil || s == last {
			continue
		}
		if err := r.Apply(s); err != nil {
			r.Log.Error("the proxy could not be updated", "err", err)
		}
		last = s
	}
}

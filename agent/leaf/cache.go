// Package leaf keeps the certificates of the services on this node. Keys are made here and never leave; the
// servers sign. All who ask for a service's certificate share one, which is renewed before its end, or when
// another root signs, and which lies on disk, so that it outlives a restart of the agent and an absence of
// the servers.
package leaf

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/curia-mesh/curia/agent/watch"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
)

// Options configure a Cache. A zero field means its default.
type Options struct {
	// Caller reaches the servers, and Views holds what is known of the roots. Both are required.
	Caller rpc.Caller
	Views  *watch.Cache
	// Datacenter is the agent's own.
	Datacenter string
	// Dir is where certificates and keys lie; empty keeps them in memory.
	Dir string
	// Spread is the time over which certificates are renewed after another root has begun to sign; default
	// 30 s.
	Spread time.Duration
	// Idle is how long a certificate that nobody asks for is renewed; default 1 h.
	Idle time.Duration
	// Max is how many are kept in memory; default 4096. Those that somebody waits for are never given up.
	Max int
	Log *slog.Logger
}

// Cache holds the certificates. It may be used by many goroutines at once.
type Cache struct {
	o       Options
	started chan struct{} // closed when Run has begun
	wanted  chan struct{} // closed when somebody asks for the first time
	asked   sync.Once
	keepers sync.WaitGroup

	mu      sync.Mutex
	life    context.Context // of the keepers
	entries map[key]*entry
	roots   *trusted      // nil before they are known
	changed chan struct{} // closed when roots is replaced
}

// key tells certificates apart: one token's must not be handed out to another, which may lack the right.
type key struct{ service, token string }

// New returns a cache. It removes from its directory what has ended.
func New(o Options) (*Cache, error) {
	o.Spread, o.Idle, o.Max = cmp.Or(max(o.Spread, 0), 30*time.Second), cmp.Or(o.Idle, time.Hour), cmp.Or(o.Max, 4096)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Dir != "" {
		if err := os.MkdirAll(o.Dir, 0o700); err != nil {
			return nil, err
		}
		if err := sweep(o.Dir, time.Now()); err != nil {
			return nil, err
		}
	}
	return &Cache{
		o: o, started: make(chan struct{}), wanted: make(chan struct{}), entries: map[key]*entry{}, changed: make(chan struct{}),
	}, nil
}

// Run renews certificates until ctx ends, and returns when its goroutines have.
func (c *Cache) Run(ctx context.Context) error {
	c.mu.Lock()
	running := c.life != nil
	c.life = ctx
	c.mu.Unlock()
	if running {
		return errors.New("leaf: the cache has run already")
	}
	close(c.started)
	select {
	case <-ctx.Done():
	case <-c.wanted:
		c.followRoots(ctx)
	}
	c.mu.Lock()
	//lint:ignore SA2001 whoever starts a keeper holds the lock and looks at life first: from here on nobody does
	c.mu.Unlock()
	c.keepers.Wait()
	return nil
}

// followRoots keeps what is known of the roots up to date until ctx ends.
func (c *Cache) followRoots(ctx context.Context) {
	view, err := watch.Open(c.o.Views, api.CARoots, rpc.Header{}, &api.Nothing{})
	if err != nil {
		c.o.Log.Error("the mesh's roots cannot be followed", "err", err)
		<-ctx.Done()
		return
	}
	defer view.Close()
	failures := 0
	for index := uint64(0); ctx.Err() == nil; {
		rep, next, err := view.Wait(ctx, index)
		if err != nil {
			failures++
			Sleep(ctx, Backoff(failures))
			continue
		}
		failures, index = 0, next
		c.setRoots(rep)
	}
}

func (c *Cache) setRoots(rep *catalog.Roots) {
	next, err := newTrusted(rep)
	if err != nil {
		c.o.Log.Warn("the mesh's roots cannot be used", "err", err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if next == nil || c.roots != nil && c.roots.active == next.active && len(c.roots.all) == len(next.all) {
		return
	}
	c.roots = next
	close(c.changed)
	c.changed = make(chan struct{})
}

// Signs returns what verifies the certificates that the mesh's present root has signed, nil while that is not known, and a
// channel that is closed when it changes. It makes the cache follow the roots.
func (c *Cache) Signs() (signs *connect.Trust, changed <-chan struct{}) {
	c.asked.Do(func() { close(c.wanted) })
	roots, changed := c.known()
	if roots == nil {
		return nil, changed
	}
	return roots.signs, changed
}

// known returns the roots and a channel that is closed when there are others.
func (c *Cache) known() (*trusted, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.roots, c.changed
}

// Get returns the certificate of a service, with its key. With an index it first waits until there is
// another one than that of the index, no longer than wait. The token must be allowed to be the service. The
// certificate must not be changed.
func (c *Cache) Get(ctx context.Context, service, token string, index uint64, wait time.Duration) (*catalog.IssuedCert, error) {
	select {
	case <-c.started:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c.asked.Do(func() { close(c.wanted) })
	e, err := c.enter(key{service, token})
	if err != nil {
		return nil, err
	}
	defer c.leave(e)
	over := time.NewTimer(wait)
	defer over.Stop()
	for {
		at := e.look()
		switch {
		case at.leaf == nil || time.Now().After(at.leaf.ValidBefore):
			if at.err != nil {
				return nil, at.err
			}
		case index == 0 || at.leaf.ModifyIndex != index:
			return at.leaf.IssuedCert, nil
		}
		late := over.C
		if at.leaf == nil {
			late = nil // there is nothing to answer with: the first certificate, or the error, comes soon
		}
		select {
		case <-at.changed:
		case <-late:
			if at = e.look(); at.leaf == nil || time.Now().After(at.leaf.ValidBefore) {
				return nil, cmp.Or(at.err, error(catalog.Errorf(catalog.Unavailable, "the certificate of service %q has ended and could not be renewed", service)))
			}
			return at.leaf.IssuedCert, nil
		case <-ctx.Done():
			return nil, catalog.Errorf(catalog.Unavailable, "the caller stopped waiting for the certificate of service %q: %w", service, ctx.Err())
		}
	}
}

// enter returns the entry of a key with one more reader, and sees to it that somebody keeps it.
func (c *Cache) enter(k key) (*entry, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.life.Err() != nil {
		return nil, catalog.Errorf(catalog.Unavailable, "this agent is about to end")
	}
	e := c.entries[k]
	if e == nil {
		if len(c.entries) >= c.o.Max && !c.evict() {
			return nil, catalog.Errorf(catalog.Limited, "this agent keeps %d certificates and all are waited for: it cannot keep more", len(c.entries))
		}
		e = &entry{cache: c, key: k, state: view{changed: make(chan struct{})}}
		c.entries[k] = e
	}
	e.readers++
	if e.stop == nil {
		var ctx context.Context
		ctx, e.stop = context.WithCancel(c.life)
		e.begin()
		c.keepers.Go(func() { e.keep(ctx) }) // ends with the cache, when nobody asks, or when there is nothing to keep
	}
	return e, nil
}

func (c *Cache) leave(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.readers--
	e.left = time.Now()
}

// evict gives up an entry that nobody reads, the one that was left first. The lock is held.
func (c *Cache) evict() bool {
	var oldest *entry
	for _, e := range c.entries {
		if e.readers == 0 && (oldest == nil || e.left.Before(oldest.left)) {
			oldest = e
		}
	}
	if oldest == nil {
		return false
	}
	delete(c.entries, oldest.key)
	if oldest.stop != nil {
		oldest.stop()
	}
	return true
}

// idle reports whether nobody has read the entry for a while, and if so gives it up.
func (c *Cache) idle(e *entry) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.readers > 0 || time.Since(e.left) < c.o.Idle {
		return false
	}
	if c.entries[e.key] == e {
		delete(c.entries, e.key)
	}
	return true
}

// ended notes that nobody keeps the entry. Who asks next starts anew.
func (c *Cache) ended(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.stop()
	e.stop = nil
}

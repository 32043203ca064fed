package watch

import (
	"cmp"
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/curia-mesh/curia/rpc"
)

// Options configure a Cache. A zero field means its default.
type Options struct {
	// Caller reaches the servers. Required.
	Caller rpc.Caller
	// Datacenter is the agent's own: a query that names it is the one that names none.
	Datacenter string
	// Idle is how long a view without readers is kept up to date; default 5 min.
	Idle time.Duration
	// FailStatic bounds the age of answers that are served while the servers cannot be reached, and how
	// long a view that nobody asks for is remembered; default 72 h.
	FailStatic time.Duration
	// MaxViews bounds the views, and with them the goroutines and the blocking queries at the servers;
	// default 4096. Views that are being read are never given up: a query too many is not remembered.
	MaxViews int
	// MaxBytes bounds, by estimate, the memory of the views that nobody reads; default 64 MiB.
	MaxBytes int64
	// Log may be nil.
	Log *slog.Logger
}

// Cache holds the views of an agent by their queries. It may be used by many goroutines at once.
type Cache struct {
	o     Options
	epoch time.Time
	seed  maphash.Seed
	keys  keys

	bytes   atomic.Int64 // of all views, by estimate
	failing atomic.Int64 // views that cannot be refreshed at the moment
	loops   sync.WaitGroup

	mu    sync.RWMutex // before a view's
	views map[string]*view
	life  context.Context // of the goroutines of views; nil while Run does not run
}

// New returns an empty cache.
func New(o Options) *Cache {
	o.Idle = cmp.Or(o.Idle, 5*time.Minute)
	o.FailStatic = cmp.Or(o.FailStatic, 72*time.Hour)
	o.MaxViews = cmp.Or(o.MaxViews, 4096)
	o.MaxBytes = cmp.Or(o.MaxBytes, 64<<20)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Cache{o: o, epoch: time.Now(), seed: maphash.MakeSeed(), views: map[string]*view{}}
}

// Run lets views be kept up to date until ctx ends, and returns when their goroutines have. Before and
// after, every query goes to the servers by itself.
func (c *Cache) Run(ctx context.Context) error {
	life, cancel := context.WithCancel(ctx)
	defer cancel()
	c.mu.Lock()
	running := c.life != nil
	if !running {
		c.life = life
	}
	c.mu.Unlock()
	if running {
		return errors.New("watch: the cache runs already")
	}
	tick := time.NewTicker(c.o.Idle / 4)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			c.sweep()
		}
	}
	c.mu.Lock()
	c.life = nil
	c.mu.Unlock()
	cancel()
	c.loops.Wait()
	return nil
}

// now is the time on the cache's own clock, which no one sets.
func (c *Cache) now() time.Duration { return time.Since(c.epoch) }

func (c *Cache) find(key []byte) *view {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.views[string(key)]
}

// enter returns the view of a key with one more reader, whom leave takes away again; nil when there is no
// room for another view. Lasting readers always get one.
func (c *Cache) enter(key []byte, call *rpc.Call, lasting bool) *view {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.views[string(key)]
	if v == nil {
		if len(c.views) >= c.o.MaxViews {
			c.evict(c.o.MaxViews - max(1, c.o.MaxViews/16))
		}
		if len(c.views) >= c.o.MaxViews && !lasting {
			return nil
		}
		v = newView(c, string(key), call)
		c.views[v.key] = v
	}
	v.readers++
	v.asked.Store(int64(c.now()))
	return v
}

func (c *Cache) leave(v *view) {
	v.asked.Store(int64(c.now()))
	c.mu.Lock()
	defer c.mu.Unlock()
	if v.readers--; v.readers == 0 {
		c.trim()
	}
}

// trim keeps to the bound of bytes. The lock is held.
func (c *Cache) trim() {
	if c.bytes.Load() > c.o.MaxBytes {
		c.evict(c.o.MaxViews)
	}
}

// evict gives up views that nobody reads until there are at most so many, and their bytes are within
// bounds: first those that were asked for once, so that a flood of names does not wash away the views in
// use, then those that were not asked for the longest. The lock is held.
func (c *Cache) evict(most int) {
	type candidate struct {
		v      *view
		wanted int
		asked  int64
	}
	var unread []candidate
	for _, v := range c.views {
		if v.readers == 0 {
			wanted := 0
			if v.wanted() {
				wanted = 1
			}
			unread = append(unread, candidate{v, wanted, v.asked.Load()})
		}
	}
	slices.SortFunc(unread, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.wanted, b.wanted), cmp.Compare(a.asked, b.asked))
	})
	for _, u := range unread {
		if len(c.views) <= most && c.bytes.Load() <= c.o.MaxBytes {
			return
		}
		c.remove(u.v)
	}
}

// Wake makes what could not be refreshed be tried again at once: the servers are back.
func (c *Cache) Wake() {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, v := range c.views {
		if val := v.current.Load(); val != nil && val.state == failing {
			v.wake()
		}
	}
}

func (c *Cache) remove(v *view) {
	delete(c.views, v.key)
	v.giveUp()
}

// sweep ends the goroutines of views that nobody has read for a while, and forgets those whose value is of
// no use any more.
func (c *Cache) sweep() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	for _, v := range c.views {
		idle := now - time.Duration(v.asked.Load())
		if v.readers > 0 || idle < c.o.Idle {
			continue
		}
		val := v.current.Load()
		if val == nil || !val.follows() || val.age() > c.o.FailStatic {
			c.remove(v)
		} else {
			v.rest()
		}
	}
}

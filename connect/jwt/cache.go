package jwt

import "sync"

// How many tokens are remembered, and of which length at most. A token that is remembered need not have its signature
// looked at again while the keys are the same.
const (
	defaultCached  = 1000
	maxCached      = 1 << 16
	maxCachedToken = 8 << 10
)

// cache remembers tokens that were verified, by their sums: the newest, and those that were asked for since.
type cache struct {
	size       int
	mu         sync.Mutex
	young, old map[[32]byte]cached
}

type cached struct {
	claims Claims
	keys   *Set
}

// get are the claims of a token that was verified with the same keys, nil where it is not known.
func (c *cache) get(sum [32]byte, keys *Set) Claims {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.young[sum]; ok && e.keys == keys {
		return e.claims
	}
	e, ok := c.old[sum]
	if !ok || e.keys != keys {
		return nil
	}
	c.add(sum, e)
	return e.claims
}

func (c *cache) put(sum [32]byte, keys *Set, claims Claims) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(sum, cached{claims, keys})
}

// add makes room by forgetting the older half. The lock is held.
func (c *cache) add(sum [32]byte, e cached) {
	if c.young == nil || len(c.young) >= max(c.size/2, 1) {
		c.old, c.young = c.young, make(map[[32]byte]cached)
	}
	c.young[sum] = e
}

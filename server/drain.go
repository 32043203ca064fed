package server

import (
	"sync"
	"time"
)

// drain counts the calls of others that are under way, so that a server that ends on purpose breaks none.
type drain struct {
	mu    sync.Mutex
	under int
	over  bool
	idle  chan struct{} // closed when it is over and none is under way
}

// drainTimeout bounds the wait for the calls that are under way.
const drainTimeout = 2 * time.Second

func newDrain() *drain { return &drain{idle: make(chan struct{})} }

// enter reports whether another call may begin; leave must follow.
func (d *drain) enter() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over {
		return false
	}
	d.under++
	return true
}

func (d *drain) leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.under--; d.over && d.under == 0 {
		close(d.idle)
	}
}

// end lets no more calls begin and waits for those under way.
func (d *drain) end() {
	d.mu.Lock()
	if d.over = true; d.under == 0 {
		d.mu.Unlock()
		return
	}
	d.mu.Unlock()
	late := time.NewTimer(drainTimeout)
	defer late.Stop()
	select {
	case <-d.idle:
	case <-late.C:
	}
}

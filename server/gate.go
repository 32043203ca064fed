package server

import "sync"

// gate lets many through at the same time until somebody shuts it, who waits until all are out. All waiting is on
// channels. Make it with newGate.
type gate struct {
	turn chan struct{} // held by who has shut it, or is about to

	mu     sync.Mutex
	inside int
	empty  chan struct{} // closed when nobody is inside any more; nil while the gate is open
}

func newGate() *gate { return &gate{turn: make(chan struct{}, 1)} }

// enter reports whether the gate is open; who is let in leaves.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.empty != nil {
		return false
	}
	g.inside++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside--; g.inside == 0 && g.empty != nil {
		close(g.empty)
	}
}

// shut lets nobody in until open, and returns when all have left.
func (g *gate) shut() {
	g.turn <- struct{}{}
	g.mu.Lock()
	empty := make(chan struct{})
	if g.empty = empty; g.inside == 0 {
		close(empty)
	}
	g.mu.Unlock()
	<-empty
}

func (g *gate) open() {
	g.mu.Lock()
	g.empty = nil
	g.mu.Unlock()
	<-g.turn
}

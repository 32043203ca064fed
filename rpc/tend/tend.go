// Package tend keeps a goroutine for each of what is wanted at the moment.
package tend

import (
	"context"
	"sync"
)

// Set is goroutines that each follow one thing. The zero value has none. Its methods are for one goroutine.
type Set[K comparable] struct {
	all     sync.WaitGroup
	running map[K]context.CancelFunc
}

// Keep ends those of what is not wanted any more. They may still be at work when it returns, with a context that has ended.
func (s *Set[K]) Keep(wanted func(K) bool) {
	for k, stop := range s.running {
		if !wanted(k) {
			stop()
			delete(s.running, k)
		}
	}
}

// Begin has k followed until ctx ends or it is not kept, unless it is already.
func (s *Set[K]) Begin(ctx context.Context, k K, follow func(context.Context)) {
	if s.running[k] != nil {
		return
	}
	if s.running == nil {
		s.running = map[K]context.CancelFunc{}
	}
	own, stop := context.WithCancel(ctx)
	s.running[k] = stop
	s.all.Go(func() { follow(own) }) // ends with own
}

// End ends all, and returns when nobody is at work.
func (s *Set[K]) End() {
	s.Keep(func(K) bool { return false })
	s.all.Wait()
}

// Each has each that is wanted followed, until ctx ends or it is not wanted any more. again has a value when others may be
// wanted.
func Each[K comparable](ctx context.Context, again <-chan struct{}, wanted func() map[K]bool, follow func(context.Context, K)) {
	var s Set[K]
	defer s.End()
	for {
		now := wanted()
		s.Keep(func(k K) bool { return now[k] })
		for k := range now {
			s.Begin(ctx, k, func(ctx context.Context) { follow(ctx, k) })
		}
		select {
		case <-again:
		case <-ctx.Done():
			return
		}
	}
}

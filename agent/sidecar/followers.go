package sidecar

import (
	"context"
	"sync"
)

// followers are goroutines that each follow one of what is wanted at the moment. Its methods are for one goroutine.
type followers[K comparable] struct {
	all     sync.WaitGroup
	running map[K]context.CancelFunc
}

// keep ends those of what is not wanted any more. They may still be at work when it returns, with a context that has ended.
func (f *followers[K]) keep(wanted func(K) bool) {
	for k, stop := range f.running {
		if !wanted(k) {
			stop()
			delete(f.running, k)
		}
	}
}

// begin has k followed until ctx ends or it is not kept, unless it is already.
func (f *followers[K]) begin(ctx context.Context, k K, follow func(context.Context)) {
	if f.running[k] != nil {
		return
	}
	if f.running == nil {
		f.running = map[K]context.CancelFunc{}
	}
	own, stop := context.WithCancel(ctx)
	f.running[k] = stop
	f.all.Go(func() { follow(own) }) // ends with own
}

// end ends all, and returns when nobody is at work.
func (f *followers[K]) end() {
	f.keep(func(K) bool { return false })
	f.all.Wait()
}

// followEach has each that is wanted followed, until ctx ends or it is not wanted any more. again has a value when others
// may be wanted.
func followEach[K comparable](ctx context.Context, again <-chan struct{}, wanted func() map[K]bool, follow func(context.Context, K)) {
	var f followers[K]
	defer f.end()
	for {
		now := wanted()
		f.keep(func(k K) bool { return now[k] })
		for k := range now {
			f.begin(ctx, k, func(ctx context.Context) { follow(ctx, k) })
		}
		select {
		case <-again:
		case <-ctx.Done():
			return
		}
	}
}

package state

import (
	"context"

	memdb "github.com/hashicorp/go-memdb"
)

// Watch collects what a read depended on. Its channels close when any of that changes. A nil Watch
// collects nothing.
type Watch struct{ channels []<-chan struct{} }

func (w *Watch) add(ch <-chan struct{}) {
	if w != nil && ch != nil {
		w.channels = append(w.channels, ch)
	}
}

// Fired reports whether something has changed since the read.
func (w *Watch) Fired() bool {
	for _, ch := range w.channels {
		select {
		case <-ch:
			return true
		default:
		}
	}
	return false
}

// Wait blocks until something changes or ctx ends, and returns ctx's error in the second case.
func (w *Watch) Wait(ctx context.Context) error {
	c := [4]<-chan struct{}{}
	if len(w.channels) > len(c) {
		set := memdb.NewWatchSet()
		for _, ch := range w.channels {
			set.Add(ch)
		}
		return set.WatchCtx(ctx)
	}
	copy(c[:], w.channels)
	select {
	case <-c[0]:
	case <-c[1]:
	case <-c[2]:
	case <-c[3]:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

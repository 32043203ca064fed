package state

import (
	"context"
	"reflect"
	"sync/atomic"
)

// cell fires once. Making one, and remembering it, costs next to nothing: its channel is made when
// somebody waits.
type cell struct{ state atomic.Pointer[signal] }

type signal struct{ ch chan struct{} }

// spent is what every cell that has fired holds.
var spent = func() *signal {
	s := &signal{make(chan struct{})}
	close(s.ch)
	return s
}()

func (c *cell) fire() {
	if s := c.state.Swap(spent); s != nil && s != spent {
		close(s.ch)
	}
}

func (c *cell) fired() bool { return c.state.Load() == spent }

func (c *cell) channel() <-chan struct{} {
	if s := c.state.Load(); s != nil {
		return s.ch
	}
	made := &signal{make(chan struct{})}
	if c.state.CompareAndSwap(nil, made) {
		return made.ch
	}
	return c.state.Load().ch // another reader made it, or it has just fired
}

// Watch collects what a read depended on: places in the tables that fire when something changes there.
// A nil Watch collects nothing.
type Watch struct{ cells []*cell }

func (w *Watch) add(c *cell) {
	if w != nil {
		w.cells = append(w.cells, c)
	}
}

// Fired reports whether something has changed since the read.
func (w *Watch) Fired() bool {
	for _, c := range w.cells {
		if c.fired() {
			return true
		}
	}
	return false
}

// Wait blocks until something changes, gone is closed or ctx ends, and returns ctx's error in the last
// case. For gone see Store.Abandoned; nil is never closed.
func (w *Watch) Wait(ctx context.Context, gone <-chan struct{}) error {
	c := [4]<-chan struct{}{}
	if len(w.cells) > len(c) {
		return w.waitAny(ctx, gone)
	}
	for i, cell := range w.cells {
		c[i] = cell.channel()
	}
	select {
	case <-c[0]:
	case <-c[1]:
	case <-c[2]:
	case <-c[3]:
	case <-gone:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

func (w *Watch) waitAny(ctx context.Context, gone <-chan struct{}) error {
	cases := []reflect.SelectCase{
		{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(ctx.Done())},
		{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(gone)},
	}
	for _, cell := range w.cells {
		cases = append(cases, reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(cell.channel())})
	}
	if chosen, _, _ := reflect.Select(cases); chosen == 0 {
		return ctx.Err()
	}
	return nil
}

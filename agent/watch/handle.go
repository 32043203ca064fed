package watch

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/curia-mesh/curia/rpc"
)

// View is the materialised result of one query, kept up to date while it is open. It may be used by many
// goroutines at once.
type View[T any] struct {
	v      *view
	header rpc.Header
	closed sync.Once
}

// Open returns the view of a query, which must be one whose answers have an index. It is shared with all who
// ask the same; it costs nothing until it is read. It must be closed.
func Open[Req, Rep any](c *Cache, m rpc.Method[Req, Rep], h rpc.Header, req *Req) (*View[Rep], error) {
	key, err := c.appendKey(nil, "", m.Name, &h, req)
	if err != nil {
		return nil, err
	}
	h.MinIndex, h.MaxWait = 0, 0
	call := &rpc.Call{Method: m.Name, Header: h, Body: req, NewReply: func() any { return new(Rep) }}
	return &View[Rep]{v: c.enter(key, call, true), header: h}, nil
}

// Wait returns the result and its index. With an index it blocks until the result's is above that or has
// gone back below it; pass the last index to see every change, though those that come fast may come as one.
// While the servers cannot be reached the last result stands. Errors are the servers', and ctx's.
func (w *View[T]) Wait(ctx context.Context, minIndex uint64) (*T, uint64, error) {
	answer, _, err := w.ask(ctx, minIndex)
	if err != nil {
		return nil, 0, err
	}
	rep, ok := answer.Value().(*T)
	if !ok {
		return nil, 0, fmt.Errorf("%s answered with %T, want %T", w.v.call.Method, answer.Value(), rep)
	}
	return rep, answer.Meta.Index, nil
}

// Load returns the result as it is in memory, and how old it is; nil when there is none yet.
func (w *View[T]) Load() (*T, State) {
	val := w.v.current.Load()
	if val == nil {
		return nil, State{}
	}
	rep, _ := val.answer.Value().(*T)
	return rep, State{Hit: true, Age: val.age(), Err: val.err}
}

// Close lets the view go. It ends no Wait.
func (w *View[T]) Close() { w.closed.Do(func() { w.v.cache.leave(w.v) }) }

func (w *View[T]) ask(ctx context.Context, minIndex uint64) (rpc.Answer, State, error) {
	h := w.header
	h.MinIndex = minIndex
	if minIndex == 0 {
		if answer, state, ok := w.v.hit(&h, Policy{}); ok {
			return answer, state, nil
		}
		answer, state, err := w.v.read(ctx, h, Policy{})
		if err == nil {
			w.v.follow(state.Err)
		}
		return answer, state, err
	}
	for quiet := 1; ; quiet++ {
		start := time.Now()
		answer, state, err := w.v.wait(ctx, h, Policy{})
		if err != nil || answer.Meta.Index != minIndex {
			return answer, state, err
		}
		if time.Since(start) < soon {
			pause(ctx, nil, backoff(pace, quiet)) // a server that should have waited must not be asked in a storm
		}
	}
}

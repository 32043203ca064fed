package rpc

import (
	"context"
	"time"
)

// Waker is a caller in this process that holds no goroutine while its call waits for a change.
type Waker interface {
	// Wake tells it to make the call again: the answer has changed, or waiting has no use any more. It is
	// called at most once for each Parked, from any goroutine and maybe before that was returned. It must
	// neither block nor call back.
	Wake()
}

// Parked is the error of a call that has to wait for its answer and was made by a Waker. Who crosses a
// network never gets it.
type Parked struct {
	// Wait is how long the call wants to wait at most; the caller sees to that.
	Wait time.Duration
	// Leave ends the waiting. It has to be called, woken or not, and may be called again.
	Leave func()
}

// Error implements error.
func (p *Parked) Error() string { return "rpc: the call waits without its caller" }

type wakerKey struct{}

// WithWaker lets a call made with the context be parked instead of waiting itself.
func WithWaker(ctx context.Context, w Waker) context.Context {
	return context.WithValue(ctx, wakerKey{}, w)
}

// WakerOf is the context's waker, nil when there is none.
func WakerOf(ctx context.Context) Waker {
	w, _ := ctx.Value(wakerKey{}).(Waker)
	return w
}

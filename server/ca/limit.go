package ca

import (
	"context"
	"sync"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

// patience is how long a request waits for its turn before it is told to come again.
const patience = 500 * time.Millisecond

// limiter bounds how many requests are signed: how many at once, or where that has no bound, how many in a
// second, evenly spread.
type limiter struct {
	mu       sync.Mutex
	interval time.Duration // between two; 0 is no bound
	next     time.Time     // when the next one may begin
	places   chan struct{} // nil is no bound
}

func (l *limiter) set(perSecond float64, concurrent int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.interval = 0
	if concurrent != cap(l.places) {
		l.places = nil
		if concurrent > 0 {
			l.places = make(chan struct{}, concurrent)
		}
	}
	if concurrent == 0 && perSecond > 0 {
		l.interval = time.Duration(float64(time.Second) / perSecond)
	}
}

func limited() error {
	return catalog.Errorf(catalog.Limited, "too many certificate requests at the moment: try again later, or raise CSRMaxPerSecond or CSRMaxConcurrent of the CA")
}

// enter waits for a turn, no longer than patience, and returns how to end it.
func (l *limiter) enter(ctx context.Context) (release func(), err error) {
	l.mu.Lock()
	places, now := l.places, time.Now()
	turn := now
	if l.interval > 0 && l.next.After(now) {
		turn = l.next
	}
	if l.interval > 0 && turn.Sub(now) > patience {
		l.mu.Unlock()
		return nil, limited()
	}
	l.next = turn.Add(l.interval)
	l.mu.Unlock()
	late := time.NewTimer(patience)
	defer late.Stop()
	if places != nil {
		select {
		case places <- struct{}{}:
			return func() { <-places }, nil
		case <-late.C:
			return nil, limited()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if turn.After(now) {
		wait := time.NewTimer(turn.Sub(now))
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return func() {}, nil
}

package balance

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// BreakerPolicy says when a Breaker opens. 0 is the default.
// Source: https://github.com/Netflix/Hystrix/wiki/Configuration#circuit-breaker
type BreakerPolicy struct {
	Window  time.Duration // over which errors are counted; 10 s
	Volume  int           // of requests in it, below which it does not open; 20
	Percent int           // of errors, from which it does; 50
	Sleep   time.Duration // until one request tries again; 5 s
}

// Breaker stops requests to a target that fails as a whole. Open, it refuses all; after a while one request tries, and
// decides whether it closes. It looks at the share of errors and not at how quickly they come.
type Breaker struct {
	policy BreakerPolicy
	open   atomic.Bool

	window window // kind 0: good; 1: bad

	mu      sync.Mutex // guards what follows
	until   time.Duration
	trying  bool
	because [2]int64
}

// NewBreaker returns a closed breaker.
func NewBreaker(p BreakerPolicy) *Breaker {
	p.Window = max(or(p.Window, 10*time.Second), parts)
	p.Volume = or(p.Volume, 20)
	p.Percent = or(p.Percent, 50)
	p.Sleep = or(p.Sleep, 5*time.Second)
	b := &Breaker{policy: p}
	b.window.span = p.Window
	return b
}

// Pass is what a request has been allowed as: an ordinary one, or the one that tries.
type Pass bool

// Allow returns the pass of a request that may be made, of which Report is to be told, or why not.
func (b *Breaker) Allow(now time.Duration) (Pass, error) {
	if !b.open.Load() {
		return false, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !b.open.Load():
		return false, nil
	case b.trying:
		return false, fmt.Errorf("the circuit breaker is open and one request tries whether the service works again: %s", b.cause())
	case now < b.until:
		return false, fmt.Errorf("the circuit breaker is open for %v more: %s", (b.until - now).Round(time.Millisecond), b.cause())
	}
	b.trying = true
	return true, nil
}

// cause says why it is open. b.mu is held.
func (b *Breaker) cause() string {
	return fmt.Sprintf("%d of %d requests had failed", b.because[1], b.because[0]+b.because[1])
}

// Report says how a request ended that was allowed. One that says nothing (the client went away) is Canceled.
func (b *Breaker) Report(now time.Duration, pass Pass, out Outcome) {
	bad := 0
	if out != Success && out != Limited && out != Canceled {
		bad = 1
	}
	if pass {
		b.tried(now, out, bad == 1)
		return
	}
	if out == Canceled || b.open.Load() {
		return // it was begun before the breaker opened, and says nothing new
	}
	b.window.add(now, bad)
	if bad == 0 {
		return
	}
	n := b.window.sum(now)
	if all := n[0] + n[1]; all < int64(b.policy.Volume) || n[1]*100 < int64(b.policy.Percent)*all {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open.Load() {
		b.trip(now)
		b.because = n
	}
}

// tried ends the one request that tries.
func (b *Breaker) tried(now time.Duration, out Outcome, bad bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case out == Canceled:
		b.trying = false // the next one tries
	case bad:
		b.trip(now)
	default:
		b.trying = false
		b.window.clear()
		b.open.Store(false)
	}
}

func (b *Breaker) trip(now time.Duration) {
	b.trying, b.until = false, now+b.policy.Sleep
	b.open.Store(true)
}

// Reason says why the breaker refuses requests; empty when it does not.
func (b *Breaker) Reason() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open.Load() {
		return ""
	}
	return b.cause()
}

// Open reports whether the breaker refuses requests.
func (b *Breaker) Open() bool { return b.open.Load() }

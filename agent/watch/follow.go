package watch

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/curia-mesh/curia/rpc"
)

const (
	// followWait is how long the servers hold the blocking query of a view. A token that has lost its
	// rights shows within this time.
	followWait = 5 * time.Minute
	// pace is the shortest time between two blocking queries of a view: a query whose result changes all
	// the time is not transferred more often.
	pace = 50 * time.Millisecond
	// soon is how fast a blocking query that waited for nothing comes back.
	soon = time.Second

	firstPause   = 500 * time.Millisecond
	longestPause = 30 * time.Second
)

// follow starts the goroutine that keeps the value up to date unless there is one, and reports whether
// there is one then. err is why the value could not be refreshed just now.
func (v *view) follow(err error) bool {
	c := v.cache
	c.mu.RLock() // Run waits only for goroutines that were started under it
	defer c.mu.RUnlock()
	v.mu.Lock()
	defer v.mu.Unlock()
	val := v.current.Load()
	if v.stop != nil {
		return true
	}
	if c.life == nil || v.gone || val == nil || !val.follows() {
		return false
	}
	ctx, cancel := context.WithCancel(c.life)
	v.stop = cancel
	next := *val
	next.state, next.err = followed, err
	if err != nil {
		next.state = failing
	}
	v.put(&next, err != nil)
	c.loops.Go(func() { v.keep(ctx) }) // ends with the cache, or when nobody has read the view for a while
	return true
}

// keep refreshes the value until ctx ends, or it cannot be followed any more.
func (v *view) keep(ctx context.Context) {
	defer v.kept()
	for failures, quiet := 0, 0; ; {
		val := v.current.Load()
		if val == nil {
			return
		}
		if val.state != failing && failures > 0 {
			failures = 0
			v.recovered()
		}
		if val.state == failing && failures == 0 { // it begins with a failure
			failures++
			v.lost(val.err)
			pause(ctx, v.kick, backoff(firstPause, failures))
		}
		start := time.Now()
		var r reading
		var err error
		if val.state == failing { // whether the servers are back shows only in an answer that does not wait
			r, err = v.ask(ctx, 0, 0, fetchTimeout)
		} else {
			// The servers add up to a sixteenth to the wait.
			r, err = v.ask(ctx, val.index(), followWait, followWait+followWait/16+fetchTimeout)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			if !v.failed(err) {
				return
			}
			if failures++; failures == 1 {
				v.lost(err)
			}
			pause(ctx, v.kick, backoff(firstPause, failures))
			continue
		}
		if !v.refreshed(r) {
			return
		}
		took := time.Since(start)
		if r.answer.Meta.Index == val.index() && val.state == followed && took < soon {
			quiet++ // a server that should have waited: it must not be asked in a storm
			pause(ctx, v.kick, backoff(pace, quiet))
			continue
		}
		quiet = 0
		pause(ctx, v.kick, pace-took)
	}
}

// refreshed takes an answer of the goroutine's, and reports whether it goes on.
func (v *view) refreshed(r reading) bool {
	val := v.take(r, true)
	if c := v.cache; c.bytes.Load() > c.o.MaxBytes {
		c.mu.Lock()
		c.trim()
		c.mu.Unlock()
	}
	return val.state == followed
}

// lost and recovered tell the operator, once for all views.
func (v *view) lost(err error) {
	if c := v.cache; c.failing.Load() == 1 {
		c.o.Log.Warn("a view cannot be refreshed: its last answer is served meanwhile", "method", v.call.Method, "dc", v.call.Header.Datacenter, "err", err)
	}
}

func (v *view) recovered() {
	if v.cache.failing.Load() == 0 {
		v.cache.o.Log.Info("the servers answer again: views are kept up to date")
	}
}

// failed notes that the value could not be refreshed, and reports whether to try again: not after a
// definite error, and not when the value has become too old to serve.
func (v *view) failed(err error) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	old := v.current.Load()
	if v.gone || old == nil {
		return false
	}
	if definite(err) || old.age() > v.cache.o.FailStatic {
		v.dropLocked()
		return false
	}
	next := *old
	next.state, next.err = failing, err
	if old.state == followed {
		next.since = time.Now()
	}
	v.put(&next, old.state == followed)
	return true
}

// kept notes that the goroutine has ended. Whoever waits starts the next one.
func (v *view) kept() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.stop()
	v.stop = nil
	old := v.current.Load()
	if v.gone || old == nil {
		return
	}
	next := *old
	next.state, next.err = kept, nil
	if old.state == followed {
		next.since = time.Now()
	}
	v.put(&next, true)
}

// backoff doubles a pause with each failure, up to longestPause, and takes off or adds up to a half: many
// agents must not come back at once.
func backoff(first time.Duration, failures int) time.Duration {
	d := min(first<<min(failures-1, 10), longestPause)
	return d/2 + rand.N(d)
}

// pause waits until d is over, kick brings something, or ctx ends.
func pause(ctx context.Context, kick <-chan struct{}, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-kick:
	case <-ctx.Done():
	}
}

// pass makes a reader's call as it is.
func (v *view) pass(ctx context.Context, h rpc.Header) (rpc.Answer, State, error) {
	call := v.call
	call.Header, call.NewReply = h, v.reply
	answer, err := v.cache.o.Caller.Call(ctx, &call)
	if err != nil {
		return rpc.Answer{}, State{}, err
	}
	if answer.Body == nil {
		return rpc.Answer{}, State{}, bodiless(call.Method)
	}
	if val := v.current.Load(); !answer.Watched() && val != nil && val.answer.Watched() {
		v.drop() // another server answers now: from here on the view has to be followed
	}
	return answer, State{}, nil
}

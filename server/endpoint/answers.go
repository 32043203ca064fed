package endpoint

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
)

// Bounds of blocking queries.
// Source: https://developer.hashicorp.com/consul/api-docs/features/blocking
const (
	DefaultWait = 5 * time.Minute
	MaxWait     = 10 * time.Minute
	// jitterShare of the wait is added at random, so that many clients do not come back at once.
	jitterShare = 16
)

// answers shares one result among all who ask the same question: whoever waits for a change of it waits
// for the same re-read, and the reply is encoded once.
type answers struct {
	mu   sync.Mutex
	open map[string]*question
}

// Questions nobody asks are forgotten after idleQuestions, and sooner when there are too many.
const (
	idleQuestions = time.Minute
	maxQuestions  = 8192
)

// question is one canonical query and its present result.
type question struct {
	current atomic.Pointer[result]
	asked   atomic.Int64 // when, Unix nanoseconds

	mu      sync.Mutex // held while reading anew
	read    func() (*result, error)
	waiting int
	unwatch context.CancelFunc // ends the goroutine that watches while anyone waits
}

// result is an answer at one version of the store.
type result struct {
	body      *rpc.Body
	index     uint64
	filtered  bool
	watch     state.Watch
	abandoned <-chan struct{} // the store was replaced by a restore
	changed   chan struct{}   // closed when another index follows
	overtaken atomic.Bool
}

// stale reports whether the store has changed under the result.
func (r *result) stale() bool {
	if r.overtaken.Load() {
		return true
	}
	select {
	case <-r.abandoned:
	default:
		if !r.watch.Fired() {
			return false
		}
	}
	r.overtaken.Store(true)
	return true
}

// ask returns the question's result, after waiting for an index above h.MinIndex when that is set.
func (a *answers) ask(ctx context.Context, r *Registry, key string, h rpc.Header, read func() (*result, error)) (*result, error) {
	q := a.find(key, read)
	found, err := q.fresh()
	if err != nil || h.MinIndex == 0 || found.index > h.MinIndex || h.MinIndex > r.host.Applied() {
		return found, err
	}
	return q.wait(ctx, found, h)
}

func (a *answers) find(key string, read func() (*result, error)) *question {
	now := time.Now().UnixNano()
	a.mu.Lock()
	defer a.mu.Unlock()
	q := a.open[key]
	if q == nil {
		if len(a.open) >= maxQuestions {
			a.forget(now, idleQuestions/10)
		}
		q = &question{read: read}
		a.open[key] = q
	}
	q.asked.Store(now)
	return q
}

// forget drops the questions that nobody waits on or has asked for a while. The lock is held.
func (a *answers) forget(now int64, idle time.Duration) {
	for key, q := range a.open {
		if now-q.asked.Load() < int64(idle) || !q.mu.TryLock() {
			continue
		}
		if q.waiting == 0 {
			delete(a.open, key)
		}
		q.mu.Unlock()
	}
	for key, q := range a.open { // too many at once: whichever nobody waits on
		if len(a.open) < maxQuestions {
			break
		}
		if q.mu.TryLock() {
			if q.waiting == 0 {
				delete(a.open, key)
			}
			q.mu.Unlock()
		}
	}
}

// Run forgets idle questions until ctx ends.
func (r *Registry) Run(ctx context.Context) error {
	tick := time.NewTicker(idleQuestions / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			r.answers.mu.Lock()
			r.answers.forget(now.UnixNano(), idleQuestions)
			r.answers.mu.Unlock()
		}
	}
}

// fresh returns a result that no change has overtaken.
func (q *question) fresh() (*result, error) {
	if r := q.current.Load(); r != nil && !r.stale() {
		return r, nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.refresh()
}

// refresh reads anew if the result is stale. A change that leaves the index as it was is none to those
// who wait: they keep their channel and everybody the encoded body. The lock is held.
func (q *question) refresh() (*result, error) {
	old := q.current.Load()
	if old != nil && !old.stale() {
		return old, nil
	}
	next, err := q.read()
	if err != nil {
		return nil, err
	}
	if old != nil && next.index == old.index && next.abandoned == old.abandoned {
		next.changed = old.changed
		next.body = old.body.Renewed(next.stale)
		q.current.Store(next)
		return next, nil
	}
	q.current.Store(next)
	if old != nil {
		close(old.changed)
	}
	return next, nil
}

// wait blocks until the result's index is above h.MinIndex, the wait is over or ctx ends.
func (q *question) wait(ctx context.Context, found *result, h rpc.Header) (*result, error) {
	span := h.MaxWait
	if span <= 0 {
		span = DefaultWait
	}
	span = min(span, MaxWait)
	span += rand.N(span/jitterShare + 1)
	over := time.NewTimer(span)
	defer over.Stop()
	q.join()
	defer q.leave()
	for {
		// Between the first read and join nobody watched: look once more.
		now, err := q.fresh()
		if err != nil || now.index > h.MinIndex {
			return now, err
		}
		if now.changed != found.changed && now.index < found.index {
			return now, nil // a restore took the index back
		}
		select {
		case <-now.changed:
		case <-now.abandoned:
			return q.fresh()
		case <-over.C:
			return q.fresh()
		case <-ctx.Done():
			return nil, catalog.Errorf(catalog.Unavailable, "the caller stopped waiting: %w", ctx.Err())
		}
	}
}

// join counts one more who waits; the first starts the goroutine that watches, the last to leave ends it.
func (q *question) join() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting++
	if q.waiting > 1 {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	q.unwatch = cancel
	go q.keep(ctx)
}

func (q *question) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting--
	q.asked.Store(time.Now().UnixNano())
	if q.waiting == 0 {
		q.unwatch()
	}
}

// keep reads anew after every change, until ctx ends with the last who waits.
func (q *question) keep(ctx context.Context) {
	for {
		r := q.current.Load()
		if !r.stale() {
			select {
			case <-r.abandoned:
				return // whoever waits asks again by itself
			default:
			}
			if r.watch.Wait(ctx) != nil {
				return
			}
		}
		q.mu.Lock()
		_, err := q.refresh()
		q.mu.Unlock()
		if err != nil || ctx.Err() != nil {
			return
		}
	}
}

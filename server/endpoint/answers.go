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
	mu     sync.Mutex
	open   map[string]*question
	weight atomic.Int64 // of all present results, in bytes
	// From how many questions, and how much weight, on there are too many. More than the limits when even
	// then nothing could be forgotten, because somebody waits on each.
	crowd int
	heavy int64
}

// Questions nobody asks are forgotten after idleQuestions. When there are too many, or their results
// weigh too much, the idle ones go first, then whichever nobody waits on, until a quarter is free.
const (
	idleQuestions = time.Minute
	maxQuestions  = 8192
	maxWeight     = 64 << 20
)

// question is one canonical query and its present result.
type question struct {
	current atomic.Pointer[result] // nil before the first read, and after one that failed
	asked   atomic.Int64           // when, Unix nanoseconds

	mu        sync.Mutex // held while reading anew
	read      func() (*result, error)
	total     *atomic.Int64 // the weight of all results
	own       int64         // the weight of the question itself
	forgotten bool          // its results do not weigh any more
	waiting   int
	parked    map[rpc.Waker]uint64 // of those who wait, the ones without a goroutine and their h.MinIndex
	watcher   *watcher             // reads anew after every change, while anybody waits
}

// watcher is the right to read a question anew; another one may be about to end.
type watcher struct{ stop context.CancelFunc }

// result is an answer at one version of the store.
type result struct {
	body      *rpc.Body
	index     uint64
	weight    int64 // about how many bytes it and its encodings take
	filtered  bool
	watch     state.Watch
	abandoned <-chan struct{} // the store was replaced by a restore
	changed   chan struct{}   // closed when another index follows, or an error
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
	if w := rpc.WakerOf(ctx); w != nil {
		return nil, q.park(found, h, w)
	}
	return q.wait(ctx, found, h)
}

func (a *answers) find(key string, read func() (*result, error)) *question {
	now := time.Now().UnixNano()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.open) >= max(a.crowd, maxQuestions) || a.weight.Load() > max(a.heavy, maxWeight) {
		a.forget(now, idleQuestions/10)
		a.shrink()
	}
	q := a.open[key]
	if q == nil {
		q = &question{read: read, total: &a.weight, own: 3 * int64(len(key))} // the key, its parts and what they were sent in
		a.open[key] = q
		a.weight.Add(q.own)
	}
	q.asked.Store(now)
	return q
}

// forget drops the questions that nobody waits on or has asked for a while. The lock is held.
func (a *answers) forget(now int64, idle time.Duration) {
	for key, q := range a.open {
		if now-q.asked.Load() >= int64(idle) {
			a.drop(key, q)
		}
	}
}

// shrink drops questions that nobody waits on until there is room. The lock is held.
func (a *answers) shrink() {
	for key, q := range a.open {
		if len(a.open) <= maxQuestions*3/4 && a.weight.Load() <= maxWeight*3/4 {
			break
		}
		a.drop(key, q)
	}
	a.crowd, a.heavy = len(a.open)+maxQuestions/4, a.weight.Load()+maxWeight/4
}

// drop forgets a question unless somebody waits on it or just reads it. The lock is held.
func (a *answers) drop(key string, q *question) {
	if !q.mu.TryLock() {
		return
	}
	defer q.mu.Unlock()
	if q.waiting > 0 {
		return
	}
	delete(a.open, key)
	q.forgotten = true
	a.weight.Add(-q.own)
	if r := q.current.Load(); r != nil {
		a.weight.Add(-r.weight)
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
	if err == nil {
		q.watched()
	}
	if err == nil && old != nil && next.index == old.index && next.abandoned == old.abandoned {
		next.changed = old.changed
		next.body = old.body.Renewed(next.stale)
		q.present(old, next)
		return next, nil
	}
	q.present(old, next)
	if old != nil {
		close(old.changed)
		q.wake(old, next)
	}
	return next, err
}

// present makes next, which is nil after an error, the present result. The lock is held.
func (q *question) present(old, next *result) {
	q.current.Store(next)
	if q.forgotten {
		return
	}
	if old != nil {
		q.total.Add(-old.weight)
	}
	if next != nil {
		q.total.Add(next.weight)
	}
}

// wait blocks until the result's index is above h.MinIndex, the wait is over or ctx ends.
func (q *question) wait(ctx context.Context, found *result, h rpc.Header) (*result, error) {
	over := time.NewTimer(Span(h))
	defer over.Stop()
	q.mu.Lock()
	q.join()
	q.mu.Unlock()
	defer func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.leave()
	}()
	for {
		// Between the first read and join nobody watched: look once more.
		now, err := q.fresh()
		if err != nil || ended(found, now, h.MinIndex) {
			return now, err
		}
		select {
		case <-now.changed:
		case <-over.C:
			return q.fresh()
		case <-ctx.Done():
			return nil, catalog.Errorf(catalog.Unavailable, "the caller stopped waiting: %w", ctx.Err())
		}
	}
}

// Span is how long a blocking query waits at most, with what chance adds to it.
func Span(h rpc.Header) time.Duration {
	s := h.MaxWait
	if s <= 0 {
		s = DefaultWait
	}
	s = min(s, MaxWait)
	return s + rand.N(s/jitterShare+1)
}

// park lets somebody wait who is woken as wait would return.
func (q *question) park(found *result, h rpc.Header, w rpc.Waker) *rpc.Parked {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.join()
	if q.parked == nil {
		q.parked = map[rpc.Waker]uint64{}
	}
	q.parked[w] = h.MinIndex
	if now := q.current.Load(); ended(found, now, h.MinIndex) { // between the first read and join nobody watched
		q.release(w)
	}
	return &rpc.Parked{Wait: Span(h), Leave: func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if _, in := q.parked[w]; in {
			delete(q.parked, w)
			q.leave()
		}
	}}
}

// ended reports whether who waits for an index above min since a result has nothing to wait for any more:
// also when reading failed, or a restore may have taken the index back.
func ended(since, now *result, min uint64) bool {
	return now == nil || now.index > min || now.abandoned != since.abandoned
}

// wake wakes the parked whose wait is over with a new result. The lock is held.
func (q *question) wake(old, next *result) {
	for w, min := range q.parked {
		if ended(old, next, min) {
			q.release(w)
		}
	}
}

// release wakes one of the parked. The lock is held.
func (q *question) release(w rpc.Waker) {
	delete(q.parked, w)
	q.leave()
	w.Wake()
}

// join counts one more who waits. The lock is held.
func (q *question) join() {
	q.waiting++
	q.watched()
}

// watched sees to it that somebody watches while anybody waits. The lock is held.
func (q *question) watched() {
	if q.waiting > 0 && q.watcher == nil {
		ctx, cancel := context.WithCancel(context.Background())
		q.watcher = &watcher{cancel}
		go q.keep(ctx, q.watcher) // ends when the last who waits leaves, or with an error
	}
}

// leave counts one less; the last one ends the watch. The lock is held.
func (q *question) leave() {
	q.waiting--
	q.asked.Store(time.Now().UnixNano())
	if q.waiting == 0 && q.watcher != nil {
		q.watcher.stop()
		q.watcher = nil
	}
}

// keep reads anew after every change, until ctx ends or there is nothing to watch because reading
// failed: those who wait have been woken then and look for themselves.
func (q *question) keep(ctx context.Context, w *watcher) {
	defer w.stop()
	for {
		r := q.current.Load()
		if r != nil && !r.stale() && r.watch.Wait(ctx, r.abandoned) != nil {
			return
		}
		q.mu.Lock()
		if q.watcher != w {
			q.mu.Unlock()
			return
		}
		if _, err := q.refresh(); err != nil {
			q.watcher = nil
			q.mu.Unlock()
			return
		}
		q.mu.Unlock()
	}
}

package watch

import (
	"context"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
)

// fetchTimeout bounds a call that does not block.
const fetchTimeout = 15 * time.Second

// view is one query and the last answer to it.
type view struct {
	cache   *Cache
	key     string
	call    rpc.Call // as the goroutine makes it, its index and its wait aside
	reply   func() any
	current atomic.Pointer[value] // nil before the first answer, and after one that cannot stand any more
	asked   atomic.Int64          // when, on the cache's clock
	asks    atomic.Int64          // how often it was asked for; from the second time on not exact
	kick    chan struct{}         // wakes the goroutine when it pauses before it tries again

	readers int // guarded by the cache's lock

	mu      sync.Mutex // held for moments, never while calling
	flight  *flight
	flights uint64
	stop    context.CancelFunc // ends the goroutine; nil when there is none
	gone    bool
}

// value is an answer and what is known of it. It is never changed.
type value struct {
	answer rpc.Answer
	state  state
	since  time.Time // when it was last known to be current; means nothing while it is followed
	err    error     // why it cannot be refreshed; only of failing ones
	// changed is closed when a value takes its place that readers wait for.
	changed chan struct{}
	hash    uint64 // of its encoding
	size    int64  // bytes, by estimate
}

type state uint8

const (
	kept     state = iota // nobody refreshes it
	followed              // a blocking query is under way
	failing               // the goroutine tries again and again
)

func (val *value) index() uint64 { return val.answer.Meta.Index }

// follows reports whether a goroutine can follow the answer: it has an index, and does not know by itself
// when it is stale.
func (val *value) follows() bool { return val.index() > 0 && !val.answer.Watched() }

// stands reports whether the answer itself says that nothing has overtaken it.
func (val *value) stands() bool { return val.answer.Watched() && !val.answer.Stale() }

func (val *value) age() time.Duration {
	if val.state == followed || val.stands() {
		return 0
	}
	return time.Since(val.since)
}

// overhead is what a view costs besides its key and its answer, in bytes.
const overhead = 1 << 10

func newView(c *Cache, key string, call *rpc.Call) *view {
	v := &view{cache: c, key: key, call: *call, reply: call.NewReply, kick: make(chan struct{}, 1)}
	v.call.NewReply = nil // the encoded answer tells its size, and whether it is the last one again
	h := call.Header
	v.call.Header = rpc.Header{Datacenter: h.Datacenter, Token: h.Token, Consistency: h.Consistency, Filter: h.Filter}
	c.bytes.Add(v.weight())
	return v
}

// wanted reports whether the view was of use more than once.
func (v *view) wanted() bool { return v.asks.Load() > 1 }

// weight is what the view costs without an answer; the request is about as long as the key.
func (v *view) weight() int64 { return overhead + 2*int64(len(v.key)) }

// reading is an answer that has just come.
type reading struct {
	answer rpc.Answer
	asked  time.Time
	hash   uint64
	size   int64
}

// ask makes the view's call, blocking above an index unless that is 0.
func (v *view) ask(ctx context.Context, index uint64, wait, limit time.Duration) (reading, error) {
	call := v.call
	call.Header.MinIndex, call.Header.MaxWait = index, wait
	r := reading{asked: time.Now()}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var err error
	if r.answer, err = v.cache.o.Caller.Call(limited, &call); err != nil {
		if ctx.Err() == nil && limited.Err() != nil {
			err = catalog.Errorf(catalog.Unavailable, "%s: no answer within %s", call.Method, limit)
		}
		return r, err
	}
	if r.answer.Body == nil {
		return r, bodiless(call.Method)
	}
	raw, ok := r.answer.Value().(rpc.Raw)
	if !ok {
		return r, nil // made in this process
	}
	r.hash, r.size = maphash.Bytes(v.cache.seed, raw), 4*int64(len(raw))
	if old := v.current.Load(); old != nil && old.hash == r.hash && old.size == r.size && !old.answer.Watched() {
		r.answer.Body = old.answer.Body // with the encodings that have been made of it
		return r, nil
	}
	reply := v.reply()
	if err := rpc.Decode(raw, reply); err != nil {
		return r, catalog.Errorf(catalog.Internal, "answer to %s: %w", call.Method, err)
	}
	r.answer.Body = rpc.NewBody(reply, nil)
	return r, nil
}

func bodiless(method string) error {
	return catalog.Errorf(catalog.Internal, "%s: the answer has no body", method)
}

// flight is a call that all who need its answer wait for.
type flight struct {
	number    uint64
	done      chan struct{}
	value     *value
	err       error
	abandoned bool // whoever made the call gave up
}

// fetch asks the servers and returns the view's value afterwards. All who fetch at once share one call; a
// fresh fetch takes only one that began after it.
func (v *view) fetch(ctx context.Context, fresh bool) (*value, error) {
	v.mu.Lock()
	need := v.flights
	if v.flight == nil || fresh {
		need++
	}
	for {
		f := v.flight
		if f == nil {
			v.flights++
			f = &flight{number: v.flights, done: make(chan struct{})}
			v.flight = f
			v.mu.Unlock()
			v.fly(ctx, f)
			return f.value, f.err
		}
		v.mu.Unlock()
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, stopped(ctx)
		}
		if f.number >= need && !f.abandoned {
			return f.value, f.err
		}
		v.mu.Lock()
	}
}

// fly makes a flight's call, in the goroutine of the first who needs it: whoever asks has one already.
func (v *view) fly(ctx context.Context, f *flight) {
	f.abandoned = true
	defer func() {
		v.mu.Lock()
		v.flight = nil
		v.mu.Unlock()
		close(f.done)
	}()
	r, err := v.ask(ctx, 0, 0, fetchTimeout)
	switch {
	case err == nil:
		f.value = v.take(r, false)
	case ctx.Err() != nil:
		f.err = stopped(ctx)
		return
	default:
		f.err = err
		if definite(err) {
			v.drop()
		}
	}
	f.abandoned = false
}

func stopped(ctx context.Context) error {
	return catalog.Errorf(catalog.Unavailable, "the caller stopped waiting: %w", ctx.Err())
}

// definite errors are the servers' answer to this query; with any other there is none.
func definite(err error) bool {
	switch catalog.CodeOf(err) {
	case catalog.NotFound, catalog.Invalid, catalog.TooLarge, catalog.Denied, catalog.Conflict:
		return true
	}
	return false
}

// take makes an answer the view's value, and returns the value there is then.
func (v *view) take(r reading, following bool) *value {
	v.mu.Lock()
	defer v.mu.Unlock()
	old := v.current.Load()
	next := &value{answer: r.answer, since: r.asked, hash: r.hash, size: r.size}
	switch {
	case v.gone, following && old == nil: // given up in the meantime
		return next
	case following && r.answer.Meta.Index < old.index() && old.since.After(r.asked):
		return old // which was asked for later; asking again tells whether the index has gone back
	case !next.follows():
	case following:
		next.state = followed
	case v.stop != nil && old != nil:
		if old.state == followed && r.answer.Meta.Index < old.index() {
			return old // what is followed is newer, or is about to go back by itself
		}
		next.state = followed // from this index on, by a goroutine that must not pause any longer
		v.wake()
	}
	v.put(next, old != nil && old.state == failing)
	return next
}

// wake makes the goroutine that pauses go on.
func (v *view) wake() {
	select {
	case v.kick <- struct{}{}:
	default: // it is about to
	}
}

// put swaps the value. Readers wake when the index changed, or if they are to see what else did. The lock
// is held.
func (v *view) put(next *value, wake bool) {
	old := v.current.Load()
	switch {
	case old == nil:
		next.changed = make(chan struct{})
	case wake || old.index() != next.index():
		next.changed = make(chan struct{})
		close(old.changed)
	default:
		next.changed = old.changed
	}
	v.current.Store(next)
	v.count(old, -1)
	v.count(next, 1)
}

func (v *view) count(val *value, sign int64) {
	if val == nil {
		return
	}
	v.cache.bytes.Add(sign * val.size)
	if val.state == failing {
		v.cache.failing.Add(sign)
	}
}

// drop forgets the value: whoever waits has to ask the servers.
func (v *view) drop() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.dropLocked()
}

func (v *view) dropLocked() {
	if old := v.current.Swap(nil); old != nil {
		close(old.changed)
		v.count(old, -1)
	}
	if v.stop != nil {
		v.stop()
	}
}

// giveUp ends a view that is out of the cache.
func (v *view) giveUp() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.dropLocked()
	v.gone = true
	v.cache.bytes.Add(-v.weight())
}

// rest ends the goroutine. The value stays.
func (v *view) rest() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.stop != nil {
		v.stop()
	}
}

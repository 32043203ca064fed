// Package share makes one blocking query of those that ask the same, for who passes on the queries of many.
package share

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/curia-mesh/curia/rpc"
)

// Options configure Queries. All fields are required.
type Options struct {
	// Next answers.
	Next rpc.Caller
	// Span is how long a query waits, with what chance adds to it.
	Span func(rpc.Header) time.Duration
	// Longest is for how long a shared query is asked to wait.
	Longest time.Duration
}

// Queries is an rpc.Caller for blocking queries. While one is under way, others with the same method, request, token,
// consistency, filter and index wait for its answer. Whoever stops waiting leaves the others alone; when nobody is left
// the query ends. Its methods may be called from any goroutine.
type Queries struct {
	o Options

	mu    sync.Mutex
	under map[string]*flight // by what is asked
}

// New returns Queries of which none is under way.
func New(o Options) *Queries { return &Queries{o: o, under: map[string]*flight{}} }

// flight is a query under way. Its answer is set before done is closed.
type flight struct {
	key     string
	begun   time.Time
	stop    context.CancelFunc
	waiting int // guarded by the lock of Queries
	done    chan struct{}
	answer  rpc.Answer // with the body as it came
	err     error

	decode sync.Once
	typed  *rpc.Body
	bad    error
}

// soon is how fast a query that should have waited may come back, and be waited for once more.
const soon = time.Second

// Call implements rpc.Caller. The call must be a query with an index.
func (q *Queries) Call(ctx context.Context, call *rpc.Call) (rpc.Answer, error) {
	body, err := rpc.Encode(call.Body)
	if err != nil {
		return rpc.Answer{}, err
	}
	over := time.NewTimer(q.o.Span(call.Header))
	defer over.Stop()
	h := call.Header
	for {
		f := q.join(call.Method, h, body)
		select {
		case <-f.done:
			waited := h.MinIndex > 0 && time.Since(f.begun) >= soon
			if f.err == nil && waited && f.answer.Meta.Index == h.MinIndex {
				continue // its wait was over, and not this one's
			}
			return f.give(call)
		case <-over.C:
			q.leave(f)
			h.MinIndex, h.MaxWait = 0, 0 // what it is now; all whose time is up share that too
		case <-ctx.Done():
			q.leave(f)
			return rpc.Answer{}, fmt.Errorf("the caller stopped waiting: %w", ctx.Err())
		}
	}
}

// join waits for what is under way, or begins it.
func (q *Queries) join(method string, h rpc.Header, body []byte) *flight {
	key := keyOf(method, &h, body)
	q.mu.Lock()
	defer q.mu.Unlock()
	f := q.under[key]
	if f == nil {
		if h.MinIndex > 0 {
			h.MaxWait = q.o.Longest
		}
		ctx, stop := context.WithCancel(context.Background())
		f = &flight{key: key, begun: time.Now(), stop: stop, done: make(chan struct{})}
		q.under[key] = f
		go q.fly(ctx, f, &rpc.Call{Method: method, Header: h, Body: rpc.Raw(body)}) // ends with the answer, or when nobody waits for it
	}
	f.waiting++
	return f
}

func (q *Queries) fly(ctx context.Context, f *flight, call *rpc.Call) {
	defer f.stop()
	f.answer, f.err = q.o.Next.Call(ctx, call)
	q.mu.Lock()
	q.forget(f)
	q.mu.Unlock()
	close(f.done)
}

// leave ends a query that nobody waits for any more.
func (q *Queries) leave(f *flight) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if f.waiting--; f.waiting == 0 {
		q.forget(f)
		f.stop()
	}
}

// forget keeps others from joining. The lock is held.
func (q *Queries) forget(f *flight) {
	if q.under[f.key] == f {
		delete(q.under, f.key)
	}
}

// keyOf tells apart what is asked.
func keyOf(method string, h *rpc.Header, body []byte) string {
	key := make([]byte, 0, 64+len(method)+len(h.Datacenter)+len(h.Token)+len(h.Filter)+len(body))
	for _, n := range []uint64{h.MinIndex, uint64(h.Consistency), uint64(h.MaxStale), uint64(h.Forwarded)} {
		key = binary.AppendUvarint(key, n)
	}
	for _, part := range []string{method, h.Datacenter, h.Token, h.Filter} {
		key = append(binary.AppendUvarint(key, uint64(len(part))), part...)
	}
	return string(append(key, body...))
}

// give returns the answer as the caller wants it: as it came, or decoded, which is done once for all.
func (f *flight) give(call *rpc.Call) (rpc.Answer, error) {
	if f.err != nil || call.NewReply == nil || f.answer.Body == nil {
		return f.answer, f.err
	}
	f.decode.Do(func() {
		raw, ok := f.answer.Value().(rpc.Raw)
		if !ok {
			f.bad = errors.New("rpc: " + call.Method + ": the answer is not as it came")
			return
		}
		reply := call.NewReply()
		if f.bad = rpc.Decode(raw, reply); f.bad == nil {
			f.typed = rpc.NewBody(reply, nil)
		}
	})
	answer := f.answer
	answer.Body = f.typed
	return answer, f.bad
}

package watch_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/curia-mesh/curia/agent/watch"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type question struct{ Name string }

func (q *question) AppendKey(key []byte) []byte { return append(key, q.Name...) }

type reply struct{ Text string }

var read = rpc.Method[question, reply]{Name: "Test.Read"}

// servers answer every question with one text. Local ones are in this process: their answers know when
// they are stale.
type servers struct {
	local bool
	delay time.Duration // of every answer
	noise bool          // blocking queries do not block

	mu      sync.Mutex
	index   uint64
	text    string
	fails   error
	stale   chan struct{} // closed with the next change
	calls   int
	parked  int
	headers []rpc.Header
}

func newServers() *servers { return &servers{index: 10, text: "one"} }

func (s *servers) change(index uint64, text string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index, s.text, s.fails = index, text, err
	close(s.stale)
	s.stale = make(chan struct{})
}

func (s *servers) Call(ctx context.Context, call *rpc.Call) (rpc.Answer, error) {
	s.mu.Lock()
	s.calls++
	s.headers = append(s.headers, call.Header)
	s.mu.Unlock()
	if s.delay > 0 {
		select {
		case <-time.After(s.delay):
		case <-ctx.Done():
			return rpc.Answer{}, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.index == call.Header.MinIndex && s.fails == nil && !s.noise {
		s.park(ctx, call.Header.MaxWait)
		if ctx.Err() != nil {
			return rpc.Answer{}, ctx.Err()
		}
	}
	if s.fails != nil {
		return rpc.Answer{}, s.fails
	}
	meta := rpc.Meta{Index: s.index, KnownLeader: true}
	if s.local {
		stale := s.stale
		return rpc.Answer{Meta: meta, Body: rpc.NewBody(&reply{s.text}, func() bool {
			select {
			case <-stale:
				return true
			default:
				return false
			}
		})}, nil
	}
	data, err := rpc.Encode(&reply{s.text})
	if err != nil || call.NewReply == nil {
		return rpc.Answer{Meta: meta, Body: rpc.NewBody(rpc.Raw(data), nil)}, err
	}
	rep := call.NewReply()
	return rpc.Answer{Meta: meta, Body: rpc.NewBody(rep, nil)}, rpc.Decode(data, rep)
}

// park waits for a change with the lock given away.
func (s *servers) park(ctx context.Context, wait time.Duration) {
	stale := s.stale
	s.parked++
	s.mu.Unlock()
	if wait == 0 {
		wait = 5 * time.Minute
	}
	over := time.NewTimer(wait)
	select {
	case <-stale:
	case <-over.C:
	case <-ctx.Done():
	}
	over.Stop()
	s.mu.Lock()
	s.parked--
}

// seen returns how many calls there were since the last time, and how many are waiting now.
func (s *servers) seen() (calls, parked int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls, s.calls = s.calls, 0
	return calls, s.parked
}

// house is a cache over servers, in a bubble of its own time.
type house struct {
	*testing.T
	*servers
	cache *watch.Cache
}

func bubble(t *testing.T, s *servers, o watch.Options, f func(h *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o.Caller, o.Datacenter = s, "dc1"
		s.stale = make(chan struct{}) // of this bubble
		h := &house{t, s, watch.New(o)}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- h.cache.Run(ctx) }()
		synctest.Wait()
		defer func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if _, parked := s.seen(); parked != 0 && !t.Failed() {
				t.Errorf("%d queries outlive the cache", parked)
			}
		}()
		f(h)
	})
}

// get asks and checks the text, and whether it came from memory.
func (h *house) get(p watch.Policy, header rpc.Header, want string, hit bool) watch.State {
	h.Helper()
	answer, state, err := watch.GetWith(h.Context(), h.cache, p, read, header, &question{"web"})
	if err != nil {
		h.Error(err)
		return state
	}
	if got := answer.Value().(*reply).Text; got != want || state.Hit != hit {
		h.Errorf("got %q, hit %v, want %q, %v", got, state.Hit, want, hit)
	}
	return state
}

func (h *house) refused(p watch.Policy, header rpc.Header, code catalog.Code) {
	h.Helper()
	_, _, err := watch.GetWith(h.Context(), h.cache, p, read, header, &question{"web"})
	if err == nil || catalog.CodeOf(err) != code {
		h.Fatalf("got %v, want code %s", err, code)
	}
}

func (h *house) asked(calls, parked int) {
	h.Helper()
	synctest.Wait()
	if c, p := h.seen(); c != calls || p != parked {
		h.Fatalf("%d calls and %d waiting, want %d and %d", c, p, calls, parked)
	}
}

var (
	zero   = watch.Policy{}
	fresh  = watch.Policy{Revalidate: true}
	absent = catalog.Errorf(catalog.NoLeader, "no leader")
)

func TestView(t *testing.T) {
	bubble(t, newServers(), watch.Options{}, func(h *house) {
		h.get(zero, rpc.Header{}, "one", false)
		h.asked(1, 0) // asked once: no goroutine
		h.get(zero, rpc.Header{Datacenter: "dc1"}, "one", false)
		h.asked(2, 1)
		time.Sleep(20 * time.Second)
		h.change(11, "two", nil)
		synctest.Wait()
		if s := h.get(zero, rpc.Header{}, "two", true); s.Age != 0 || s.Err != nil {
			h.Fatalf("state %+v", s)
		}
		h.asked(1, 1)
		for _, other := range []rpc.Header{{Token: "t"}, {Filter: "f"}, {Datacenter: "dc2"}, {Consistency: rpc.Stale}} {
			h.get(zero, other, "two", false)
		}
		hour := watch.Policy{MaxAge: time.Hour}
		h.get(hour, rpc.Header{Token: "ab", Filter: "c"}, "two", false)
		h.get(hour, rpc.Header{Token: "a", Filter: "bc"}, "two", false)
		h.get(hour, rpc.Header{Token: "a", Filter: "bc"}, "two", true)
		h.get(zero, rpc.Header{Consistency: rpc.Consistent}, "two", false)
		h.get(zero, rpc.Header{Consistency: rpc.Consistent}, "two", false)
		h.asked(8, 1)

		time.Sleep(7 * time.Minute) // nobody reads
		h.asked(1, 0)
		h.change(12, "three", nil)
		h.get(zero, rpc.Header{}, "three", false)
		h.get(zero, rpc.Header{}, "three", true)
		h.asked(2, 1)
	})
}

func TestOneStreamForAllReaders(t *testing.T) {
	s := newServers()
	s.delay = time.Millisecond
	bubble(t, s, watch.Options{}, func(h *house) {
		const readers = 5000
		answers := make(chan rpc.Answer, readers)
		for range readers {
			go func() {
				answer, _, err := watch.Get(h.Context(), h.cache, read, rpc.Header{MinIndex: 10}, &question{"web"})
				if err != nil {
					h.Error(err)
				}
				answers <- answer
			}()
		}
		time.Sleep(time.Second)
		h.asked(2, 1)
		h.change(11, "two", nil)
		first := <-answers
		for range readers - 1 {
			if a := <-answers; a.Body != first.Body || a.Meta.Index != 11 {
				h.Fatalf("got %v at %d", a.Value(), a.Meta.Index)
			}
		}
		time.Sleep(time.Second)
		h.asked(1, 1)

		begun := time.Now()
		h.get(zero, rpc.Header{MinIndex: 11, MaxWait: 16 * time.Second}, "two", false)
		if took := time.Since(begun); took < 16*time.Second || took > 17*time.Second {
			h.Fatalf("waited %s", took)
		}
		h.get(zero, rpc.Header{MinIndex: 10}, "two", true)
		ctx, cancel := context.WithTimeout(h.Context(), time.Second)
		defer cancel()
		if _, _, err := watch.Get(ctx, h.cache, read, rpc.Header{MinIndex: 11}, &question{"web"}); catalog.CodeOf(err) != catalog.Unavailable {
			h.Fatal(err)
		}
		h.asked(0, 1)
	})
}

// Readers whose index the truth has left behind do not wait, and share one query all the same.
func TestReadersBehind(t *testing.T) {
	bubble(t, newServers(), watch.Options{}, func(h *house) {
		h.get(zero, rpc.Header{MinIndex: 9}, "one", false)
		for range 100 {
			h.get(zero, rpc.Header{MinIndex: 9}, "one", true)
		}
		h.asked(2, 1)
	})
}

func TestFailStatic(t *testing.T) {
	bubble(t, newServers(), watch.Options{}, func(h *house) {
		h.refuse(absent)
		h.refused(zero, rpc.Header{}, catalog.NoLeader)
		h.change(10, "one", nil)
		h.get(zero, rpc.Header{}, "one", false)
		h.change(10, "one", absent)
		time.Sleep(time.Minute)
		if s := h.get(zero, rpc.Header{}, "one", true); s.Age != time.Minute || s.Err != absent {
			h.Fatalf("state %+v", s)
		}
		time.Sleep(time.Minute) // from here on there is a goroutine that tries
		if s := h.get(zero, rpc.Header{}, "one", true); s.Age != 2*time.Minute || s.Err != absent {
			h.Fatalf("state %+v", s)
		}
		h.get(watch.Policy{MaxAge: 3 * time.Minute}, rpc.Header{}, "one", true)
		h.refused(watch.Policy{MaxAge: time.Second}, rpc.Header{}, catalog.NoLeader)
		h.refused(fresh, rpc.Header{}, catalog.NoLeader)
		h.refused(watch.Policy{Revalidate: true, StaleIfError: time.Minute}, rpc.Header{}, catalog.NoLeader)
		if s := h.get(watch.Policy{MaxAge: time.Second, StaleIfError: time.Hour}, rpc.Header{}, "one", true); s.Err == nil {
			h.Fatal("the reader does not learn that the servers are gone")
		}
		h.refused(zero, rpc.Header{MaxStale: time.Second}, catalog.NoLeader)
		h.refused(fresh, rpc.Header{MinIndex: 10}, catalog.NoLeader)
		begun := time.Now()
		if s := h.get(zero, rpc.Header{MinIndex: 10, MaxWait: time.Minute}, "one", false); time.Since(begun) < time.Minute || s.Err == nil {
			h.Fatalf("after %s: %+v", time.Since(begun), s)
		}
		h.seen()
		time.Sleep(2 * time.Minute)
		if calls, _ := h.seen(); calls < 3 || calls > 12 {
			h.Fatalf("%d tries in two minutes", calls)
		}
		h.get(zero, rpc.Header{}, "one", true)
		h.change(12, "two", nil)
		time.Sleep(46 * time.Second)
		if s := h.get(zero, rpc.Header{}, "two", true); s.Age != 0 || s.Err != nil {
			h.Fatalf("state %+v", s)
		}

		h.change(12, "two", absent)
		time.Sleep(time.Minute)
		h.change(12, "two", nil) // nothing has changed meanwhile
		time.Sleep(46 * time.Second)
		if s := h.get(zero, rpc.Header{}, "two", true); s.Age != 0 || s.Err != nil {
			h.Fatalf("state %+v", s)
		}
		h.change(12, "two", absent)
		time.Sleep(5 * time.Second)
		h.change(13, "three", nil) // a reader who must ask finds the servers first: the view follows at once
		h.get(fresh, rpc.Header{}, "three", false)
		h.get(zero, rpc.Header{}, "three", true)
		time.Sleep(time.Second)
		h.seen()
		h.asked(0, 1)

		h.change(13, "three", absent)
		view, err := watch.Open(h.cache, read, rpc.Header{}, &question{"web"})
		if err != nil {
			h.Fatal(err)
		}
		defer view.Close()
		time.Sleep(71 * time.Hour)
		h.get(zero, rpc.Header{}, "three", true)
		time.Sleep(2 * time.Hour)
		h.refused(zero, rpc.Header{}, catalog.NoLeader)
		h.seen()
		time.Sleep(time.Hour)
		h.asked(0, 0)
	})
}

func (s *servers) refuse(err error) { s.change(s.index, s.text, err) }

func TestDefiniteErrorsEndAView(t *testing.T) {
	bubble(t, newServers(), watch.Options{}, func(h *house) {
		h.get(zero, rpc.Header{}, "one", false)
		h.get(zero, rpc.Header{}, "one", false)
		waits := make(chan error)
		go func() {
			_, _, err := watch.Get(h.Context(), h.cache, read, rpc.Header{MinIndex: 10}, &question{"web"})
			waits <- err
		}()
		synctest.Wait()
		h.refuse(catalog.Errorf(catalog.Denied, "no"))
		if err := <-waits; catalog.CodeOf(err) != catalog.Denied {
			h.Fatal(err)
		}
		h.refused(watch.Policy{MaxAge: time.Hour, StaleIfError: time.Hour}, rpc.Header{}, catalog.Denied)
		h.change(10, "one", nil)
		h.get(fresh, rpc.Header{}, "one", false)
		h.refuse(catalog.Errorf(catalog.Denied, "no"))
		h.refused(fresh, rpc.Header{}, catalog.Denied)
		h.refuse(absent) // what was denied does not come back in an outage
		h.refused(zero, rpc.Header{}, catalog.NoLeader)
		h.seen()
		time.Sleep(time.Hour)
		h.asked(0, 0)
	})
}

func TestIndexGoesBack(t *testing.T) {
	s := newServers()
	bubble(t, s, watch.Options{}, func(h *house) {
		back := make(chan uint64)
		wait := func(index uint64) {
			answer, _, err := watch.Get(h.Context(), h.cache, read, rpc.Header{MinIndex: index}, &question{"web"})
			if err != nil {
				h.Error(err)
			}
			back <- answer.Meta.Index
		}
		go wait(10)
		synctest.Wait()
		h.change(5, "restored", nil)
		if got := <-back; got != 5 {
			h.Fatalf("index %d", got)
		}
		h.get(zero, rpc.Header{}, "restored", true)
		time.Sleep(time.Second)
		h.seen()
		s.delay = time.Millisecond
		for range 100 { // all of them have an index that the view has not reached: a call that began after they came tells whether it will
			go wait(10)
		}
		for range 100 {
			if got := <-back; got != 5 {
				h.Fatalf("index %d", got)
			}
		}
		h.asked(2, 1)
	})
}

func TestCoalescing(t *testing.T) {
	s := newServers()
	s.delay = time.Second
	bubble(t, s, watch.Options{}, func(h *house) {
		impatient, cancel := context.WithTimeout(h.Context(), time.Second/2)
		defer cancel()
		var all sync.WaitGroup
		for i := range 50 {
			ctx := h.Context()
			if i == 0 {
				ctx = impatient
			}
			all.Go(func() {
				_, _, err := watch.Get(ctx, h.cache, read, rpc.Header{}, &question{"web"})
				if (err != nil) != (i == 0) {
					h.Errorf("reader %d: %v", i, err)
				}
			})
			synctest.Wait()
		}
		all.Wait()
		h.asked(2+1, 0) // one given up, one for all, and one that begins to follow
		time.Sleep(time.Second)
		h.asked(0, 1)

		// A call that began before the reader came may not have seen what the reader knows.
		go watch.GetWith(h.Context(), h.cache, fresh, read, rpc.Header{}, &question{"web"})
		time.Sleep(time.Second / 2)
		for range 20 {
			all.Go(func() { h.get(fresh, rpc.Header{}, "one", false) })
		}
		all.Wait()
		h.asked(2, 1)
	})
}

func TestServerAgent(t *testing.T) {
	s := newServers()
	s.local = true
	bubble(t, s, watch.Options{}, func(h *house) {
		h.get(zero, rpc.Header{}, "one", false)
		for range 10 {
			h.get(zero, rpc.Header{}, "one", true)
		}
		h.asked(1, 0)
		h.change(11, "two", nil)
		h.get(zero, rpc.Header{}, "two", false)
		h.get(zero, rpc.Header{}, "two", true)
		h.get(zero, rpc.Header{MinIndex: 10}, "two", true)
		h.asked(1, 0)
		for range 3 { // the server's own sharing serves those who wait
			go watch.Get(h.Context(), h.cache, read, rpc.Header{MinIndex: 11}, &question{"web"})
		}
		h.asked(3, 3)
		h.change(12, "three", nil)
		time.Sleep(31 * time.Second)
		h.get(zero, rpc.Header{}, "three", false)
		h.seen()
		time.Sleep(31 * time.Second) // whether the token still stands only the server knows
		h.get(zero, rpc.Header{}, "three", false)
		h.asked(1, 0)

		h.local = false // it is no server of this question any more
		h.get(zero, rpc.Header{MinIndex: 12, MaxWait: time.Second}, "three", false)
		h.seen()
		h.delay = time.Millisecond
		for range 10 {
			go watch.Get(h.Context(), h.cache, read, rpc.Header{MinIndex: 12}, &question{"web"})
		}
		time.Sleep(time.Second)
		h.asked(2, 1)
		h.local = true
		h.change(13, "four", nil)
		h.asked(0, 0)
		h.get(zero, rpc.Header{}, "four", true)
	})
}

func TestBusyQuery(t *testing.T) {
	bubble(t, newServers(), watch.Options{}, func(h *house) {
		h.get(zero, rpc.Header{}, "one", false)
		h.get(zero, rpc.Header{}, "one", false)
		h.seen()
		for i := range uint64(1000) {
			time.Sleep(time.Millisecond)
			h.change(11+i, "more", nil)
		}
		synctest.Wait()
		if calls, _ := h.seen(); calls < 15 || calls > 25 {
			h.Fatalf("%d calls in a second", calls)
		}
		h.servers.noise = true // as it never should
		h.change(9999, "last", nil)
		time.Sleep(time.Minute)
		h.get(zero, rpc.Header{}, "last", true)
		if calls, _ := h.seen(); calls > 30 {
			h.Fatalf("%d calls in a minute in which nothing happened", calls)
		}
		h.servers.noise = false
	})
}

func TestFrozenServers(t *testing.T) {
	s := newServers()
	bubble(t, s, watch.Options{}, func(h *house) {
		h.get(zero, rpc.Header{}, "one", false)
		s.delay = time.Hour
		begun := time.Now()
		h.get(zero, rpc.Header{}, "one", true)
		if took := time.Since(begun); took > 15*time.Second {
			h.Fatalf("took %s", took)
		}
		begun = time.Now()
		h.get(zero, rpc.Header{}, "one", true)
		if took := time.Since(begun); took > 0 {
			h.Fatalf("took %s, though it is known that the servers do not answer", took)
		}
	})
}

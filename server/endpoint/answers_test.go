package endpoint_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
)

// TestManyWaiters: 5,000 waiters for one key share one read for each change, and one body.
func TestManyWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const waiters = 5000
		h := newHost()
		h.set("k", "1")
		var group sync.WaitGroup
		var bodies sync.Map
		var woken, same atomic.Int64
		for range waiters {
			group.Go(func() {
				for index := h.index; index < 14; {
					_, answer, err := h.call(t.Context(), "k", rpc.Header{MinIndex: index})
					if err != nil || answer.Meta.Index <= index {
						t.Errorf("woken at index %d with %d: %v", index, answer.Meta.Index, err)
						return
					}
					index = answer.Meta.Index
					data, _ := answer.JSON(func(any) ([]byte, error) { same.Add(1); return []byte{byte(index)}, nil })
					bodies.Store(&data[0], true)
					woken.Add(1)
				}
			})
		}
		synctest.Wait()
		if n := h.reads.Load(); n != 1 {
			t.Errorf("%d waiters read %d times to begin with, want once", waiters, n)
		}
		for change := range 3 {
			h.set("noise", string(rune(change)))
			h.index-- // the next write is at the same index, as the waiters count
			synctest.Wait()
			h.set("k", string(rune(change)))
			synctest.Wait()
			_, answer, _ := h.call(t.Context(), "k", rpc.Header{})
			h.set("noise", "again")
			h.index--
			_, again, _ := h.call(t.Context(), "k", rpc.Header{})
			for _, a := range []rpc.Answer{answer, again} {
				a.JSON(func(any) ([]byte, error) { same.Add(100); return nil, nil })
			}
			if !answer.Stale() || again.Stale() {
				t.Error("it is not known which answer is the newest")
			}
		}
		group.Wait()
		if n := h.reads.Load(); n != 10 || same.Load() != 3 || woken.Load() != 3*waiters {
			t.Errorf("%d wake-ups took %d reads and %d encodings, want %d, 10 and 3", woken.Load(), n, same.Load(), 3*waiters)
		}
		entries := 0
		bodies.Range(func(any, any) bool { entries++; return true })
		if entries != 3 {
			t.Errorf("3 changes made %d bodies", entries)
		}
	})
}

// TestCancelled: a caller that gives up leaves at once, and no goroutine behind, for which the bubble
// would wait in vain.
func TestCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost()
		h.set("k", "1")
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		for range 100 {
			group.Go(func() {
				_, _, err := h.call(ctx, "k", rpc.Header{MinIndex: h.index})
				code(t, "cancelled", err, catalog.Unavailable)
			})
		}
		synctest.Wait()
		start := time.Now()
		cancel()
		group.Wait()
		if took := time.Since(start); took > 0 {
			t.Errorf("100 cancelled waiters took %s", took)
		}
	})
}

// TestWaitBounds: a wait is 5 minutes unless asked otherwise, at most 10, and up to a sixteenth longer.
func TestWaitBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost()
		h.set("k", "1")
		for asked, want := range map[time.Duration]time.Duration{0: 5 * time.Minute, time.Second: time.Second, -1: 5 * time.Minute, 10 * time.Hour: 10 * time.Minute} {
			start := time.Now()
			n, answer, err := h.call(t.Context(), "k", rpc.Header{MinIndex: h.index, MaxWait: asked})
			took := time.Since(start)
			if err != nil || n != 1 || answer.Meta.Index != h.index || took < want || took > want+want/16 {
				t.Errorf("a wait of %s took %s, want %s to 1/16 more; %d pairs, index %d, %v", asked, took, want, n, answer.Meta.Index, err)
			}
		}
	})
}

// TestAtOnce: whoever has an index that cannot be waited for gets the present answer.
func TestAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost()
		h.set("k", "1")
		for what, index := range map[string]uint64{"none": 0, "older": 5, "from the future": h.index + 1} {
			start := time.Now()
			if _, answer, err := h.call(t.Context(), "k", rpc.Header{MinIndex: index}); err != nil || answer.Meta.Index != h.index || time.Since(start) > 0 {
				t.Errorf("index %s: took %s, index %d, %v", what, time.Since(start), answer.Meta.Index, err)
			}
		}
	})
}

// TestRestore: a restore answers all who wait, though their index may have gone back, and whoever asks
// right after it is woken by changes of the new store.
func TestRestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for what, index := range map[string]uint64{"back": 3, "same": 11, "forth": 100} {
			h := newHost()
			h.set("k", "1")
			answered := make(chan uint64, 2)
			wait := func(min uint64) {
				_, answer, err := h.call(t.Context(), "k", rpc.Header{MinIndex: min, MaxWait: time.Minute})
				if err != nil {
					t.Error(what, err)
				}
				answered <- answer.Meta.Index
			}
			go wait(11)
			synctest.Wait()
			start := time.Now()
			h.restore("k", index)
			go wait(index) // may be in before the other one is woken
			if got := <-answered; got != index || time.Since(start) > 0 {
				t.Errorf("%s: index %d after %s, want %d at once", what, got, time.Since(start), index)
			}
			synctest.Wait()
			h.index = 200
			h.set("k", "2")
			if got := <-answered; got != 201 || time.Since(start) > 0 {
				t.Errorf("%s: the first change after a restore came as index %d after %s", what, got, time.Since(start))
			}
		}
	})
}

// TestBrokenRead: when reading anew fails, all who wait get the error, and those who come later are
// served again.
func TestBrokenRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost()
		h.set("k", "1")
		errs := make(chan error, 10)
		wait := func() {
			_, _, err := h.call(t.Context(), "k", rpc.Header{MinIndex: h.index})
			errs <- err
		}
		for range 3 {
			go wait()
		}
		synctest.Wait()
		start := time.Now()
		h.fails.Store(1 << 40)
		h.set("k", "2")
		for range 3 {
			code(t, "broken", <-errs, catalog.Unavailable)
		}
		_, _, err := h.call(t.Context(), "k", rpc.Header{})
		code(t, "still broken", err, catalog.Unavailable)
		h.fails.Store(0)
		go wait()
		synctest.Wait()
		h.fails.Store(1) // whoever waits goes on waiting, and is still woken
		h.set("noise", "x")
		synctest.Wait()
		h.set("k", "3")
		if err := <-errs; err != nil || time.Since(start) > 0 {
			t.Errorf("after a read that failed once: %v, %s", err, time.Since(start))
		}
	})
}

// TestFlood: questions with random names, each with a large answer, take no more memory than they may,
// and those who wait stay.
func TestFlood(t *testing.T) { synctest.Test(t, flood) }

func flood(t *testing.T) {
	h := newHost()
	large := string(make([]byte, 256<<10))
	h.set("k", "1")
	answered, index := make(chan error, 1), h.index
	go func() {
		_, _, err := h.call(t.Context(), "k", rpc.Header{MinIndex: index})
		answered <- err
	}()
	synctest.Wait()
	for i := range 4 {
		h.set(key(i), large)
	}
	before := heap()
	for i := range 3000 {
		prefix := key(i % 4)
		// Each question is another one by its filter; its body is encoded as the HTTP API would.
		_, answer, err := h.call(t.Context(), prefix, rpc.Header{Filter: `Key != "` + key(i) + `x"`})
		if err != nil {
			t.Fatal(err)
		}
		answer.JSON(func(any) ([]byte, error) { return make([]byte, 340<<10), nil })
	}
	if grown := heap() - before; grown > 128<<20 {
		t.Errorf("3,000 questions hold %d MiB", grown>>20)
	}
	reads := h.reads.Load()
	for range 3 {
		h.call(t.Context(), key(9), rpc.Header{})
		h.call(t.Context(), key(8), rpc.Header{})
	}
	if n := h.reads.Load() - reads; n != 2 {
		t.Errorf("after the flood six questions of two kinds took %d reads", n)
	}
	h.set("k", "2")
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestIdle: an answer nobody asks for is forgotten; one that somebody waits on is not.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- h.Run(ctx) }()
		go h.call(ctx, "waited", rpc.Header{MinIndex: h.index, MaxWait: 9 * time.Minute})
		h.call(ctx, "idle", rpc.Header{})
		synctest.Wait()
		reads := h.reads.Load()
		time.Sleep(2 * time.Minute)
		h.call(ctx, "idle", rpc.Header{})
		h.call(ctx, "waited", rpc.Header{})
		if n := h.reads.Load() - reads; n != 1 {
			t.Errorf("read %d times after two idle minutes, want once", n)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// sleeper counts how often it is woken.
type sleeper struct{ woken atomic.Int64 }

func (s *sleeper) Wake() { s.woken.Add(1) }

// TestParked: callers without a goroutine are woken once, when there is something to call again for.
func TestParked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost()
		h.set("k", "1")
		before := runtime.NumGoroutine()
		park := func(s *sleeper) *rpc.Parked {
			_, _, err := h.call(rpc.WithWaker(t.Context(), s), "k", rpc.Header{MinIndex: h.index, MaxWait: time.Hour})
			parked, ok := err.(*rpc.Parked)
			if !ok || parked.Wait < 10*time.Minute || parked.Wait > 11*time.Minute {
				t.Fatalf("not parked: %v", err)
			}
			return parked
		}
		for what, change := range map[string]func(){
			"change":  func() { h.set("k", "2") },
			"error":   func() { h.fails.Store(1 << 40); h.set("k", "3") },
			"restore": func() { h.restore("k", 3) },
		} {
			sleepers := make([]sleeper, 100)
			for i := range sleepers {
				defer park(&sleepers[i]).Leave()
			}
			gone := &sleeper{}
			leave := park(gone).Leave
			leave()
			leave()
			if n := runtime.NumGoroutine() - before; n > 10 {
				t.Errorf("100 parked callers hold %d goroutines", n)
			}
			h.set("unrelated", what)
			change()
			synctest.Wait()
			for i := range sleepers {
				if n := sleepers[i].woken.Load(); n != 1 {
					t.Fatalf("%s: woken %d times", what, n)
				}
			}
			h.fails.Store(0)
			if gone.woken.Load() != 0 {
				t.Errorf("%s: one that left was woken", what)
			}
		}
	})
}

// TestWeight: the weight of an answer is forgotten with it, so that one that changes often does not drive
// out the others.
func TestWeight(t *testing.T) {
	h := newHost()
	h.set("small", "1")
	h.set("k", "1")
	h.call(t.Context(), "small", rpc.Header{})
	large := make([]byte, 256<<10)
	for i := range 300 {
		large[0] = byte(i)
		h.set("k", string(large))
		h.call(t.Context(), "k", rpc.Header{})
	}
	reads := h.reads.Load()
	if h.call(t.Context(), "small", rpc.Header{}); h.reads.Load() != reads {
		t.Error("a small answer had to give way to one large one")
	}
}

// TestLongQuestions: questions weigh too. Whoever asks many long ones does not fill the memory with them.
func TestLongQuestions(t *testing.T) {
	h := newHost()
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range 4000 {
		h.call(t.Context(), fmt.Sprintf("%60000d", i), rpc.Header{})
	}
	if now := heap(); now > before+128<<20 {
		t.Errorf("4,000 questions of 60 KB hold %d MiB", (now-before)>>20)
	}
	runtime.KeepAlive(h)
}

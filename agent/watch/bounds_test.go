package watch_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/agent/watch"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
)

func (h *house) name(header rpc.Header, name string) watch.State {
	h.Helper()
	_, state, err := watch.Get(h.Context(), h.cache, read, header, &question{name})
	if err != nil {
		h.Fatal(err)
	}
	return state
}

func TestFloodOfNames(t *testing.T) {
	bubble(t, newServers(), watch.Options{MaxViews: 512}, func(h *house) {
		for range 2 {
			for i := range 100 {
				h.name(rpc.Header{}, fmt.Sprintf("used-%d", i))
			}
		}
		ctx, cancel := context.WithCancel(h.Context())
		go watch.Get(ctx, h.cache, read, rpc.Header{MinIndex: 10}, &question{"waited-for"})
		h.asked(302, 101)
		routines := runtime.NumGoroutine()
		for i := range 20000 {
			h.name(rpc.Header{}, fmt.Sprintf("%d.random", i))
		}
		h.asked(20000, 101)
		if n := runtime.NumGoroutine(); n > routines {
			h.Fatalf("%d goroutines became %d", routines, n)
		}
		for i := range 100 {
			if !h.name(rpc.Header{}, fmt.Sprintf("used-%d", i)).Hit {
				h.Fatal("the flood has washed away a view in use")
			}
		}
		h.asked(0, 101)
		for i := range 2000 { // a flood of those who wait fills what room there is, and no more
			h.name(rpc.Header{MinIndex: 10, MaxWait: time.Nanosecond}, fmt.Sprintf("%d.waited", i))
		}
		if _, parked := h.seen(); parked > 512 {
			h.Fatalf("%d queries at the servers", parked)
		}
		cancel()
		time.Sleep(10 * time.Minute)
		h.seen()
		h.asked(0, 0)
	})
}

func TestBoundOfBytes(t *testing.T) {
	s := newServers()
	s.text = strings.Repeat("x", 100<<10)
	bubble(t, s, watch.Options{MaxBytes: 4 << 20}, func(h *house) {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range 200 {
			h.name(rpc.Header{}, fmt.Sprint(i))
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 5<<20 {
			h.Fatalf("%d MiB", grown>>20)
		}
		for i := range 50 {
			h.name(rpc.Header{}, strings.Repeat("long", i+100<<10)) // a long question counts as well
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 16<<20 {
			h.Fatalf("%d MiB", grown>>20)
		}
		view, err := watch.Open(h.cache, read, rpc.Header{}, &question{strings.Repeat("long", 4<<20)})
		if err != nil {
			h.Fatal(err)
		}
		for range 2 { // what is open stays, though it is all there is room for
			if _, index, err := view.Wait(h.Context(), 0); err != nil || index != 10 {
				h.Fatal(index, err)
			}
		}
		synctest.Wait()
		h.seen()
		if rep, state := view.Load(); rep == nil || state.Age != 0 {
			h.Fatal("an open view was given up")
		}
		view.Close()
		view.Close()
		h.asked(0, 0)
	})
}

func TestView_Wait(t *testing.T) {
	for _, local := range []bool{false, true} {
		s := newServers()
		s.local = local
		bubble(t, s, watch.Options{}, func(h *house) {
			view, err := watch.Open(h.cache, read, rpc.Header{}, &question{"web"})
			if err != nil {
				h.Fatal(err)
			}
			defer view.Close()
			if rep, _ := view.Load(); rep != nil {
				h.Fatal(rep)
			}
			f := func(min, index uint64, text string) {
				h.Helper()
				rep, got, err := view.Wait(h.Context(), min)
				if err != nil || got != index || rep.Text != text {
					h.Fatalf("%v at %d, %v", rep, got, err)
				}
			}
			f(0, 10, "one")
			go func() {
				time.Sleep(time.Hour)
				h.change(11, "two", nil)
			}()
			begun := time.Now()
			f(10, 11, "two")
			if took := time.Since(begun); took < time.Hour || took > time.Hour+time.Second {
				h.Fatal(took)
			}
			f(3, 11, "two")
			h.seen()
			time.Sleep(16 * time.Minute) // an open view is kept up to date though nobody looks
			if calls, parked := h.seen(); !local && (calls > 5 || parked != 1) {
				h.Fatalf("%d calls, %d waiting", calls, parked)
			}
			ctx, cancel := context.WithTimeout(h.Context(), time.Hour)
			defer cancel()
			if _, _, err := view.Wait(ctx, 11); !errors.Is(err, context.DeadlineExceeded) {
				h.Fatal(err)
			}
			h.refuse(catalog.Errorf(catalog.Denied, "no"))
			time.Sleep(time.Second)
			if _, _, err := view.Wait(h.Context(), 11); catalog.CodeOf(err) != catalog.Denied {
				h.Fatal(err)
			}
		})
	}
}

func TestViewOpenedInAnOutage(t *testing.T) {
	bubble(t, newServers(), watch.Options{}, func(h *house) {
		h.get(zero, rpc.Header{}, "one", false)
		h.refuse(absent)
		time.Sleep(time.Minute)
		view, err := watch.Open(h.cache, read, rpc.Header{}, &question{"web"})
		if err != nil {
			h.Fatal(err)
		}
		defer view.Close()
		for range 2 {
			if rep, index, err := view.Wait(h.Context(), 0); err != nil || index != 10 || rep.Text != "one" {
				h.Fatal(rep, index, err)
			}
			if _, state := view.Load(); state.Age != time.Minute || state.Err == nil {
				h.Fatalf("%+v", state)
			}
		}
	})
}

// late answers blocking queries long after others.
type late struct{ calls int }

func (l *late) Call(ctx context.Context, call *rpc.Call) (rpc.Answer, error) {
	index := uint64(10)
	switch {
	case call.Header.MinIndex == 10:
		time.Sleep(time.Second)
		index = 11
	case call.Header.MinIndex > 10:
		<-ctx.Done()
		return rpc.Answer{}, ctx.Err()
	default:
		if l.calls++; l.calls > 2 {
			index = 12
		}
	}
	return rpc.Answer{Meta: rpc.Meta{Index: index}, Body: rpc.NewBody(&reply{fmt.Sprint(index)}, nil)}, nil
}

func TestAnswersOutOfOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := watch.New(watch.Options{Caller: &late{}})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go c.Run(ctx)
		synctest.Wait()
		h := &house{t, newServers(), c}
		h.get(zero, rpc.Header{}, "10", false)
		h.get(zero, rpc.Header{}, "10", false)
		time.Sleep(time.Second / 2)
		h.get(fresh, rpc.Header{}, "12", false)
		go h.get(zero, rpc.Header{MinIndex: 12, MaxWait: time.Minute}, "12", false)
		time.Sleep(time.Second)
		h.get(zero, rpc.Header{}, "12", true)
		time.Sleep(2 * time.Minute)
	})
}

func TestWithoutRun(t *testing.T) {
	s := newServers()
	synctest.Test(t, func(t *testing.T) {
		s.stale = make(chan struct{})
		h := &house{t, s, watch.New(watch.Options{Caller: s})}
		for range 3 {
			h.get(zero, rpc.Header{}, "one", false)
			h.get(zero, rpc.Header{MinIndex: 10, MaxWait: time.Second}, "one", false)
		}
		h.asked(9, 0)
	})
}

// TestHammer has everything happen at once: readers of all kinds, changes, outages, and too little room.
func TestHammer(t *testing.T) {
	bubble(t, newServers(), watch.Options{MaxViews: 8, MaxBytes: 64 << 10}, func(h *house) {
		ctx, cancel := context.WithTimeout(h.Context(), 20*time.Minute)
		defer cancel()
		var all sync.WaitGroup
		for range 64 {
			all.Go(func() {
				var last uint64
				for ctx.Err() == nil {
					q := &question{fmt.Sprint(rand.IntN(24))}
					p := []watch.Policy{{}, {}, fresh, {MaxAge: time.Second, StaleIfError: time.Minute}}[rand.IntN(4)]
					header := rpc.Header{MaxWait: time.Minute}
					if rand.IntN(2) == 0 {
						header.MinIndex = last
					}
					answer, state, err := watch.GetWith(ctx, h.cache, p, read, header, q)
					if err == nil {
						last = answer.Meta.Index
						if text := answer.Value().(*reply).Text; text != fmt.Sprint(last) && text != "one" {
							h.Errorf("%q at %d", text, last)
						}
						if state.Age < 0 || state.Age > 21*time.Minute {
							h.Errorf("%+v", state)
						}
					}
					time.Sleep(rand.N(2 * time.Second))
				}
			})
		}
		index := uint64(10)
		for ctx.Err() == nil {
			time.Sleep(rand.N(10 * time.Second))
			var err error
			switch rand.IntN(8) {
			case 0:
				err = absent
			case 1:
				err = catalog.Errorf(catalog.Denied, "no")
			case 2:
				index = max(10, index-5)
			default:
				index++
			}
			h.change(index, fmt.Sprint(index), err)
		}
		all.Wait()
	})
}

func TestHitCostsNothing(t *testing.T) {
	s := newServers()
	s.local, s.stale = true, make(chan struct{})
	c := watch.New(watch.Options{Caller: s})
	q := &question{"web"}
	if n := testing.AllocsPerRun(100, func() {
		watch.Get(t.Context(), c, read, rpc.Header{Token: "secret"}, q)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestOverTheNetwork has a real server and a real connection, which breaks.
func TestOverTheNetwork(t *testing.T) {
	s := newServers()
	s.stale, s.local = make(chan struct{}), true
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := rpc.NewListener(inner, rpc.NewServer(rpc.ServerOptions{
		Handler: func(ctx context.Context, _ rpc.Peer, call *rpc.Call) (rpc.Answer, error) { return s.Call(ctx, call) },
		Encode:  func(err error) (string, string) { return string(catalog.CodeOf(err)), err.Error() },
	}), rpc.ListenerOptions{})
	serving, cancel := context.WithCancel(t.Context())
	var served sync.WaitGroup
	served.Go(func() { l.Run(serving) })
	defer served.Wait()
	defer cancel()
	pool := rpc.NewPool(rpc.PoolOptions{Decode: func(code, msg string) error { return &catalog.Error{Code: catalog.Code(code), Msg: msg} }})
	defer pool.Close()
	c := watch.New(watch.Options{Caller: pool.To(l.Addr().String())})
	run, end := context.WithCancel(t.Context())
	var runs sync.WaitGroup
	runs.Go(func() { c.Run(run) })
	defer runs.Wait()
	defer end()

	view, err := watch.Open(c, read, rpc.Header{}, &question{"web"})
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	_, index, err := view.Wait(t.Context(), 0)
	if err != nil || index != 10 {
		t.Fatal(index, err)
	}
	s.change(11, "two", nil)
	rep, index, err := view.Wait(t.Context(), 10)
	if err != nil || index != 11 || rep.Text != "two" {
		t.Fatal(rep, index, err)
	}
	cancel()
	served.Wait()
	answer, state, err := watch.GetWith(t.Context(), c, watch.Policy{Revalidate: true, StaleIfError: time.Hour}, read, rpc.Header{}, &question{"web"})
	if err != nil || answer.Value().(*reply).Text != "two" || catalog.CodeOf(state.Err) != catalog.Unavailable {
		t.Fatal(state, err)
	}
	ended, now := context.WithCancel(t.Context())
	now()
	if _, _, err := view.Wait(ended, 11); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

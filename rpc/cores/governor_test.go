package cores

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// pretended is a process.
type pretended struct {
	*Governor
	begun   time.Time
	one     atomic.Bool
	changes atomic.Int32
	share   atomic.Int64 // of one core that it works, in percent
	live    atomic.Uint64
	waiting atomic.Uint64
}

// start begins a process that does nothing, in a bubble.
func start() *pretended {
	p := &pretended{begun: time.Now()}
	p.Governor = govern(p)
	return p
}

func (p *pretended) set(one bool) { p.one.Store(one); p.changes.Add(1) }
func (p *pretended) used() time.Duration {
	return time.Since(p.begun) * time.Duration(p.share.Load()) / 100
}
func (p *pretended) heap() uint64     { return p.live.Load() }
func (p *pretended) runnable() uint64 { return p.waiting.Load() }

// lone makes so many requests, one after the other, and lets what they set off happen.
func (p *pretended) lone(n int) {
	for range n {
		p.End(p.Begin())
	}
	synctest.Wait()
}

// rest lets a long rest pass, after which nobody rules.
func (p *pretended) rest() { time.Sleep((restLooks + 2) * look) }

// want fails the test unless one core is used, or all are.
func (p *pretended) want(t *testing.T, one bool, when string) {
	t.Helper()
	if p.one.Load() != one {
		t.Fatalf("%s: one core is %v, not %v", when, !one, one)
	}
}

func TestLone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start()
		p.lone(enough - 1)
		p.want(t, false, "too few requests")
		p.lone(1)
		p.want(t, true, "enough requests")
		for range 3 * restLooks {
			time.Sleep(look)
			p.lone(1)
			p.want(t, true, "more of them")
		}
		time.Sleep(restLooks * look)
		p.want(t, true, "a short rest")
		time.Sleep(2 * look)
		synctest.Wait()
		p.want(t, false, "a long rest")
		p.lone(enough)
		p.want(t, true, "enough requests again")
		p.rest()
	})
}

func TestMeeting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start()
		p.lone(enough)
		p.want(t, true, "enough requests")
		first, second := p.Begin(), p.Begin()
		synctest.Wait()
		p.want(t, false, "two that meet")
		third := p.Begin()
		p.End(third)
		p.End(second)
		p.End(first)
		time.Sleep(meetingHold - time.Nanosecond)
		p.lone(2 * enough)
		p.want(t, false, "not long after they met")
		time.Sleep(2 * time.Nanosecond)
		p.lone(enough - 1)
		p.want(t, false, "those who came before count")
		p.lone(1)
		p.want(t, true, "long after they met")
		p.rest()
	})
}

func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start()
		p.lone(enough)
		p.share.Store(89)
		time.Sleep(look) // in which the share jumps
		for range 3 * busyLooks {
			p.lone(1)
			time.Sleep(look)
		}
		synctest.Wait()
		p.want(t, true, "a core that is nearly busy")
		p.share.Store(100)
		for range busyLooks + 1 {
			p.lone(1)
			time.Sleep(look)
		}
		synctest.Wait()
		p.want(t, false, "a busy core")
		time.Sleep(busyHold - 3*look)
		p.lone(2 * enough)
		p.want(t, false, "not long after it was busy")
		time.Sleep(3 * look)
		p.share.Store(0)
		p.lone(enough)
		p.want(t, true, "long after it was busy")
		p.rest()
	})
}

// One core is not enough for a crowd, a heap that has grown, or work that nobody counts.
func TestNotEnough(t *testing.T) {
	for name, spoil := range map[string]func(p *pretended){
		"crowd": func(p *pretended) { p.waiting.Store(crowd + 1) },
		"heap":  func(p *pretended) { p.live.Store(small + 1) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := start()
				for hold := busyHold; hold <= longestHold; hold *= 2 {
					p.lone(enough)
					p.want(t, true, "at first")
					spoil(p)
					for range heapLooks + 1 {
						time.Sleep(look)
						p.lone(1)
					}
					p.want(t, false, "when it is not enough")
					p.live.Store(0)
					p.waiting.Store(0)
					time.Sleep(hold - heapLooks*look)
					p.lone(2 * enough)
					p.want(t, false, "not long after")
					time.Sleep(heapLooks * look)
				}
				p.lone(enough)
				p.want(t, true, "long after")
				p.Retire()
				synctest.Wait()
				p.want(t, false, "when it is retired")
				p.lone(enough)
				p.want(t, false, "after that")
			})
		})
	}
}

func TestBigHeap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start()
		p.live.Store(small + 1)
		p.lone(2 * enough)
		p.want(t, false, "a big heap")
		p.live.Store(small)
		p.lone(2 * enough)
		p.want(t, false, "not long after the heap was big")
		time.Sleep(busyHold)
		p.lone(enough)
		p.want(t, true, "a small heap")
		p.rest()
	})
}

// Writes count as requests do that come one after the other, unless two of those are under way.
func TestWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start()
		write := func() {
			for range enough {
				p.Wrote()
			}
			synctest.Wait()
		}
		first, second := p.Begin(), p.Begin()
		time.Sleep(meetingHold + time.Nanosecond)
		write()
		p.want(t, false, "two requests are under way")
		p.End(second)
		write()
		p.want(t, true, "one is")
		p.End(first)
		p.rest()
	})
}

// Whatever comes: who meets another has all cores, and the number of cores does not change often.
func TestRandomRequests(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		steps := rapid.SliceOfN(rapid.Custom(func(r *rapid.T) step {
			return step{rapid.IntRange(0, 7).Draw(r, "kind"), rapid.IntRange(1, 2000).Draw(r, "n")}
		}), 1, 60).Draw(r, "steps")
		var wrong string
		synctest.Test(t, func(*testing.T) { wrong = start().random(steps) })
		if wrong != "" {
			r.Fatal(wrong)
		}
	})
}

type step struct{ kind, n int }

// random goes through the steps and returns what is wrong.
func (p *pretended) random(steps []step) (wrong string) {
	begun, under, counted := time.Now(), []bool(nil), 0
	end := func() {
		last := under[len(under)-1]
		under = under[:len(under)-1]
		p.End(last)
		if last {
			counted--
		}
	}
	for _, s := range steps {
		switch s.kind {
		case 0:
			if under = append(under, p.Begin()); under[len(under)-1] {
				counted++
			}
		case 1:
			if len(under) > 0 {
				end()
			}
		case 2, 3:
			p.lone(s.n)
		case 4:
			time.Sleep(time.Duration(s.n) * time.Millisecond)
		case 5:
			p.share.Store(int64(s.n / 10))
		case 6:
			for range s.n {
				p.Wrote()
			}
		case 7:
			p.waiting.Store(uint64(s.n / 100))
		}
		synctest.Wait()
		if counted > 1 && p.one.Load() {
			wrong = fmt.Sprintf("%d requests share one core", counted)
		}
	}
	for len(under) > 0 {
		end()
	}
	// A change to one core and back takes a rest, a meeting or looks at a busy core, all of which take longer than this.
	if most := 2 + 2*int32(time.Since(begun)/(busyLooks*look)); p.changes.Load() > most {
		wrong = fmt.Sprintf("%d changes in %v", p.changes.Load(), time.Since(begun))
	}
	p.share.Store(0)
	time.Sleep(busyHold)
	synctest.Wait()
	if p.one.Load() || p.under.Load() != 0 {
		wrong = fmt.Sprintf("at rest: one core is %v, %d requests are under way", p.one.Load(), p.under.Load())
	}
	return wrong
}

func TestNobodyGoverns(t *testing.T) {
	var g *Governor
	g.End(g.Begin())
	h := http.NewServeMux()
	if g.Handler(h) != http.Handler(h) {
		t.Error("a handler is wrapped for nothing")
	}
	t.Setenv("GOMAXPROCS", "2")
	if New() != nil {
		t.Error("what the operator has set is governed")
	}
}

// A handler that panics has ended.
func TestPanic(t *testing.T) {
	p := start()
	h := p.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	func() {
		defer func() { recover() }()
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	}()
	if n := p.under.Load(); n != 0 {
		t.Errorf("%d requests are under way", n)
	}
}

func BenchmarkRequest(b *testing.B) {
	for name, g := range map[string]*Governor{"nobody": nil, "counted": start().Governor} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				g.End(g.Begin())
			}
		})
	}
}

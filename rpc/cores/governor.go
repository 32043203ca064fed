// Package cores has the Go runtime use one core while requests come one after the other, and all of them as soon as two meet.
//
// A request of a lone client wakes several goroutines in turn. With more than one core each of them may be given to
// another, sleeping one, whose waking takes longer than what the goroutine does: a lone put to a server costs twice the CPU,
// and takes longer. Clients that come together need all cores.
package cores

import (
	"net/http"
	"os"
	"runtime"
	"runtime/metrics"
	"sync/atomic"
	"time"
)

const (
	// enough requests in a row, none of which met another, make a lone client.
	enough = 256
	// meetingHold is for how long all cores are used at least once two requests met, and busyHold once the one core was not
	// enough, twice as long each time up to longestHold: so that the world, which stands still for tens of microseconds at each
	// change, does not do so often, nor many who wait for a change share one core again and again.
	meetingHold = time.Second
	busyHold    = 10 * time.Second
	longestHold = 32 * busyHold
	// look is how often the one core is looked at. After busyLooks at which it had worked for nine tenths of the time since the
	// one before, or crowdLooks at which more than a crowd of goroutines waited for it, it is not enough; after restLooks without
	// a request, there is nobody it is for. Every heapLooks the heap is looked at.
	look       = 10 * time.Millisecond
	busyLooks  = 5
	crowdLooks = 2
	crowd      = 8
	restLooks  = 10
	heapLooks  = 10
	// small is what may live on the heap, in bytes. The runtime changes the number of cores between two collections only, and
	// those of a larger heap take long on one core: who meets another while there is one waits for its end.
	small = 128 << 20
)

// Governor counts the requests that are under way and sets how many cores run Go code at once. It is for a process, and all
// who serve requests in it. Its methods may be called from many goroutines; a nil Governor does nothing.
type Governor struct {
	runtime process

	met     atomic.Bool   // not long ago: nothing is counted
	under   atomic.Int32  // requests under way
	row     atomic.Uint32 // requests that ended since one met another
	ruling  atomic.Bool
	meeting chan struct{} // tells who rules

	retired atomic.Bool
	busy    time.Time     // until then one core is not enough; of who rules
	hold    time.Duration // for how long it was not the last time
}

// process is what is governed.
type process interface {
	set(one bool)        // changes the number of cores
	used() time.Duration // the CPU time
	heap() uint64        // the bytes that live on the heap
	runnable() uint64    // the goroutines that wait for a core
}

// New makes the governor of this process. It is nil where there is nothing to govern: on a machine of one core, where the
// operator has set GOMAXPROCS, and where the system does not tell how much CPU time a process has used.
func New() *Governor {
	if os.Getenv("GOMAXPROCS") != "" || runtime.GOMAXPROCS(0) == 1 || used() == 0 {
		return nil
	}
	return govern(this{})
}

func govern(p process) *Governor {
	return &Governor{runtime: p, meeting: make(chan struct{}, 1), hold: busyHold / 2}
}

// this is this process.
type this struct{}

// set implements process: all cores are as many as a new process would use.
func (this) set(one bool) {
	if one {
		runtime.GOMAXPROCS(1)
	} else {
		runtime.SetDefaultGOMAXPROCS()
	}
}

func (this) used() time.Duration { return used() }
func (this) heap() uint64        { return Live() }
func (this) runnable() uint64    { return read("/sched/goroutines/runnable:goroutines") }

// Live is how many bytes outlived the last collection.
func Live() uint64 { return read("/gc/heap/live:bytes") }

// read is a figure of the runtime; 0 where it has none of that name.
func read(name string) uint64 {
	sample := []metrics.Sample{{Name: name}}
	if metrics.Read(sample); sample[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return sample[0].Value.Uint64()
}

// Retire has all cores used from now on: there is work in this process that nobody counts.
func (g *Governor) Retire() {
	if g != nil {
		g.retired.Store(true)
		g.tell()
	}
}

// tell tells who rules that one core is not enough any more.
func (g *Governor) tell() {
	select {
	case g.meeting <- struct{}{}:
	default:
	}
}

// Handler counts the requests of a handler.
func (g *Governor) Handler(next http.Handler) http.Handler {
	if g == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer g.End(g.Begin())
		next.ServeHTTP(w, r)
	})
}

// Begin is called when a request begins. What it returns goes to End when the request has ended.
func (g *Governor) Begin() (counted bool) {
	if g == nil || g.met.Load() {
		return false
	}
	if g.under.Add(1) > 1 {
		g.meet()
		g.tell()
	}
	return true
}

// End is called when a request ends.
func (g *Governor) End(counted bool) {
	if counted && g.under.Add(-1) == 0 {
		g.one()
	}
}

// Wrote is called after each write of others' that this server keeps too, which come one after the other however many ask.
func (g *Governor) Wrote() {
	if g != nil && !g.met.Load() && g.under.Load() <= 1 {
		g.one()
	}
}

// one is one more that met no other.
func (g *Governor) one() {
	if g.row.Add(1) >= enough && g.ruling.CompareAndSwap(false, true) {
		go g.rule() // ends when there is no lone client any more
	}
}

// meet has all cores used for a while, in which nothing is counted.
func (g *Governor) meet() {
	if !g.met.CompareAndSwap(false, true) {
		return
	}
	time.AfterFunc(meetingHold, func() {
		g.row.Store(0)
		g.met.Store(false)
	})
}

// rule has one core used for as long as there is a lone client.
func (g *Governor) rule() {
	defer g.ruling.Store(false)
	defer g.row.Store(0)
	select {
	case <-g.meeting: // an old one
	default:
	}
	if g.met.Load() || g.under.Load() > 1 || g.retired.Load() || time.Now().Before(g.busy) {
		return
	}
	busy := g.runtime.heap() > small
	if !busy {
		g.runtime.set(true)
		busy = g.watch()
		g.runtime.set(false)
	}
	if busy {
		g.hold = min(2*g.hold, longestHold)
		g.busy = time.Now().Add(g.hold)
	}
}

// watch returns when one core is used no longer, and reports whether that is because it was not enough.
func (g *Governor) watch() (busy bool) {
	ticks := time.NewTicker(look)
	defer ticks.Stop()
	at, worked, row := time.Now(), g.runtime.used(), g.row.Load()
	works, crowds, rests := 0, 0, 0
	for n := 1; works < busyLooks && crowds < crowdLooks; n++ {
		select {
		case <-g.meeting:
			return false
		case <-ticks.C:
		}
		now, more := time.Now(), g.runtime.used()
		if works++; more-worked < now.Sub(at)*9/10 {
			works = 0
		}
		if crowds++; g.runtime.runnable() <= crowd {
			crowds = 0
		}
		if n%heapLooks == 0 && g.runtime.heap() > small {
			return true
		}
		at, worked = now, more
		switch after := g.row.Load(); {
		case after != row:
			row, rests = after, 0
		case rests == restLooks:
			return false
		default:
			rests++
		}
	}
	return true
}

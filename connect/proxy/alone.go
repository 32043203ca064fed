package proxy

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	usage "runtime/metrics"
	"time"
)

// Alone sets the runtime of a process that runs proxies and nothing else: half of the cores run Go code at once, at least
// one. The applications that they are for have the others, and fewer threads that wake one another save a tenth of what a
// request costs. GOMAXPROCS in the environment counts instead.
//
// The heap is collected when it has grown by half, unless GOGC says otherwise: exchanges take no memory, so there is little
// to collect, and what connections at rest take counts more. Where memory was taken is not recorded: nobody can ask for it.
func Alone() {
	runtime.MemProfileRate = 0
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(1, runtime.GOMAXPROCS(0)/2)) // which is what a container may use
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
}

// GiveBack gives memory back to the system whenever the process has come to rest, until ctx ends. It is for processes that run
// proxies and nothing else: after a snapshot was taken up, or many connections have come, the heap is several times of what is
// in use, and without traffic nobody would collect it for minutes.
func GiveBack(ctx context.Context) {
	every := time.NewTicker(restEvery)
	defer every.Stop()
	for r := new(resting); ; {
		select {
		case <-every.C:
			r.look()
		case <-ctx.Done():
			return
		}
	}
}

const (
	restEvery = 5 * time.Second
	restLeast = 1 << 20 // bytes that were allocated, for less it does not pay
)

// resting notices that a process has come to rest: between two looks there was no collection.
type resting struct{ cycles, given uint64 }

// look gives memory back if there is reason to, and reports whether it did.
func (r *resting) look() bool {
	now := []usage.Sample{{Name: "/gc/cycles/total:gc-cycles"}, {Name: "/gc/heap/allocs:bytes"}}
	usage.Read(now)
	cycles, allocated := now[0].Value.Uint64(), now[1].Value.Uint64()
	calm := cycles == r.cycles
	r.cycles = cycles
	if !calm || allocated-r.given < restLeast {
		return false
	}
	runtime.GC() // what pools hold outlives one collection
	debug.FreeOSMemory()
	r.cycles, r.given = cycles+2, allocated
	return true
}

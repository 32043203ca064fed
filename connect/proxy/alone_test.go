package proxy

import (
	"runtime"
	"testing"
)

var held []byte

// A process that has come to rest gives memory back, once.
func TestGiveBack(t *testing.T) {
	forced := func() uint32 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.NumForcedGC
	}
	r := new(resting)
	held = make([]byte, 2*restLeast)
	runtime.GC()
	if before := forced(); r.look() || forced() != before {
		t.Error("a process gave memory back that was collecting just now")
	}
	if before := forced(); !r.look() || forced() == before {
		t.Error("a process at rest gives nothing back")
	}
	if before := forced(); r.look() || forced() != before {
		t.Error("a process that had nothing to do gave back again")
	}
	held = make([]byte, 2*restLeast)
	runtime.GC()
	if r.look() || !r.look() {
		t.Error("what came later is not given back")
	}
	held = nil
}

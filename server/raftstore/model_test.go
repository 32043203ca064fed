package raftstore

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/curia-mesh/curia/server/raftstore/storetest"
)

const testSegment = 4 << 10

func openDisk(d *disk) (*Store, error) {
	return Open("mem", Options{SegmentSize: testSegment, CacheBytes: 600, LockTimeout: time.Nanosecond, FS: d})
}

// simulated is a store on a simulated disk.
type simulated struct {
	d *disk
	s *Store
}

func (x *simulated) Store() storetest.Store { return x.s }
func (x *simulated) Quiesce()               { x.s.bg.Wait() }

func (x *simulated) reopen(t *rapid.T, d *disk) {
	x.s.bg.Wait()
	s, err := openDisk(d)
	if err != nil {
		t.Fatal(err)
	}
	x.d, x.s = d, s
}

// stop returns the disk after a kill or a power cut.
func (x *simulated) stop(t *rapid.T, how string) *disk {
	if how == "cut" {
		return x.d.powerCut(keepSome(rapid.Uint64Range(0, 1<<32).Draw(t, "seed")))
	}
	return x.d.kill()
}

func (x *simulated) Restart(t *rapid.T) {
	how := rapid.SampledFrom([]string{"close", "kill", "cut"}).Draw(t, "how")
	if how == "close" {
		if err := x.s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	x.reopen(t, x.stop(t, how))
}

func (x *simulated) Interrupt(t *rapid.T, op storetest.Operation) bool {
	x.d.failFrom(x.d.ops + rapid.IntRange(1, 12).Draw(t, "after"))
	err := op.Call(x.s)
	x.s.bg.Wait()
	x.reopen(t, x.stop(t, rapid.SampledFrom([]string{"kill", "cut"}).Draw(t, "how")))
	return err == nil
}

// TestModel compares a store with a plain map under random operations,
// restarts, kills, power cuts and faults.
func TestModel(t *testing.T) {
	storetest.Random(t, func(t *rapid.T) storetest.Subject {
		x := &simulated{}
		d := newDisk()
		s, err := openDisk(d)
		if err != nil {
			t.Fatal(err)
		}
		x.d, x.s = d, s
		return x
	})
}

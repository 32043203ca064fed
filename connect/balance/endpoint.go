package balance

import (
	"math"
	"sync/atomic"
	"time"
)

// Member is an endpoint as the owner of a pool knows it.
type Member struct {
	// Key says which one it is. What was measured of a key stays as long as the key does, and Registered is the same: one
	// that went and came back begins anew, also where nobody saw it gone.
	Key        string
	Registered uint64
	// Weight is its share of the traffic in proportion to those of others; 0 counts as 1.
	Weight uint32
	// Level is how far away it is: 0 before 1 before 2. See Level.
	Level uint8
	// Unhealthy endpoints get traffic only while the pool panics, and Silent ones, which do not answer at all, as well.
	Unhealthy, Silent bool
	// Value is the owner's own: an address, a connection pool.
	Value any
}

// Endpoint is a member of a pool and what was measured of it. All methods may be called from any goroutine.
type Endpoint struct {
	key      string
	since    uint64 // Member.Registered
	value    atomic.Pointer[any]
	inflight atomic.Int64
	cost     cost
	_        [64]byte // what follows is read with every pick, and written seldom

	added   time.Duration // for slow start
	warming atomic.Bool
	health  health
}

// Key returns the member's key.
func (e *Endpoint) Key() string { return e.key }

// Value returns the member's value as it was last told.
func (e *Endpoint) Value() any { return *e.value.Load() }

// Begin counts a request that is sent to the endpoint. Each is followed by one Pool.Done.
func (e *Endpoint) Begin() { e.inflight.Add(1) }

// Active returns how many requests it has.
func (e *Endpoint) Active() int64 { return e.inflight.Load() }

// cost is a moving average of latencies that jumps to a higher one at once and comes back slowly, with the moment
// of its last change: a request is not sent again where the last one just took long, and who is not asked looks
// better and better until it is asked again.
// Source: "peak EWMA" of Finagle, https://twitter.github.io/finagle/guide/Clients.html#load-balancing
type cost struct {
	packed atomic.Uint64 // float32 nanoseconds, and a stamp of costTick
}

// costTick is what stamps count in: their 32 bits last for three days, and of who is idle for longer than half of
// that nothing is known any more.
const costTick = 1 << 16 // ns

func pack(ns float64, at time.Duration) uint64 {
	return uint64(math.Float32bits(float32(ns)))<<32 | uint64(uint32(at/costTick))
}

// unpack returns the average and how long ago it was made.
func unpack(packed uint64, now time.Duration) (ns, age float64) {
	ns = float64(math.Float32frombits(uint32(packed >> 32)))
	ticks := int32(uint32(now/costTick) - uint32(packed))
	return ns, float64(max(ticks, 0)) * costTick
}

// at returns the average as it is now; first is that of an endpoint that has not answered yet.
func (c *cost) at(now time.Duration, decay float64, first time.Duration) float64 {
	packed := c.packed.Load()
	if packed == 0 {
		return float64(first)
	}
	ns, age := unpack(packed, now)
	return ns * fade(age/decay)
}

// observe counts a latency.
func (c *cost) observe(now, latency time.Duration, decay float64, first time.Duration) {
	for {
		packed := c.packed.Load()
		ns, age := float64(first), 0.0
		if packed != 0 {
			ns, age = unpack(packed, now)
		}
		next := float64(max(latency, 1))
		if next < ns {
			w := fade(age / decay)
			if w == 1 && packed != 0 {
				return // within one tick of the last one; only a peak would count
			}
			next = ns*w + next*(1-w)
		}
		if c.packed.CompareAndSwap(packed, pack(next, now)) {
			return
		}
	}
}

// fade is about e to the power of -x: at most half a percent point off, and quick.
func fade(x float64) float64 {
	if x >= 16 {
		return 0
	}
	f := 1 - x/64
	f *= f
	f *= f
	f *= f
	f *= f
	f *= f
	return f * f
}

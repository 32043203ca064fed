package telemetry

import (
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	metrics "github.com/hashicorp/go-metrics"
)

// series is one metric with one set of labels. Updating it takes no lock but that of one of its shards.
type series struct {
	kind   Kind
	name   string          // prefix and key joined with dots
	hosted string          // name with the host's name after the prefix; name itself except for gauges
	key    string          // identity, and order of output
	labels []metrics.Label // in the order of the emitter

	blocked  atomic.Bool // by the filter
	declared bool        // by a Definition: shown before its first value
	pinned   atomic.Bool // held by a Timer or Counter, or declared: never removed
	touched  atomic.Int64
	gauge    atomic.Uint64 // bits of a gauge's value

	shards []shard
	total  aggregate // of all finished intervals; guarded by table.turning
	hist   *histogram

	prom    promSeries // while Prometheus is on, as hist
	pushers []*pusher
	lines   []pushName // what each pusher calls the series
}

// shard is a part of the running interval's aggregate, alone on its cache line. Its lock is held for a few
// nanoseconds: cheaper than five atomic operations, and the aggregate stays consistent.
type shard struct {
	mu  sync.Mutex
	agg aggregate
	_   [64 - 8 - 40]byte
}

// aggregate summarises values.
type aggregate struct {
	count           uint64
	sum, sumSquares float64
	min, max        float64
}

func (a *aggregate) add(v float64) {
	if a.count == 0 || v < a.min {
		a.min = v
	}
	if a.count == 0 || v > a.max {
		a.max = v
	}
	a.count++
	a.sum += v
	a.sumSquares += v * v
}

func (a *aggregate) merge(b aggregate) {
	if b.count == 0 {
		return
	}
	if a.count == 0 {
		*a = b
		return
	}
	a.count += b.count
	a.sum += b.sum
	a.sumSquares += b.sumSquares
	a.min, a.max = min(a.min, b.min), max(a.max, b.max)
}

func (a *aggregate) mean() float64 {
	if a.count == 0 {
		return 0
	}
	return a.sum / float64(a.count)
}

// stddev is the standard deviation of a sample (n - 1), 0 for a single value.
func (a *aggregate) stddev() float64 {
	n := float64(a.count)
	if n < 2 {
		return 0
	}
	// Rounding can take the difference of two large equals below zero.
	return math.Sqrt(max(0, n*a.sumSquares-a.sum*a.sum) / (n * (n - 1)))
}

// shardCount is a power of two, so that a random shard is a mask away. More than eight buy nothing.
func shardCount() int {
	n := 1
	for n < runtime.NumCPU() && n < 8 { // GOMAXPROCS changes: see rpc/cores
		n *= 2
	}
	return n
}

// set gives a gauge its value.
func (s *series) set(v float64) {
	if s.blocked.Load() {
		return
	}
	s.gauge.Store(math.Float64bits(v))
	s.touched.Store(time.Now().UnixNano())
	s.push(v)
}

// observe adds a value to a counter or sample. Values that are no numbers, and negative steps of a counter, would
// spoil every sum after them and are ignored.
func (s *series) observe(v float64) {
	if s.blocked.Load() || math.IsNaN(v) || math.IsInf(v, 0) || s.kind == KindCounter && v < 0 {
		return
	}
	sh := &s.shards[rand.Uint32()&uint32(len(s.shards)-1)]
	sh.mu.Lock()
	sh.agg.add(v)
	sh.mu.Unlock()
	if s.hist != nil {
		s.hist.observe(v)
	}
	s.push(v)
}

func (s *series) push(v float64) {
	for i, p := range s.pushers {
		p.offer(update{&s.lines[i], v})
	}
}

// current is the running interval's aggregate; with take it begins a new one.
func (s *series) current(take bool) aggregate {
	var sum aggregate
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		sum.merge(sh.agg)
		if take {
			sh.agg = aggregate{}
		}
		sh.mu.Unlock()
	}
	return sum
}

func (s *series) value() float64 { return math.Float64frombits(s.gauge.Load()) }

package proxy

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// shards is how many copies there are of each counter, so that connections that are served side by side do not wait for
// one another's cache line.
const shards = 8

// counterSeq gives out shards in turn.
type counterSeq struct{ n atomic.Uint32 }

func (s *counterSeq) next() uint32 { return s.n.Add(1) % shards }

// edgeKey names an edge of the mesh, or a route of a listener.
type edgeKey struct{ listener, target, route string }

// edge counts what passes from a listener to a target, or on a route. It outlives snapshots. Most of a node with many
// sidecars have no traffic, or little: a shard takes memory when it is first used.
type edge struct {
	shard [shards]atomic.Pointer[counts]
}

// counts is a shard of an edge.
type counts struct {
	classes [6]atomic.Uint64 // exchanges by their status: 1 for 1xx and so on; 0 for those without one
	retries atomic.Uint64
	refused atomic.Uint64 // connections that could not be made
	active  atomic.Int64
	conns   atomic.Uint64 // of TCP
	there   atomic.Uint64 // bytes
	back    atomic.Uint64
	took    histogram
	_       [64]byte
}

func (e *edge) of(shard uint32) *counts {
	if c := e.shard[shard].Load(); c != nil {
		return c
	}
	e.shard[shard].CompareAndSwap(nil, new(counts))
	return e.shard[shard].Load()
}

func (c *counts) opened(took time.Duration) {
	c.conns.Add(1)
	c.active.Add(1)
	c.took.add(took)
}

func (c *counts) closed(there, back int64) {
	c.active.Add(-1)
	c.there.Add(uint64(there))
	c.back.Add(uint64(back))
}

// exchanged counts an exchange that has ended, with status 0 when the caller got no response.
func (c *counts) exchanged(status int, took time.Duration, there, back int64) {
	c.classes[min(status/100, 5)].Add(1)
	if there > 0 { // most requests have no body
		c.there.Add(uint64(there))
	}
	c.back.Add(uint64(back))
	c.took.add(took)
}

// histogram counts durations in buckets whose bounds double, each divided into four: none is off by more than a quarter.
type histogram struct {
	sum     atomic.Uint64 // ns
	buckets [nBuckets]atomic.Uint64
}

const (
	firstBucket = 10  // bounds begin at 2^10 ns
	nBuckets    = 112 // and end at 2^38 ns, more than four minutes
)

func (h *histogram) add(d time.Duration) {
	h.sum.Add(uint64(max(d, 0)))
	h.buckets[bucketOf(d)].Add(1)
}

func bucketOf(d time.Duration) int {
	n := bits.Len64(uint64(max(d, 0)))
	if n <= firstBucket {
		return 0
	}
	return min((n-1-firstBucket)*4+int(uint64(d)>>(n-3)&3), nBuckets-1)
}

// bound is the duration at which a bucket ends.
func bound(bucket int) time.Duration {
	return time.Duration(uint64(5+bucket%4) << (firstBucket - 2 + bucket/4))
}

// edge is where an edge is counted, for as long as the proxy runs.
func (p *Proxy) edge(listener, target, route string) *edge {
	key := edgeKey{listener, target, route}
	e := p.edges[key]
	if e == nil {
		e = new(edge)
		p.edges[key] = e
	}
	return e
}

// Edge is what passed from a listener to a target so far, or on one of its routes, where it has several.
type Edge struct {
	Listener, Target  string
	Route             string
	Requests          uint64
	Classes           [6]uint64 // by the first digit of the status; 0 is without response
	Retries, Refused  uint64
	Active            int64
	Conns             uint64
	BytesThere, Bytes uint64
	Sum               time.Duration // of all times to the end of an exchange
	Buckets           []uint64      // see Bound
}

// refused is how many connections each listener closed because it had too many.
func (p *Proxy) refused() map[string]uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := make(map[string]uint64, len(p.listening))
	for _, l := range p.listening {
		n[l.config.Load().Name] = l.refused.Load()
	}
	return n
}

// unnamed is how many connections each listener that routes by name did not pass on, by the reason.
func (p *Proxy) unnamed() map[string][namelessKinds]uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := map[string][namelessKinds]uint64{}
	for _, l := range p.listening {
		if c := l.config.Load(); c.Protocol == SNI {
			var counts [namelessKinds]uint64
			for i := range counts {
				counts[i] = l.unnamed[i].Load()
			}
			n[c.Name] = counts
		}
	}
	return n
}

// Bound is the duration at which a bucket of Edge ends.
func Bound(bucket int) time.Duration { return bound(bucket) }

// Edges is what passed so far, in no order.
func (p *Proxy) Edges() []Edge {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]Edge, 0, len(p.edges))
	for key, e := range p.edges {
		sum := Edge{Listener: key.listener, Target: key.target, Route: key.route, Buckets: make([]uint64, nBuckets)}
		for i := range e.shard {
			c := e.shard[i].Load()
			if c == nil {
				continue
			}
			sum.Retries += c.retries.Load()
			sum.Refused += c.refused.Load()
			sum.Active += c.active.Load()
			sum.Conns += c.conns.Load()
			sum.BytesThere += c.there.Load()
			sum.Bytes += c.back.Load()
			sum.Sum += time.Duration(c.took.sum.Load())
			for k := range c.classes {
				n := c.classes[k].Load()
				sum.Classes[k] += n
				sum.Requests += n
			}
			for k := range c.took.buckets {
				sum.Buckets[k] += c.took.buckets[k].Load()
			}
		}
		all = append(all, sum)
	}
	return all
}

package balance

import "sync/atomic"

// Gate bounds how many are inside at a time: connections, requests, waiting ones, retries, or calls of one dependency
// (a bulkhead). Who does not fit is turned away at once. The zero value lets nobody in.
// Source: https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/circuit_breaking
type Gate struct {
	most   atomic.Int64
	inside atomic.Int64
	_      [48]byte // gates lie beside each other
}

// Set changes how many may be inside. Who is stays.
func (g *Gate) Set(most int) { g.most.Store(int64(most)) }

// Enter reports whether there was room for one more. If so Leave is to be called.
func (g *Gate) Enter() bool {
	if g.inside.Add(1) > g.most.Load() {
		g.inside.Add(-1)
		return false
	}
	return true
}

// Leave makes room again.
func (g *Gate) Leave() { g.inside.Add(-1) }

// Inside returns how many are.
func (g *Gate) Inside() int { return int(g.inside.Load()) }

// Limits are the gates of one target, with defaults of 1024 connections, 1024 requests that wait for one, 1024
// requests and 3 retries at a time.
type Limits struct {
	Connections, Pending, Requests, Retries Gate
}

// NewLimits returns gates; 0 is the default.
func NewLimits(connections, pending, requests, retries int) *Limits {
	l := new(Limits)
	l.Connections.Set(or(connections, 1024))
	l.Pending.Set(or(pending, 1024))
	l.Requests.Set(or(requests, 1024))
	l.Retries.Set(or(retries, 3))
	return l
}

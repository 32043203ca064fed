package sidecar

import (
	"sync/atomic"
	"time"

	"github.com/curia-mesh/curia/connect/proxy"
)

// turns picks endpoints in turn.
type turns struct {
	n    int
	next atomic.Uint64
}

var _ proxy.Balancer = (*turns)(nil)

// Pick implements proxy.Balancer.
func (b *turns) Pick(_ uint64, not int) int {
	if b.n == 0 {
		return -1
	}
	i := int(b.next.Add(1) % uint64(b.n))
	if i == not {
		i = (i + 1) % b.n
	}
	return i
}

// Done implements proxy.Balancer.
func (b *turns) Done(int, proxy.Result, time.Duration) {}

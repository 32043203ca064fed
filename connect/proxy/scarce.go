package proxy

import (
	"sync/atomic"
	"time"

	"github.com/curia-mesh/curia/connect"
)

// scarce says once in a while what happens thousands of times a second. The access log has each.
type scarce struct {
	said   atomic.Int64 // when, on the proxy's clock
	unsaid atomic.Uint64
}

const scarceEvery = time.Second

// again reports whether it is to be said, and how often it was not since the last time.
func (s *scarce) again(now time.Duration) (others uint64, say bool) {
	last := s.said.Load()
	if last != 0 && int64(now)-last < int64(scarceEvery) || !s.said.CompareAndSwap(last, max(int64(now), 1)) {
		s.unsaid.Add(1)
		return 0, false
	}
	return s.unsaid.Swap(0), true
}

// deny says that a caller was denied something, and by what.
func (l *listening) deny(what string, conf *Listener, c *client, d connect.Decision) {
	if others, say := l.denied.again(l.proxy.clock()); say {
		l.proxy.Log.Info(what, "listener", conf.Name, "from", c.caller.Service, "by", d.String(), "others", others)
	}
}

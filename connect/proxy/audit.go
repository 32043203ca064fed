package proxy

import (
	"sync"
	"sync/atomic"

	"github.com/curia-mesh/curia/connect"
)

// audits are what a listener let pass that an intention would have denied, were it not only tried out.
type audits struct {
	n       atomic.Uint64
	mu      sync.Mutex
	callers map[connect.Caller]*scarce
}

// maxAudited is how many callers are spoken of each by itself.
const maxAudited = 256

// audit counts and says what would have been denied: of each caller once in a while, so that none hides behind another.
func (l *listening) audit(what string, conf *Listener, c *client, d connect.Decision) {
	l.audits.n.Add(1)
	if others, say := l.audits.of(c.caller).again(l.proxy.clock()); say {
		l.proxy.Log.Info("allowed, as an intention only tries out whom it denies", "what", what, "listener", conf.Name, "from", c.caller.Service, "peer", c.caller.Peer, "by", d.String(), "others", others)
	}
}

func (a *audits) of(who connect.Caller) *scarce {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.callers[who]
	if s == nil {
		if len(a.callers) >= maxAudited {
			clear(a.callers)
		}
		if a.callers == nil {
			a.callers = map[connect.Caller]*scarce{}
		}
		s = new(scarce)
		a.callers[who] = s
	}
	return s
}

// audited is how many connections and requests of each listener would have been denied.
func (p *Proxy) audited() map[string]uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make(map[string]uint64, len(p.listening))
	for _, l := range p.listening {
		if conf := l.config.Load(); conf.Policy != nil {
			all[conf.Name] = l.audits.n.Load()
		}
	}
	return all
}

package proxy

import (
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/rpc/http1/wire"
	"github.com/curia-mesh/curia/rpc/http2"
)

// recheck cuts what a new policy denies: the connection, or those of its exchanges.
func (c *client) recheck(conf *Listener) {
	if !c.known.Load() {
		return
	}
	log := c.listening.proxy.Log
	if !c.allowed(conf) {
		log.Info("connection cut: it is denied now", "listener", conf.Name, "from", c.caller.Service)
		c.cut()
		return
	}
	if conf.Policy == nil || conf.Policy.Connection(c.caller).Verdict != connect.ByRequest {
		return
	}
	c.mu.Lock()
	n := c.shared
	denied := c.other != nil && c.text != nil && !c.mayAsk(conf, c.text)
	c.mu.Unlock()
	if denied {
		log.Info("connection cut: its request is denied now", "listener", conf.Name, "from", c.caller.Service)
		c.cut()
	}
	if n != nil {
		n.recheck(conf)
	}
}

func (n *shared) recheck(conf *Listener) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for d := range n.live {
		if !n.client.mayAsk(conf, d.text) {
			n.client.listening.proxy.Log.Info("request cut: it is denied now", "listener", conf.Name, "from", n.client.caller.Service)
			d.s.Reset(http2.Cancel)
		}
	}
}

// mayAsk reports whether a request with this head would be allowed.
func (c *client) mayAsk(conf *Listener, text []byte) bool {
	var h wire.Head
	if h.Parse(text) != nil {
		return false
	}
	x := exchange{client: c}
	x.head, x.text = &h, text
	return x.prepare(conf) == nil && x.authorize(conf).Verdict == connect.Allow
}

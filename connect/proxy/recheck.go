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
	if c.caller.Peer != "" && conf.Certs != nil {
		if trust, err := conf.Certs.Trust(); err != nil || trust.PeerOf(c.peer) != c.caller.Peer {
			c.listening.proxy.Log.Info("connection cut: the service is not exported to the caller's cluster any more", "listener", conf.Name, "from", c.caller.Service, "peer", c.caller.Peer)
			c.cut()
			return
		}
	}
	if conf.Policy == nil || conf.Policy.Connection(c.caller).Verdict == connect.Allow {
		return
	}
	c.mu.Lock()
	n, busy, text := c.shared, c.other != nil, c.text
	denied := false
	switch {
	case conf.Protocol != HTTP || busy && text == nil: // bytes, now or since the listener took nothing else
		denied = !c.allowed(conf) || conf.Protocol == HTTP
	case busy:
		denied = !c.mayAsk(conf, text)
	}
	c.mu.Unlock()
	if denied {
		c.listening.proxy.Log.Info("connection cut: it is denied now, or its request is", "listener", conf.Name, "from", c.caller.Service)
		c.cut()
		return
	}
	if n != nil {
		n.recheck(conf)
	}
}

func (n *shared) recheck(conf *Listener) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, d := range n.live {
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
	if x.prepare(conf) != nil {
		return false
	}
	if conf.Tokens != nil {
		x.tokens.later = true
		x.carriesTokens(conf)
	}
	d := x.authorize(conf)
	return d.Verdict == connect.Allow || d.Unproven && d.Token == errUndecided
}

package server_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server"
	"github.com/curia-mesh/curia/server/api"
)

// stale reads a key from this server's own store.
func stale(t *testing.T, n *node, key string) string {
	t.Helper()
	pairs, _, err := api.KVRead.Call(t.Context(), n.Caller(), rpc.Header{Consistency: rpc.Stale}, &api.KVQuery{Key: key})
	if err != nil {
		t.Fatalf("%s: stale read: %v", n.cfg.NodeName, err)
	}
	if len(*pairs) == 0 {
		return ""
	}
	return string((*pairs)[0].Value)
}

func TestServersThatComeBackKnowWhatTheyKnew(t *testing.T) {
	_, nodes := three(t)
	put(t, nodes[0].Server, "a", "1")
	for i := range 6 {
		n := nodes[i%3]
		n.kill()
		leader(t, followers(nodes, n)...)
		n.run(t)
		if got := stale(t, n, "a"); got != "1" {
			t.Errorf("%s answers %q when it is just back", n.cfg.NodeName, got)
		}
	}
}

// Without a quorum nobody says what is committed, and stale reads are answered from what there is.
func TestStaleReadsOfAServerThatComesBackAlone(t *testing.T) {
	_, nodes := three(t, func(c *server.Config) { c.HoldTimeout = time.Second })
	put(t, nodes[0].Server, "a", "1")
	for _, n := range nodes {
		n.kill()
	}
	nodes[0].run(t)
	stale(t, nodes[0], "a")
}

// gated is a network in which connections to one address can be kept waiting.
type gated struct {
	mu    sync.Mutex
	addr  string
	open  chan struct{}
	comes chan struct{} // somebody waits
}

func (g *gated) connect(ctx context.Context, network, addr string) (net.Conn, error) {
	g.mu.Lock()
	open, comes, shut := g.open, g.comes, addr == g.addr
	g.mu.Unlock()
	if shut {
		select {
		case comes <- struct{}{}:
		default:
		}
		select {
		case <-open:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return new(net.Dialer).DialContext(ctx, network, addr)
}

// shut keeps who dials addr waiting until the function that it returns is called.
func (g *gated) shut(addr string) (open func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.addr, g.open, g.comes = addr, make(chan struct{}), make(chan struct{}, 1)
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.addr = ""
		close(g.open)
	}
}

// What was acknowledged while a server was away it knows too before it answers, whatever the leader had to tell it
// before.
func TestServersThatComeBackKnowWhatTheyMissed(t *testing.T) {
	network := &gated{}
	_, nodes := three(t, func(c *server.Config) { c.Connect = network.connect })
	l := leader(t, nodes...)
	n := followers(nodes, l)[0]
	put(t, l.Server, "a", "1")
	for range 3 {
		n.kill()
		open := network.shut(n.cfg.Bind)
		put(t, l.Server, "a", "2") // on its way to the server with an index that is committed before this
		<-network.comes
		put(t, l.Server, "a", "3")
		n.run(t)
		open()
		if got := stale(t, n, "a"); got != "3" {
			t.Errorf("%s answers %q when it is back", n.cfg.NodeName, got)
		}
	}
}

package router

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/curia-mesh/curia/rpc/gossip"
)

// list is the servers in the order in which they are tried; the first one is in use. Its slice is replaced, never
// changed.
type list struct {
	key     func(gossip.Server) string
	mu      sync.Mutex
	servers []gossip.Server
	changed chan struct{} // closed, and replaced, when there are other servers
}

func newList(key func(gossip.Server) string) list {
	return list{key: key, changed: make(chan struct{})}
}

// next is the address of the first server that was not tried; with "" any is whether there are servers at all.
func (l *list) next(tried map[string]bool) (to string, changed <-chan struct{}, any bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.servers {
		if !tried[l.key(s)] {
			return l.key(s), l.changed, true
		}
	}
	return "", l.changed, len(l.servers) > 0
}

// demote moves a server to the back, and reports whether it was not there.
func (l *list) demote(address string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := slices.IndexFunc(l.servers, func(s gossip.Server) bool { return l.key(s) == address })
	if at < 0 || at == len(l.servers)-1 {
		return false
	}
	l.servers = append(slices.Delete(slices.Clone(l.servers), at, at+1), l.servers[at])
	return true
}

// shuffle brings the servers in another order.
func (l *list) shuffle() {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := slices.Clone(l.servers)
	rand.Shuffle(len(next), func(i, j int) { next[i], next[j] = next[j], next[i] })
	l.servers = next
}

// set makes the servers those that are alive, and returns the addresses that are not used any more. Those that
// stay keep their order, and the one in use stays that: one that has just come back may have much to catch up
// with. New ones come in anywhere behind it.
func (l *list) set(alive []gossip.Server) (gone []string, news bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	byID := make(map[string]gossip.Server, len(alive))
	for _, s := range alive {
		byID[s.ID] = s
	}
	var next []gossip.Server
	for _, old := range l.servers {
		s, stays := byID[old.ID]
		if stays {
			next = append(next, s)
			delete(byID, s.ID)
		}
		if !stays || l.key(s) != l.key(old) {
			gone, news = append(gone, l.key(old)), true
		}
	}
	front := min(len(next), 1)
	for _, s := range alive {
		if _, fresh := byID[s.ID]; fresh {
			next, news = slices.Insert(next, front+rand.N(len(next)-front+1), s), true
			delete(byID, s.ID)
		}
	}
	gone = slices.DeleteFunc(gone, func(a string) bool {
		return slices.ContainsFunc(next, func(s gossip.Server) bool { return l.key(s) == a })
	})
	l.servers = next
	if news {
		close(l.changed)
		l.changed = make(chan struct{})
	}
	return gone, news
}

// SetMembers tells the router who is in the pool now. Connections to servers that have failed or left end, and
// the calls on them go to others. It never blocks for long.
func (r *Router) SetMembers(members []gossip.Member) {
	var alive []gossip.Server
	for _, m := range members {
		if s, ok := m.Server(); ok && s.Datacenter == r.o.Datacenter && s.Status == gossip.StatusAlive {
			alive = append(alive, s)
		}
	}
	gone, news := r.list.set(alive)
	for _, address := range gone {
		r.o.Pool.Drop(address)
	}
	if news {
		r.o.Log.Info("servers changed", "servers", len(alive), "gone", gone)
	}
}

// Servers lists the servers in the order in which they are tried.
func (r *Router) Servers() []gossip.Server {
	r.list.mu.Lock()
	defer r.list.mu.Unlock()
	return r.list.servers
}

// Changed returns a channel that is closed when there are other servers.
func (r *Router) Changed() <-chan struct{} {
	r.list.mu.Lock()
	defer r.list.mu.Unlock()
	return r.list.changed
}

// Timing of the rebalancing.
// Source: https://developer.hashicorp.com/consul/docs/architecture/scale (client agents reconnect to servers)
const (
	minReuse       = 2 * time.Minute // and up to half as much again
	connsPerServer = 64              // new connections a second that a server gets of all agents, at most
)

// reuse is how long the server in use stays that: the longer, the more agents share few servers.
func reuse(nodes, servers int) time.Duration {
	least := minReuse + rand.N(minReuse/2)
	scaled := time.Duration(nodes) * time.Second / time.Duration(connsPerServer*max(servers, 1))
	return max(least, scaled)
}

// Run takes another server into use from time to time, until ctx ends: agents find servers that came later so,
// and do not all stay with those that were there first.
func (r *Router) Run(ctx context.Context) error {
	for {
		timer := time.NewTimer(reuse(r.o.Nodes(), len(r.Servers())))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
			r.list.shuffle()
		}
	}
}

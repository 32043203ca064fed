package server

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/curia-mesh/curia/rpc/gossip"
)

// roster is what gossip knows of the servers of this datacenter. It finds a server by its id wherever it is:
// all addresses of a cluster may change at once.
type roster struct {
	datacenter string
	self       raft.Server // with the address that it advertises
	members    func() []gossip.Member
	log        *slog.Logger
	changed    signal // given with each change of the LAN pool

	stale atomic.Bool
	known atomic.Pointer[map[string]gossip.Server]
	mu    sync.Mutex        // held while known is made anew
	told  map[string]string // by id: which two have it
}

func newRoster(datacenter string, self raft.Server, members func() []gossip.Member, log *slog.Logger) *roster {
	r := &roster{datacenter: datacenter, self: self, members: members, log: log, told: map[string]string{}}
	r.stale.Store(true)
	return r
}

// observe says that the pool has changed. It never blocks for long.
func (r *roster) observe() {
	r.stale.Store(true)
	r.changed.give()
}

// byID are the servers of this datacenter, also those that failed or left. The map is shared.
func (r *roster) byID() map[string]gossip.Server {
	if known := r.known.Load(); known != nil && !r.stale.Load() {
		return *known
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stale.Swap(false) {
		known := r.read()
		r.known.Store(&known)
	}
	return *r.known.Load()
}

func (r *roster) read() map[string]gossip.Server {
	known := map[string]gossip.Server{}
	for _, m := range r.members() {
		s, ok := m.Server()
		if !ok || s.Datacenter != "" && s.Datacenter != r.datacenter {
			continue
		}
		s.Name = m.Name
		other, twice := known[s.ID]
		if twice && s.Status == gossip.StatusAlive && other.Status == gossip.StatusAlive {
			r.tellTwins(other, s)
		}
		if !twice || other.Status != gossip.StatusAlive {
			known[s.ID] = s
		}
	}
	return known
}

// tellTwins says once that two living servers have one id.
func (r *roster) tellTwins(a, b gossip.Server) {
	text := fmt.Sprintf("%s at %s and %s at %s", a.Name, a.Addr, b.Name, b.Addr)
	if r.told[a.ID] == text {
		return
	}
	r.told[a.ID] = text
	r.log.Error("two servers have one node id, such as when a data directory was copied: stop the copy, delete node-id and raft in its data_dir and start it again",
		"id", a.ID, "one", a.Name, "address", a.Addr, "other", b.Name, "other_address", b.Addr)
}

// alive are the servers that gossip reaches, sorted by id.
func (r *roster) alive() []gossip.Server {
	all := slices.SortedFunc(maps.Values(r.byID()), func(a, b gossip.Server) int { return cmp.Compare(a.ID, b.ID) })
	return slices.DeleteFunc(all, func(s gossip.Server) bool { return s.Status != gossip.StatusAlive })
}

// name is what a server calls itself, its id when gossip does not know it.
func (r *roster) name(id raft.ServerID) string {
	if s, ok := r.byID()[string(id)]; ok {
		return s.Name
	}
	return string(id)
}

// addrOf is where gossip says that a server is.
func (r *roster) addrOf(id raft.ServerID) (raft.ServerAddress, bool) {
	if id == r.self.ID {
		return r.self.Address, true
	}
	s, ok := r.byID()[string(id)]
	return raft.ServerAddress(s.Addr.String()), ok
}

// addresses is the roster as Raft's transport asks it: whom gossip does not know is where Raft's configuration
// says.
type addresses struct {
	*roster
	configured func(raft.ServerID) (raft.ServerAddress, bool)
}

// ServerAddr implements raft.ServerAddressProvider.
func (a addresses) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	if addr, ok := a.addrOf(id); ok {
		return addr, nil
	}
	if addr, ok := a.configured(id); ok {
		return addr, nil
	}
	return "", fmt.Errorf("neither gossip nor raft's configuration knows server %s", id)
}

package agent

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/curia-mesh/curia/rpc/gossip"
)

// admission decides who may be in the LAN pool of an agent: nobody of another datacenter, and nobody with the name
// or the id of somebody else who is alive, such as a machine that was cloned with its data directory.
type admission struct {
	datacenter, name, id string
	log                  *slog.Logger

	mu    sync.Mutex
	alive map[string]gossip.Member // by folded name
	byID  map[string]string        // the folded name of who has an id
	told  map[string]string        // by folded name and address: why it was refused
}

func newAdmission(datacenter, name, id string, log *slog.Logger) *admission {
	return &admission{
		datacenter: datacenter, name: name, id: id, log: log,
		alive: map[string]gossip.Member{}, byID: map[string]string{}, told: map[string]string{},
	}
}

// note hears of each change in the pool.
func (a *admission) note(e gossip.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	name := strings.ToLower(e.Member.Name)
	switch e.Kind {
	case gossip.Joined, gossip.Updated:
		if e.Member.Status == gossip.StatusAlive {
			a.alive[name], a.byID[e.Member.Tags["id"]] = e.Member, name
			delete(a.told, party(e.Member))
			return
		}
	case gossip.Left, gossip.Failed, gossip.Reaped:
	default:
		return
	}
	if id := a.alive[name].Tags["id"]; a.byID[id] == name {
		delete(a.byID, id)
	}
	delete(a.alive, name)
}

// maxTold bounds what is remembered of who was refused.
const maxTold = 1024

// admit is gossip.Config.Admit. Of one who is refused the log says so once for each reason.
func (a *admission) admit(m gossip.Member) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	err := a.judge(m)
	if err == nil || a.told[party(m)] == err.Error() {
		return err
	}
	if len(a.told) >= maxTold {
		clear(a.told)
	}
	a.told[party(m)] = err.Error()
	a.log.Error("a member is refused", "node", m.Name, "address", m.AddrPort(), "err", err)
	return err
}

func party(m gossip.Member) string { return strings.ToLower(m.Name) + " " + m.AddrPort().String() }

// judge says why a member may not be in the pool. The lock is held.
func (a *admission) judge(m gossip.Member) error {
	if dc := m.Tags["dc"]; dc != a.datacenter {
		return fmt.Errorf("it is of datacenter %q, node %q is of %q: a LAN pool is of one datacenter; set datacenter, or join the servers with join -wan", dc, a.name, a.datacenter)
	}
	if strings.EqualFold(m.Name, a.name) && m.Name != a.name {
		return fmt.Errorf("node name %q is taken: it is that of this node, %q, but for the case of its letters; give one of them another node_name", m.Name, a.name)
	}
	if holder, ok := a.alive[strings.ToLower(m.Name)]; ok && holder.Name != m.Name {
		return fmt.Errorf("node name %q is taken: it is that of node %q at %s but for the case of its letters; give one of them another node_name", m.Name, holder.Name, holder.AddrPort())
	}
	id := m.Tags["id"]
	if id == "" {
		return nil
	}
	const cloned = "if one has a copy of the other's data_dir remove node-id from the copy, or set node_id"
	if id == a.id && !strings.EqualFold(m.Name, a.name) {
		return fmt.Errorf("node id %s is taken: node %q has it, and node %q, which this is, too; %s; if %q is a former name of this node, let the others force-leave it",
			id, m.Name, a.name, cloned, m.Name)
	}
	if holder, ok := a.alive[a.byID[id]]; ok && !strings.EqualFold(holder.Name, m.Name) {
		return fmt.Errorf("node id %s is taken: node %q at %s is alive with it, node %q at %s wants it; %s", id, holder.Name, holder.AddrPort(), m.Name, m.AddrPort(), cloned)
	}
	return nil
}

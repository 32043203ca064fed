package server

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/curia-mesh/curia/rpc/gossip"
)

// strangers finds servers in the WAN pool that say they are of this datacenter, and are of another cluster.
type strangers struct {
	name, datacenter, id string
	roster               *roster
	configured           func() []raft.Server
	log                  *slog.Logger

	mu   sync.Mutex
	told map[string]*refusal // by name and address
}

// refusal is of a server in the WAN pool.
type refusal struct {
	why   string
	since time.Time
	told  bool
}

const (
	// maxStrangers bounds what is remembered of who was refused.
	maxStrangers = 256
	// newcomerGrace is how long the LAN pool may take to hear of a new server after the WAN pool has, before that is told.
	newcomerGrace = 10 * time.Second
)

func newStrangers(cfg *Config, roster *roster, configured func() []raft.Server) *strangers {
	return &strangers{
		name: cfg.NodeName, datacenter: cfg.Datacenter, id: cfg.NodeID, roster: roster, configured: configured, log: cfg.Log, told: map[string]*refusal{},
	}
}

// AvoidWAN is gossip.Config.Avoid of the WAN pool. Of one who is refused the log says so once. One who is of this
// cluster and is not known yet is refused for a moment: as soon as the LAN pool has him, he is brought into the WAN pool.
func (s *Server) AvoidWAN(m gossip.Member) error { return s.strangers.avoid(m) }

func (t *strangers) avoid(m gossip.Member) error {
	them, ok := m.Server()
	if !ok || them.Datacenter != t.datacenter {
		return nil
	}
	err, key := t.judge(them, m), m.Name+" "+m.AddrPort().String()
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		delete(t.told, key)
		return nil
	}
	was := t.told[key]
	if was == nil || was.why != err.Error() {
		if len(t.told) >= maxStrangers {
			clear(t.told)
		}
		was = &refusal{why: err.Error(), since: time.Now()}
		t.told[key] = was
	}
	if !was.told && (them.Cluster != "" || time.Since(was.since) >= newcomerGrace) {
		was.told = true
		t.log.Error("a server is not taken into the WAN pool", "node", m.Name, "address", m.AddrPort(), "err", err)
	}
	return err
}

// judge says why a server of this datacenter is none of this cluster. A server that is in no cluster itself cannot tell.
func (t *strangers) judge(them gossip.Server, m gossip.Member) error {
	ids := t.cluster()
	if len(ids) == 0 || slices.Contains(ids, them.ID) || gossip.SameCluster(gossip.ClusterTag(ids), them.Cluster) {
		return nil
	}
	if _, known := t.roster.byID()[them.ID]; known {
		return nil
	}
	return fmt.Errorf("server %q at %s says that it is of datacenter %q, as server %q is, and is neither in that one's cluster nor in its LAN pool: "+
		"two datacenters have one name: give one of them another datacenter, or if the servers are to be one cluster join them by the LAN first",
		them.Name, m.AddrPort(), t.datacenter, t.name)
}

// cluster are the ids of the servers of Raft's configuration, none when this server is not among them.
func (t *strangers) cluster() []string {
	var ids []string
	in := false
	for _, s := range t.configured() {
		ids = append(ids, string(s.ID))
		in = in || string(s.ID) == t.id
	}
	if !in {
		return nil
	}
	return ids
}

// tellClusterEvery is how often it is looked whether there is something else to tell of this server's cluster.
const tellClusterEvery = time.Second

// tellCluster tells the servers of the WAN pool which cluster this one is of, until ctx ends.
func (s *Server) tellCluster(ctx context.Context) error {
	if s.cfg.WAN == nil {
		return nil
	}
	tick := time.NewTicker(tellClusterEvery)
	defer tick.Stop()
	var told, failed string
	for {
		// One that was removed, as it leaves, goes on saying what it was.
		if tag := gossip.ClusterTag(s.strangers.cluster()); tag != told && tag != "" {
			err := s.cfg.WAN.TellCluster(tag)
			switch {
			case err == nil:
				told, failed = tag, "" // which is a change in the pool: others may be strangers now
			case ctx.Err() == nil && failed != err.Error():
				failed = err.Error()
				s.log.Warn("the other datacenters could not be told which cluster this server is of; it is tried again", "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

package server

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
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
				told, failed = tag, ""
				s.abroad.observe() // others may be strangers now
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

// namesake is what is known of a datacenter by whose name several clusters are called. Its zero value is of one.
type namesake struct {
	known   string // the ClusterTag of the cluster that was known first
	strange string // and of those that came later
	told    string
}

// keep decides whose servers of a datacenter are asked: those of the cluster that was known first, as long as any of
// them is known, be it as failed, and it was not alone when the others came. It returns the clusters that are not.
func (n *namesake) keep(servers []gossip.Server) (strange []gossip.Cluster) {
	all := gossip.Clusters(servers)
	first := slices.IndexFunc(all, func(c gossip.Cluster) bool { return gossip.SameCluster(c.Tag, n.known) })
	switch {
	case len(all) == 0:
		return nil
	case first < 0 && n.remains(servers):
		return slices.DeleteFunc(all, func(c gossip.Cluster) bool { return !gossip.SameCluster(c.Tag, n.strange) })
	case first < 0:
		first, n.strange = 0, ""
	}
	n.known = all[first].Tag
	strange = slices.Delete(all, first, first+1)
	if len(strange) > 0 {
		n.strange = ""
	}
	for _, c := range strange {
		n.strange = strings.TrimPrefix(n.strange+","+c.Tag, ",")
	}
	return strange
}

// remains reports whether a server of the cluster that was known first is known to have failed, where others have come
// while it lived. Without others it was made anew.
func (n *namesake) remains(servers []gossip.Server) bool {
	return n.strange != "" && slices.ContainsFunc(servers, func(s gossip.Server) bool {
		return s.Status == gossip.StatusFailed && gossip.SameCluster(n.known, s.Cluster)
	})
}

// asked reports whether a server is of the cluster that is asked. One that does not say, as it has just been started,
// is of the cluster that has said so.
func (n *namesake) asked(s gossip.Server) bool {
	if n.strange == "" {
		return true
	}
	tag := s.Cluster
	if tag == "" {
		tag = gossip.ClusterTag([]string{s.ID})
	}
	return gossip.SameCluster(tag, n.known) || !gossip.SameCluster(tag, n.strange)
}

// What is said of two clusters with one name: of another datacenter, and of this server's own.
const (
	twiceAbroad = "two clusters are called by the name of one datacenter, and only the one that was known first is asked: give the other another datacenter; if the first is gone for good force-leave its servers with -wan"
	twiceHere   = "another cluster in the WAN pool is called by the name of this datacenter: give one of the two another datacenter, the others cannot tell which one is meant"
)

// tell says once that there are two clusters with one name, and when it is over.
func (n *namesake) tell(log *slog.Logger, msg, datacenter string, servers []gossip.Server, strange []gossip.Cluster) {
	var tags, others []string
	for _, c := range strange {
		tags, others = append(tags, c.Tag), append(others, c.String())
	}
	was := n.told
	switch n.told = strings.Join(tags, ";"); {
	case n.told == was:
	case n.told == "":
		log.Info("no two clusters are called by the name of a datacenter any more", "datacenter", datacenter)
	default:
		kept := slices.DeleteFunc(slices.Clone(servers), func(s gossip.Server) bool { return !gossip.SameCluster(s.Cluster, n.known) })
		log.Error(msg, "datacenter", datacenter, "first", gossip.Cluster{Servers: kept}.String(), "other", strings.Join(others, "; "))
	}
}

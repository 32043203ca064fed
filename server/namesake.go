package server

import (
	"log/slog"
	"slices"
	"strings"

	"github.com/curia-mesh/curia/rpc/gossip"
)

// namesake is what is known of a datacenter by whose name several clusters are called. Its zero value is of one.
type namesake struct {
	known   string // the ClusterTag of the cluster that was known first
	strange string // and of those that came later
	told    string
}

// keep decides whose servers of a datacenter are asked: those of the cluster that was known first, also while all of
// them have failed, if another one has come beside it. It returns the clusters that are not asked.
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

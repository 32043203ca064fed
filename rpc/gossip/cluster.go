package gossip

import (
	"cmp"
	"encoding/hex"
	"hash/fnv"
	"slices"
	"strings"
)

// tagCluster is the tag by which servers in a WAN pool say which cluster they are of.
const tagCluster = "cluster"

// maxClusterTag is of how many servers the tag tells: the tags of a member have to fit into MaxTagBytes.
const maxClusterTag = 16

// ClusterTag names the cluster of the servers of these ids, those in Raft's configuration: by a short hash of each.
// Servers come and go one at a time, so what is said of one cluster overlaps, and what is said of two does not.
func ClusterTag(ids []string) string {
	hashes := make([]string, 0, len(ids))
	for _, id := range ids {
		h := fnv.New32a()
		h.Write([]byte(strings.ToLower(id)))
		hashes = append(hashes, hex.EncodeToString(h.Sum(nil)))
	}
	slices.Sort(hashes)
	return strings.Join(hashes[:min(len(hashes), maxClusterTag)], ",")
}

// SameCluster reports whether two values of ClusterTag have a server in common. Nothing is known of an empty one.
func SameCluster(a, b string) bool {
	if a == "" || b == "" {
		return false
	}
	of := strings.Split(b, ",")
	return slices.ContainsFunc(strings.Split(a, ","), func(id string) bool { return slices.Contains(of, id) })
}

func unite(a, b string) string {
	all := append(strings.Split(a, ","), strings.Split(b, ",")...)
	slices.Sort(all)
	return strings.Join(slices.Compact(all), ",")
}

// Cluster is several servers that are of one cluster, as far as they say themselves.
type Cluster struct {
	Servers []Server // sorted by name
	Tag     string   // all that they said, in the form of ClusterTag
}

// String names the servers and where they are.
func (c Cluster) String() string {
	var all []string
	for _, s := range c.Servers {
		all = append(all, s.Name+" at "+s.Addr.String())
	}
	return strings.Join(all, ", ")
}

// Clusters tells apart the clusters of those servers that live and say of which one they are. They are sorted by the
// names of their servers.
func Clusters(servers []Server) []Cluster {
	var all []Cluster
	for _, s := range servers {
		if s.Status != StatusAlive || s.Cluster == "" {
			continue
		}
		one := Cluster{[]Server{s}, s.Cluster}
		var apart []Cluster
		for _, c := range all {
			if SameCluster(c.Tag, one.Tag) {
				one = Cluster{append(one.Servers, c.Servers...), unite(one.Tag, c.Tag)}
			} else {
				apart = append(apart, c)
			}
		}
		all = append(apart, one)
	}
	for _, c := range all {
		slices.SortFunc(c.Servers, func(a, b Server) int { return cmp.Or(cmp.Compare(a.Name, b.Name), a.Addr.Compare(b.Addr)) })
	}
	slices.SortFunc(all, func(a, b Cluster) int { return strings.Compare(a.String(), b.String()) })
	return all
}

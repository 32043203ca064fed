package gossip

import (
	"net/netip"
	"strconv"
	"strings"
)

// Server is what a member that is a server says of itself by its tags.
// Source: https://developer.hashicorp.com/consul/docs/architecture/control-plane/gossip
type Server struct {
	Name       string // without the datacenter, which the WAN pool appends
	ID         string // also the Raft id
	Datacenter string
	// Addr is where its one port takes RPC, Raft and bulk.
	Addr netip.AddrPort
	// Expect is how many servers it waits for before the first election; 0 is that it does not bootstrap.
	Expect int
	// Bootstrap is whether it made a cluster of its own.
	Bootstrap bool
	// ReadReplica and NonVoter are servers that do not vote, the latter for good by its own configuration.
	ReadReplica bool
	NonVoter    bool
	Version     string // of its build, without the revision
	// Cluster is the ClusterTag of its cluster; empty of one that is in none, and where it does not say.
	Cluster string
	Status  Status
}

// roleServer is the tag "role" of servers; client agents have "node".
const roleServer = "consul"

// Server reads the tags of a server; false for client agents and for tags that make no sense.
func (m Member) Server() (Server, bool) {
	if m.Tags["role"] != roleServer {
		return Server{}, false
	}
	port, err := strconv.ParseUint(m.Tags["port"], 10, 16)
	if err != nil || port == 0 || m.Tags["id"] == "" || !m.Addr.IsValid() {
		return Server{}, false
	}
	expect, err := strconv.Atoi(m.Tags["expect"])
	if err != nil || expect < 0 {
		expect = 0
	}
	version, _, _ := strings.Cut(m.Tags["build"], ":")
	_, bootstrap := m.Tags["bootstrap"]
	_, replica := m.Tags["read_replica"]
	_, nonVoter := m.Tags["nonvoter"]
	return Server{
		Name: strings.TrimSuffix(m.Name, "."+m.Tags["dc"]), ID: m.Tags["id"], Datacenter: m.Tags["dc"],
		Addr: netip.AddrPortFrom(m.Addr, uint16(port)), Expect: expect, Bootstrap: bootstrap,
		ReadReplica: replica, NonVoter: nonVoter || replica, Version: version, Cluster: m.Tags[tagCluster], Status: m.Status,
	}, true
}

package agent

import (
	"context"
	"maps"
	"net/netip"
	"runtime"
	"strconv"

	"github.com/curia-mesh/curia/agent/config"
	"github.com/curia-mesh/curia/agent/event"
	"github.com/curia-mesh/curia/agent/httpapi"
	"github.com/curia-mesh/curia/agent/local"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc/gossip"
)

// node is what the HTTP API shows of the agent.
type node struct{ *Agent }

// NodeName implements httpapi.Node.
func (n *node) NodeName() string { return n.config.get().NodeName }

// DefaultToken implements httpapi.Node.
func (n *node) DefaultToken() string { return n.config.tokens.Load().Default }

// Members implements httpapi.Node.
func (n *node) Members(wan bool) ([]gossip.Member, error) {
	p, err := n.pool(wan)
	if err != nil {
		return nil, err
	}
	return p.Members(), nil
}

func (n *node) pool(wan bool) (*gossip.Pool, error) {
	if !wan {
		return n.pools.lan, nil
	}
	if n.pools.wan == nil {
		return nil, catalog.Errorf(catalog.Invalid, "this agent is in no WAN pool: only servers are, unless ports.serf_wan is -1")
	}
	return n.pools.wan, nil
}

// Join implements httpapi.Node.
func (n *node) Join(ctx context.Context, address string, wan bool) error {
	p, err := n.pool(wan)
	if err != nil {
		return err
	}
	_, err = p.Join(ctx, []string{address})
	return err
}

// Leave implements httpapi.Node.
func (n *node) Leave(ctx context.Context) error {
	n.log.Info("asked to leave")
	n.asked.Do(func() { close(n.leave) })
	select {
	case <-n.left:
		return nil
	case <-ctx.Done():
		return catalog.Errorf(catalog.Unavailable, "this agent is leaving and ends afterwards; the caller stopped waiting for that: %w", ctx.Err())
	}
}

// ForceLeave implements httpapi.Node.
func (n *node) ForceLeave(name string, prune, wan bool) error {
	p, err := n.pool(wan)
	if err != nil {
		return err
	}
	return p.ForceLeave(name, prune)
}

// Reload implements httpapi.Node.
func (n *node) Reload(context.Context) error { return n.reload() }

// Fire implements httpapi.Node.
func (n *node) Fire(e *catalog.Event) error { return event.Fire(n.pools.lan, e) }

// Self implements httpapi.Node.
func (n *node) Self() httpapi.Self {
	cfg := n.config.get()
	self := httpapi.Self{
		Config: httpapi.SelfConfig{
			Datacenter: cfg.Datacenter, PrimaryDatacenter: cfg.PrimaryDatacenter, NodeName: cfg.NodeName, NodeID: n.id,
			Revision: n.build.Revision, Server: cfg.Server, Version: n.build.Version, BuildDate: n.build.Date,
		},
		DebugConfig: debugConfig(cfg), Coord: n.pools.lan.Coordinate(), Member: n.pools.lan.LocalMember(), Stats: n.stats(), Meta: nodeMeta(cfg, n.build),
	}
	if cfg.Ports.GRPC > 0 || cfg.Ports.GRPCTLS > 0 {
		self.XDS = &httpapi.SelfXDS{SupportedProxies: map[string][]string{"envoy": {}}, Port: max(cfg.Ports.GRPC, cfg.Ports.GRPCTLS)}
		self.XDS.Ports.Plaintext, self.XDS.Ports.TLS = cfg.Ports.GRPC, cfg.Ports.GRPCTLS
	}
	return self
}

// debugConfig is the whole configuration, without secrets, and beside it what clients look up there under
// the names that Consul gives it.
func debugConfig(cfg *config.Config) map[string]any {
	shown := cfg.Sanitized()
	shown["SerfAdvertiseAddrLAN"] = "tcp://" + join(cfg.AdvertiseAddr, cfg.Ports.SerfLAN)
	shown["SerfAdvertiseAddrWAN"] = "tcp://" + join(cfg.AdvertiseAddrWAN, cfg.Ports.SerfWAN)
	return shown
}

// nodeMeta is the node's metadata in the catalog: the operator's and our own.
func nodeMeta(cfg *config.Config, b Build) map[string]string {
	meta := map[string]string{"consul-network-segment": cfg.Segment, "consul-version": b.Version}
	for k, v := range cfg.NodeMeta {
		meta[k] = v
	}
	return meta
}

// stats are the agent's figures by group, as text.
func (n *node) stats() map[string]map[string]string {
	cfg := n.config.get()
	stats := map[string]map[string]string{
		"agent": agentStats(n.local.Counts()),
		"build": {"version": n.build.Version, "revision": n.build.Revision, "prerelease": "", "version_metadata": ""},
		"runtime": {
			"arch": runtime.GOARCH, "os": runtime.GOOS, "version": runtime.Version(), "goroutines": strconv.Itoa(runtime.NumGoroutine()),
			"cpu_count": strconv.Itoa(runtime.NumCPU()), "max_procs": strconv.Itoa(runtime.GOMAXPROCS(0)),
		},
		"serf_lan": n.pools.lan.Stats(),
	}
	if n.pools.wan != nil {
		stats["serf_wan"] = n.pools.wan.Stats()
	}
	maps.Copy(stats, n.backend.stats(cfg))
	return stats
}

func agentStats(c local.Counts) map[string]string {
	return map[string]string{
		"services": strconv.Itoa(c.Services), "checks": strconv.Itoa(c.Checks),
		"check_monitors": strconv.Itoa(c.Kinds["script"]), "check_ttls": strconv.Itoa(c.Kinds["ttl"]),
	}
}

// eventLocal is what filters of user events ask of the node.
type eventLocal struct{ a *Agent }

// NodeName implements event.Local.
func (l eventLocal) NodeName() string { return l.a.config.get().NodeName }

// ServiceTags implements event.Local.
func (l eventLocal) ServiceTags(match func(string) bool) [][]string {
	var tags [][]string
	for _, s := range l.a.local.Services() {
		if match(s.Service) {
			tags = append(tags, s.Tags)
		}
	}
	return tags
}

// taggedAddresses are the node's addresses by the kind of client they are for.
func taggedAddresses(cfg *config.Config) map[string]string {
	tagged := map[string]string{"lan": cfg.AdvertiseAddr, "wan": cfg.AdvertiseAddrWAN}
	for kind, addr := range map[string]string{"lan": cfg.AdvertiseAddr, "wan": cfg.AdvertiseAddrWAN} {
		if ip, err := netip.ParseAddr(addr); err == nil {
			version := "_ipv6"
			if ip.Unmap().Is4() {
				version = "_ipv4"
			}
			tagged[kind+version] = addr
		}
	}
	for key, addr := range map[string]string{
		"lan_ipv4": cfg.AdvertiseAddrIPv4, "lan_ipv6": cfg.AdvertiseAddrIPv6, "wan_ipv4": cfg.AdvertiseAddrWANIPv4, "wan_ipv6": cfg.AdvertiseAddrWANIPv6,
	} {
		if addr != "" {
			tagged[key] = addr
		}
	}
	return tagged
}

package agent

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"sync/atomic"

	"github.com/curia-mesh/curia/agent/check"
	"github.com/curia-mesh/curia/agent/config"
	"github.com/curia-mesh/curia/agent/dns"
	"github.com/curia-mesh/curia/agent/event"
	"github.com/curia-mesh/curia/agent/httpapi"
	"github.com/curia-mesh/curia/agent/local"
	"github.com/curia-mesh/curia/agent/logging"
	"github.com/curia-mesh/curia/agent/telemetry"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server"
)

// current is the configuration in force and the agent's own tokens, which the API can replace.
type current struct {
	config atomic.Pointer[config.Config]
	tokens atomic.Pointer[config.Tokens]
	kept   *keptTokens
}

func newCurrent(cfg *config.Config) *current {
	c := &current{kept: &keptTokens{}}
	c.set(cfg)
	return c
}

func (c *current) get() *config.Config { return c.config.Load() }

func (c *current) set(cfg *config.Config) {
	c.config.Store(cfg)
	c.tokens.Store(c.kept.over(cfg.ACL.Tokens))
}

func loggingConfig(cfg *config.Config) logging.Config {
	return logging.Config{
		Name: "agent", Level: cfg.LogLevel, JSON: cfg.LogJSON, File: cfg.LogFile, RotateBytes: int64(cfg.LogRotateBytes),
		RotateDuration: cfg.LogRotateDuration, RotateMaxFiles: cfg.LogRotateMaxFiles, Syslog: cfg.EnableSyslog, SyslogFacility: cfg.SyslogFacility,
	}
}

func telemetryConfig(cfg *config.Config) telemetry.Config {
	t := cfg.Telemetry
	return telemetry.Config{
		MetricsPrefix: t.MetricsPrefix, DisableHostname: t.DisableHostname, PrefixFilter: t.PrefixFilter, BlockByDefault: !t.FilterDefault,
		PrometheusRetention: t.PrometheusRetentionTime, StatsdAddr: t.StatsdAddr, StatsiteAddr: t.StatsiteAddr, DogstatsdAddr: t.DogstatsdAddr,
		DogstatsdTags: t.DogstatsdTags, EnableHostMetrics: t.EnableHostMetrics, DataDir: cfg.DataDir,
	}
}

func (a *Agent) serverConfig(cfg *config.Config) server.Config {
	out := server.Config{
		Datacenter: cfg.Datacenter, Primary: cfg.PrimaryDatacenter, ReplicationToken: func() string { return a.config.tokens.Load().Replication },
		NodeName: cfg.NodeName, NodeID: a.id, Version: a.build.Version,
		Expect: cfg.BootstrapExpect, ReadReplica: cfg.ReadReplica, Bind: join(cfg.BindAddr, cfg.Ports.Server), Advertise: join(cfg.AdvertiseAddr, cfg.Ports.Server),
		Members: a.pools.lan.Members, Fire: func(e *catalog.Event) error { return event.Fire(a.pools.lan, e) }, RaftMultiplier: cfg.Performance.RaftMultiplier,
		HoldTimeout: cfg.Performance.RPCHoldTimeout, LeaderChanged: func() { a.local.Kick() },
		Pace: snapshotPace(cfg), Cores: a.cores,
		Log: logging.Named(a.log, "server"), RaftLog: logging.HCLog(logging.Named(a.log, "server.raft")),
	}
	if a.pools.wan != nil {
		out.WAN = a.pools.wan
	}
	if out.Passage = a.passage; out.Passage != nil {
		out.Gossip = func(conn net.Conn, peer rpc.Peer) { a.pools.wan.Take(conn, peer.Protocol == rpc.ProtocolPackets) }
	}
	out.Auto = a.autoConfig(cfg)
	out.Mesh, out.CAProvider, out.CASettings = cfg.Connect.Enabled || out.Auto.AllowTLS || out.Auto.Intro != nil, cfg.Connect.CAProvider, cfg.Connect.CAConfig
	out.Security, out.GossipKeys, out.Joins = a.peers, a.pools.keys, a.joins
	out.MinSessionTTL, out.ConnsPerClient, out.HandshakeTimeout = cfg.SessionTTLMin, cfg.Limits.RPCMaxConnsPerClient, cfg.Limits.RPCHandshakeTimeout
	if cfg.Peering.Enabled && cfg.Connect.Enabled {
		out.Peering = peeringAddress(cfg)
	}
	out.DenyIntentions, out.ReapMaxFailed = intentionPolicy(cfg) == "deny", cfg.ReapMaxFailed
	ap := cfg.Autopilot
	out.Autopilot = catalog.AutopilotConfig{
		CleanupDeadServers: ap.CleanupDeadServers, LastContactThreshold: catalog.Duration(ap.LastContactThreshold), MaxTrailingLogs: uint64(ap.MaxTrailingLogs),
		MinQuorum: uint(ap.MinQuorum), ServerStabilizationTime: catalog.Duration(ap.ServerStabilizationTime), RedundancyZoneTag: ap.RedundancyZoneTag,
		DisableUpgradeMigration: ap.DisableUpgradeMigration, UpgradeVersionTag: ap.UpgradeVersionTag,
	}
	out.Entries = bootstrapEntries(cfg)
	out.ACL = server.ACLConfig{Enabled: cfg.ACL.Enabled, Management: catalog.SecretID(cfg.ACL.Tokens.InitialManagement), KeyList: cfg.ACL.EnableKeyListPolicy, TTL: cfg.ACL.TokenTTL}
	if cfg.ACL.DefaultPolicy == "allow" {
		out.ACL.Default = acl.Allow
	}
	out.ACL.CopyTokens, out.ACL.Elsewhere = cfg.ACL.EnableTokenReplication, a.elsewhere(cfg)
	store := cfg.RaftLogStore
	out.LogStore = server.LogConfig{Backend: store.Backend, SegmentSize: int64(store.WAL.SegmentSizeMB) << 20, NoFreelistSync: store.BoltDB.NoFreelistSync}
	if store.Verification.Enabled {
		out.LogStore.VerifyInterval = store.Verification.Interval
	}
	if !cfg.Dev {
		out.DataDir = cfg.DataDir
	}
	return out
}

// peeringAddress is where the servers of other clusters are met; empty is nowhere.
func peeringAddress(cfg *config.Config) string {
	for _, l := range cfg.Listeners() {
		if l.Name == "grpc_tls" && l.Network == "tcp" {
			return l.Address
		}
	}
	return ""
}

// intentionPolicy is what happens to connections that no intention speaks of.
// Source: https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file/acl (default_intention_policy)
func intentionPolicy(cfg *config.Config) string {
	if cfg.DefaultIntentionPolicy == "" && cfg.ACL.Enabled {
		return cfg.ACL.DefaultPolicy
	}
	return cfg.DefaultIntentionPolicy
}

// bootstrapEntries are the config entries that a leader writes if they are missing.
func bootstrapEntries(cfg *config.Config) []catalog.ConfigEntry {
	entries, _ := cfg.ConfigEntries.Entries() // checked when it was loaded
	return entries
}

func snapshotPace(cfg *config.Config) server.SnapshotPace {
	return server.SnapshotPace{Threshold: uint64(cfg.RaftSnapshotThreshold), Interval: cfg.RaftSnapshotInterval, TrailingLogs: uint64(cfg.RaftTrailingLogs)}
}

func join(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

func dnsConfig(cfg *config.Config) dns.Config {
	d, out := cfg.DNS, dns.Defaults()
	out.Domain, out.AltDomain, out.Datacenter = cfg.Domain, cfg.AltDomain, cfg.Datacenter
	out.NodeTTL, out.ServiceTTL, out.OnlyPassing = d.NodeTTL, d.ServiceTTL, d.OnlyPassing
	out.TranslateWAN, out.NodeMetaTXT = cfg.TranslateWANAddrs, d.EnableAdditionalNodeMetaTXT
	out.SOA = dns.SOA{Refresh: d.SOA.Refresh, Retry: d.SOA.Retry, Expire: d.SOA.Expire, MinTTL: d.SOA.MinTTL}
	out.RecursorOrder = dns.RecursorOrder(d.RecursorStrategy)
	out.EnableTruncate, out.UDPAnswerLimit, out.ARecordLimit = d.EnableTruncate, d.UDPAnswerLimit, d.ARecordLimit
	out.DisableCompression = d.DisableCompression
	out.Recursors, out.RecursorTimeout = cfg.Recursors, d.RecursorTimeout
	return out
}

// dnsHeader is how DNS questions are put to the servers.
func (a *Agent) dnsHeader(datacenter string) rpc.Header {
	cfg, tokens := a.config.get(), a.config.tokens.Load()
	h := rpc.Header{Datacenter: datacenter, Token: tokens.DNS}
	if h.Token == "" {
		h.Token = tokens.Default
	}
	if cfg.DNS.AllowStale {
		h.Consistency, h.MaxStale = rpc.Stale, cfg.DNS.MaxStale
	}
	return h
}

func apiConfig(cfg *config.Config) httpapi.Config {
	out := httpapi.Config{
		Datacenter: cfg.Datacenter, DefaultPolicy: "allow", ResponseHeaders: cfg.HTTP.ResponseHeaders, BlockEndpoints: cfg.HTTP.BlockEndpoints,
		DefaultWait: cfg.DefaultQueryTime, MaxWait: cfg.MaxQueryTime, DiscoveryMaxStale: cfg.DiscoveryMaxStale,
		TranslateAddresses: cfg.TranslateWANAddrs, Cached: cfg.HTTP.UseCache, Debug: cfg.EnableDebug || cfg.Dev,
		Limits: httpapi.Limits{KVValue: int64(cfg.Limits.KVMaxValueSize), Txn: int64(cfg.Limits.TxnMaxReqLen)},
	}
	if a := cfg.ACL; a.Enabled {
		out.DefaultPolicy = a.DefaultPolicy
		out.ACLs = httpapi.ACLs{Enabled: true, DefaultPolicy: a.DefaultPolicy, DownPolicy: a.DownPolicy}
	}
	for _, cidr := range cfg.HTTP.AllowWriteHTTPFrom {
		if p, err := netip.ParsePrefix(cidr); err == nil { // checked when it was loaded
			out.AllowWriteFrom = append(out.AllowWriteFrom, p)
		}
	}
	if proxy := cfg.UI.MetricsProxy; proxy.BaseURL != "" {
		base, err := url.Parse(proxy.BaseURL)
		if err == nil { // checked when it was loaded
			out.Metrics = &httpapi.MetricsStore{Base: base, Paths: proxy.PathAllowlist, Headers: http.Header{}}
			for _, h := range proxy.AddHeaders {
				out.Metrics.Headers.Add(h.Name, h.Value)
			}
		}
	}
	return out
}

func (a *Agent) localConfig(cfg *config.Config) local.Config {
	out := local.Config{
		Node: a.catalogNode(cfg), SidecarMinPort: cfg.Ports.SidecarMinPort, SidecarMaxPort: cfg.Ports.SidecarMaxPort,
		ExposeMinPort: cfg.Ports.ExposeMinPort, ExposeMaxPort: cfg.Ports.ExposeMaxPort, ProxyHost: proxyHost(cfg),
		CheckUpdateInterval: cfg.CheckUpdateInterval, CheckChangesPerMinute: cfg.CheckChangesPerMinute, DiscardCheckOutput: cfg.DiscardCheckOutput,
		Checks:      check.Deps{TLS: a.checkTLS.current.Load, DockerHost: os.Getenv("DOCKER_HOST"), OutputMaxSize: cfg.CheckOutputMaxSize, FlapHalfLife: cfg.CheckFlapHalfLife, Log: logging.Named(a.log, "check")},
		Policy:      check.Policy{Scripts: cfg.EnableScriptChecks, LocalScripts: cfg.EnableLocalScriptChecks},
		ClusterSize: func() int { return len(a.pools.lan.Members()) },
		AgentToken:  a.config.agentToken,
		UserToken:   func() string { return a.config.tokens.Load().Default },
	}
	if !cfg.Dev {
		out.DataDir = cfg.DataDir
	}
	return out
}

// catalogNode is this node as the catalog should have it.
func (a *Agent) catalogNode(cfg *config.Config) *catalog.Node {
	n := &catalog.Node{
		ID: a.id, Node: cfg.NodeName, Address: cfg.AdvertiseAddr, Datacenter: cfg.Datacenter,
		TaggedAddresses: taggedAddresses(cfg), Meta: nodeMeta(cfg, a.build),
	}
	if l := catalog.Locality(cfg.Locality); l != (catalog.Locality{}) {
		n.Locality = &l
	}
	return n
}

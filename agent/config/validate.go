package config

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

// validate checks the configuration as a whole; l.errs gets all that is wrong with it.
func (l *loader) validate() {
	l.rows()
	if len(l.errs) > 0 {
		return // what follows would repeat it
	}
	l.node()
	l.bootstrap()
	l.listeners()
	l.ports()
	l.resolvers()
	l.security()
	l.agent()
	l.single()
	l.scripts()
	l.entries()
}

// entries warns of what entries say in vain. That they are valid their row has checked.
func (l *loader) entries() {
	entries, err := l.config.ConfigEntries.Entries()
	if err != nil {
		return
	}
	for _, e := range entries {
		if warning := catalog.WarnIdle(e); warning != "" {
			l.warn("config_entries.bootstrap", "%s", warning)
		}
	}
}

// rows runs the checks of the single settings.
func (l *loader) rows() {
	for _, row := range table().rows {
		if !l.set(row.Key) {
			continue
		}
		if row.Unused && row.Key != "version" && row.Key != "disable_update_check" {
			l.warn(row.Key, "%s has no effect", row.Key)
		}
		value := row.get(l.config)
		d, isSpan := value.(time.Duration)
		switch {
		case row.Moved != "":
		case row.Check != nil:
			if err := row.Check(value); err != nil {
				l.failAt(row.Key, "%w", err)
			}
		case isSpan && d < 0:
			l.failAt(row.Key, "%s is negative", d)
		}
	}
}

func (l *loader) node() {
	c := l.config
	if err := nodeName(c.NodeName); err != nil {
		l.failAt("node_name", "%w", err)
	}
	if c.DataDir == "" {
		if !c.Dev {
			l.fail(fmt.Errorf("data_dir: set it, with -data-dir or in a file, or use -dev for a trial that keeps nothing"))
		}
		return
	}
	info, err := os.Stat(c.DataDir)
	switch {
	case err == nil && !info.IsDir():
		l.failAt("data_dir", "%s is a file, want a directory", c.DataDir)
	case err != nil && !os.IsNotExist(err):
		l.failAt("data_dir", "%w", err)
	}
}

func (l *loader) bootstrap() {
	c := l.config
	switch {
	case !c.Server && c.Bootstrap:
		l.failAt("bootstrap", "only a server can elect itself: set server = true")
	case !c.Server && c.BootstrapExpect > 0:
		l.failAt("bootstrap_expect", "only servers elect a leader: set server = true")
	case c.Bootstrap && l.set("bootstrap_expect") && c.BootstrapExpect > 1:
		l.failAt("bootstrap", "bootstrap means one server and bootstrap_expect says %d: set one of them", c.BootstrapExpect)
	case c.Dev && c.BootstrapExpect > 1:
		l.failAt("bootstrap_expect", "-dev is one server by itself")
	case c.Dev && !c.Server:
		l.failAt("server", "-dev is a server")
	case c.ReadReplica && !c.Server:
		l.failAt("read_replica", "only a server can be a read replica: set server = true")
	}
	if n := c.BootstrapExpect; n > 1 && n%2 == 0 {
		l.warn("bootstrap_expect", "%d servers survive as many failures as %d: use an odd number", n, n-1)
	}
	if c.Server && c.AdvertiseReconnectTimeout != 0 {
		l.failAt("advertise_reconnect_timeout", "only clients can set it: servers use reconnect_timeout")
	}
	if c.Partition != "" && c.Partition != "default" {
		l.failAt("partition", "%q: there is one partition, default", c.Partition)
	}
}

func (l *loader) ports() {
	p := l.config.Ports
	if p.SerfLAN < 0 {
		l.failAt("ports.serf_lan", "gossip in the datacenter cannot be switched off")
	}
	if p.Server < 0 && l.config.Server {
		l.failAt("ports.server", "RPC cannot be switched off")
	}
	for _, r := range []struct {
		key         string
		first, last int
	}{{"ports.sidecar_min_port", p.SidecarMinPort, p.SidecarMaxPort}, {"ports.expose_min_port", p.ExposeMinPort, p.ExposeMaxPort}} {
		if r.first > r.last && r.last != 0 {
			l.failAt(r.key, "%d is above the last port, %d", r.first, r.last)
		}
	}
}

func (l *loader) resolvers() {
	c := l.config
	for _, text := range c.Recursors {
		host := text
		if h, _, err := net.SplitHostPort(text); err == nil {
			host = h
		}
		ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
		if err != nil || ip.IsUnspecified() {
			l.failAt("recursors", "%q is no IP address of a DNS server", text)
		}
	}
	if c.AltDomain != "" && c.AltDomain == c.Domain {
		l.warn("alt_domain", "alt_domain is the same as domain")
	}
	if c.DefaultQueryTime > c.MaxQueryTime {
		l.failAt("default_query_time", "%s is above max_query_time, %s", c.DefaultQueryTime, c.MaxQueryTime)
	}
	for _, rule := range c.Telemetry.PrefixFilter {
		if rule == "" || rule[0] != '+' && rule[0] != '-' {
			l.warn("telemetry.prefix_filter", "rule %q has no effect: begin it with + or -", rule)
		}
	}
}

func (l *loader) security() {
	c := l.config
	l.auto()
	switch j := c.Join; {
	case (j.CAFile == "") != (j.CAKeyFile == ""):
		l.failAt("join.ca_file", "set both join.ca_file and join.ca_key_file")
	case j.CAFile != "" && !c.Server:
		l.failAt("join.ca_file", "only servers let others join: keep the key of the CA away from client agents")
	case j.Renew && (c.TLS.InternalRPC.CertFile == "" || !c.TLS.InternalRPC.VerifyServerHostname):
		l.failAt("join.renew", "renews the certificate in tls.internal_rpc.cert_file, through servers that verify_server_hostname tells from others: set both")
	case j.Renew && c.Server && j.CAFile == "":
		l.failAt("join.renew", "a server renews its certificate with the key of the CA: set join.ca_file and join.ca_key_file")
	case j.CAFile != "" && (!c.TLS.InternalRPC.VerifyIncoming || !c.TLS.InternalRPC.VerifyServerHostname):
		l.failAt("join.ca_file", "set tls.internal_rpc.verify_incoming and verify_server_hostname: without them a certificate is worth nothing")
	}
	auto := c.Enrolls()
	t := &c.TLS
	for _, i := range []struct {
		key string
		tls *TLSInterface
	}{{"tls.internal_rpc", &t.InternalRPC}, {"tls.https", &t.HTTPS}, {"tls.grpc", &t.GRPC}} {
		ca := i.tls.CAFile != "" || i.tls.CAPath != ""
		switch {
		case (i.tls.CertFile == "") != (i.tls.KeyFile == ""):
			l.failAt(i.key+".cert_file", "set both cert_file and key_file")
		case auto:
		case i.tls.VerifyIncoming && !ca:
			l.failAt(i.key+".verify_incoming", "needs ca_file or ca_path")
		case i.tls.VerifyIncoming && i.tls.CertFile == "":
			l.failAt(i.key+".verify_incoming", "needs cert_file and key_file")
		case i.tls.VerifyOutgoing && !ca:
			l.failAt(i.key+".verify_outgoing", "needs ca_file or ca_path")
		case i.key != "tls.internal_rpc" && i.tls.VerifyServerHostname && l.set(i.key+".verify_server_hostname"):
			l.failAt(i.key+".verify_server_hostname", "no connection to a server is made by this interface: set tls.internal_rpc.verify_server_hostname")
		}
	}
	l.gateways()
	if c.ACL.EnableTokenReplication && !c.ACL.Enabled {
		l.warn("acl.enable_token_replication", "has no effect without acl.enabled")
	}
	if c.EnableScriptChecks && !c.ACL.Enabled && len(c.HTTP.AllowWriteHTTPFrom) == 0 && l.exposed() {
		l.warn("enable_script_checks", "anyone who reaches the HTTP API can run commands: use enable_local_script_checks, or access control")
	}
}

// gateways checks what federation through mesh gateways needs.
// Source: https://developer.hashicorp.com/consul/docs/east-west/mesh-gateway/enable
func (l *loader) gateways() {
	const key = "connect.enable_mesh_gateway_wan_federation"
	c := l.config
	rpc := c.TLS.InternalRPC
	if !c.Connect.EnableMeshGatewayWANFederation {
		if len(c.PrimaryGateways) > 0 {
			l.failAt("primary_gateways", "they lead to the primary datacenter with %s = true only: set it, or name its servers in retry_join_wan", key)
		}
		return
	}
	switch {
	case !c.Server:
		l.failAt(key, "only servers are reached from other datacenters: leave it out on client agents")
	case !c.Connect.Enabled:
		l.failAt(key, "gateways belong to the mesh: set connect.enabled")
	case c.Ports.SerfWAN < 0:
		l.failAt(key, "servers of datacenters find one another by gossip: set ports.serf_wan")
	case !rpc.VerifyIncoming || !rpc.VerifyOutgoing || !rpc.VerifyServerHostname:
		l.failAt(key, "whoever reaches a gateway reaches the servers: set verify_incoming, verify_outgoing and verify_server_hostname in tls.internal_rpc")
	case len(c.RetryJoinWAN) > 0:
		l.failAt("retry_join_wan", "with %s servers are found through gateways: leave it out, and set primary_gateways in secondary datacenters", key)
	case !catalog.IsDNSLabel(c.NodeName) || c.NodeName != strings.ToLower(c.NodeName):
		l.failAt("node_name", "%q: with %s gateways lead to a server by its name: use lower case letters, digits and dashes", c.NodeName, key)
	}
	primary := c.PrimaryDatacenter == "" || c.PrimaryDatacenter == c.Datacenter
	switch {
	case primary && len(c.PrimaryGateways) > 0:
		l.failAt("primary_gateways", "this is the primary datacenter: set primary_datacenter to another one, or leave primary_gateways out")
	case !primary && len(c.PrimaryGateways) == 0:
		l.warn("primary_gateways", "without it this server finds the primary datacenter only after the others of its own")
	}
	for _, at := range c.PrimaryGateways {
		if strings.Contains(at, "provider=") {
			continue
		}
		if err := hostPort(at); err != nil {
			l.failAt("primary_gateways", "%w", err)
		}
	}
}

// auto checks how the agent has its certificate from the servers, or gives others theirs.
func (l *loader) auto() {
	c := l.config
	rpc, a := c.TLS.InternalRPC, c.AutoConfig
	known := rpc.CAFile != "" || rpc.CAPath != ""
	switch {
	case c.AutoEncrypt.TLS && c.Server:
		l.failAt("auto_encrypt.tls", "only clients have their certificate from the servers: servers set cert_file and key_file")
	case c.AutoEncrypt.TLS && a.Enabled:
		l.failAt("auto_encrypt.tls", "auto_config does what it does, and more: set one of them")
	case c.AutoEncrypt.TLS && !known:
		l.failAt("auto_encrypt.tls", "needs tls.internal_rpc.ca_file or ca_path: the token is shown to servers only that their CA has certified")
	case c.AutoEncrypt.TLS && len(c.RetryJoin) == 0:
		l.failAt("auto_encrypt.tls", "needs retry_join: it names the servers that are asked")
	}
	if c.AutoEncrypt.AllowTLS && !c.Server {
		l.failAt("auto_encrypt.allow_tls", "only servers give certificates")
	}
	switch {
	case a.Enabled && c.Server:
		l.failAt("auto_config.enabled", "only clients can have their configuration from servers")
	case a.Enabled && !known:
		l.failAt("auto_config.enabled", "needs tls.internal_rpc.ca_file or ca_path: the JWT is shown to servers only that their CA has certified")
	case a.Enabled && len(a.ServerAddresses) == 0:
		l.failAt("auto_config.enabled", "needs auto_config.server_addresses: they are asked")
	case a.Enabled && a.IntroToken == "" && a.IntroTokenFile == "":
		l.failAt("auto_config.enabled", "needs auto_config.intro_token or intro_token_file")
	case a.Authorization.Enabled && !c.Server:
		l.failAt("auto_config.authorization.enabled", "only servers give settings")
	}
	gives := c.Server && (c.AutoEncrypt.AllowTLS || a.Authorization.Enabled)
	switch {
	case gives && rpc.CertFile == "":
		l.failAt("tls.internal_rpc.cert_file", "auto_encrypt.allow_tls and auto_config.authorization need a certificate of this server: others are to know whom they ask")
	case gives && !rpc.VerifyIncoming:
		l.warn("tls.internal_rpc.verify_incoming", "agents are given certificates, and none is demanded: set tls.internal_rpc.verify_incoming once all agents have one")
	}
	if c.Enrolls() && rpc.CertFile != "" {
		l.warn("tls.internal_rpc.cert_file", "the certificate in cert_file counts: the one from the servers is not shown")
	}
}

// Enrolls reports whether the agent has its certificate from the servers.
func (c *Config) Enrolls() bool { return !c.Server && (c.AutoEncrypt.TLS || c.AutoConfig.Enabled) }

// exposed reports whether the HTTP API can be reached from other hosts.
func (l *loader) exposed() bool {
	for _, at := range l.config.Listeners() {
		if at.Name != "http" && at.Name != "https" || at.Network == "unix" {
			continue
		}
		host, _, _ := net.SplitHostPort(at.Address)
		if ip, err := netip.ParseAddr(host); err == nil && !ip.IsLoopback() {
			return true
		}
	}
	return false
}

func (l *loader) agent() {
	c := l.config
	if c.RaftProtocol != 3 {
		l.warn("raft_protocol", "raft_protocol is always 3")
	}
	if v := c.RaftLogStore.Verification; v.Enabled && v.Interval <= 0 {
		l.failAt("raft_logstore.verification.enabled", "set raft_logstore.verification.interval too")
	}
	if c.Segment != "" && c.Server {
		l.failAt("segment", "a server names its segments under segments")
	}
	if len(c.Segments) > 0 && !c.Server {
		l.failAt("segments", "only servers have several: set segment")
	}
	for _, empty := range []struct{ key, text string }{{"datacenter", c.Datacenter}, {"domain", c.Domain}, {"client_addr", c.ClientAddr}} {
		if empty.text == "" {
			l.failAt(empty.key, "is empty")
		}
	}
}

package agent

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	metrics "github.com/hashicorp/go-metrics"

	"github.com/curia-mesh/curia/agent/config"
	"github.com/curia-mesh/curia/agent/enroll"
	"github.com/curia-mesh/curia/agent/logging"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server"
	"github.com/curia-mesh/curia/server/api"
)

// enrolledFile in the data directory keeps what the agent has from the servers: its certificate with the key, and
// settings.
const enrolledFile = "enrolled.json"

// enrolled is the certificate that the agent has from the servers. A nil one has none.
type enrolled struct {
	path  string // of the file that keeps it
	asker enroll.Asker
	pool  *rpc.Pool
	pair  atomic.Pointer[tls.Certificate]
}

func (e *enrolled) certificate() *tls.Certificate {
	if e == nil {
		return nil
	}
	return e.pair.Load()
}

// enroll has the agent's certificate, and with auto_config its settings, from the servers: those that are kept, while they
// are good, or else new ones. It blocks until a server has answered or ctx ends, and returns the configuration with the
// settings. An agent that has all it needs without does nothing.
func (a *Agent) enroll(ctx context.Context, cfg *config.Config) (*config.Config, error) {
	if !cfg.Enrolls() {
		return cfg, nil
	}
	next, err := a.enrolled(ctx, cfg)
	if err != nil && a.own != nil {
		a.own.pool.Close()
	}
	return next, err
}

func (a *Agent) enrolled(ctx context.Context, cfg *config.Config) (*config.Config, error) {
	if cfg.DataDir == "" {
		return nil, errors.New("data_dir: is needed to keep what this agent has from the servers")
	}
	a.own = a.newEnrolled(cfg)
	kept, err := enroll.Read(a.own.path)
	if err != nil {
		return nil, err
	}
	if kept != nil && (kept.Settings != nil) != cfg.AutoConfig.Enabled {
		kept = nil // it was started in the other way before
	}
	if kept != nil && kept.Settings != nil {
		if cfg, err = a.settle(kept.Settings); err != nil {
			return nil, err
		}
	}
	if kept != nil {
		pair, err := kept.Pair()
		if err == nil && enroll.Serves(pair, cfg.Datacenter, cfg.NodeName, time.Now()) {
			a.show(pair)
			return cfg, nil
		}
	}
	a.log.Info("asking the servers for this agent's certificate", "servers", strings.Join(a.own.asker.Servers(), ", "))
	if kept, err = a.ask(ctx, kept); err != nil {
		return nil, errors.Join(context.Cause(ctx), err)
	}
	if err := kept.Write(a.own.path); err != nil {
		return nil, fmt.Errorf("data_dir: what this agent has from the servers could not be kept: %w", err)
	}
	if kept.Settings != nil {
		if cfg, err = a.settle(kept.Settings); err != nil {
			return nil, err
		}
	}
	pair, err := kept.Pair()
	if err != nil {
		return nil, err
	}
	a.show(pair)
	a.log.Info("the servers have given this agent its certificate", "until", pair.Leaf.NotAfter)
	return cfg, nil
}

// ask has a certificate from the servers. Who has had settings before has a token, which is tried first: the JWT may have
// ended long ago.
func (a *Agent) ask(ctx context.Context, before *enroll.Kept) (*enroll.Kept, error) {
	if before != nil && before.Settings != nil {
		got, err := a.own.asker.Ask(ctx, false)
		if err == nil {
			got.Settings = before.Settings
			return got, nil
		}
		a.log.Warn("the servers renew no certificate by the token of this agent; showing them the JWT", "err", err)
	}
	return a.own.asker.First(ctx)
}

// settle takes up settings from the servers, for this load of the configuration and those that follow.
func (a *Agent) settle(settings *api.AutoSettings) (*config.Config, error) {
	base, err := json.Marshal(settings)
	if err != nil {
		return nil, err
	}
	a.opts.Args.Base = base
	cfg, _, err := config.Load(a.opts.Args) // whose warnings were told
	if err != nil {
		return nil, fmt.Errorf("with the settings from the servers: %w", err)
	}
	a.config.set(cfg)
	return cfg, a.openPeers(cfg)
}

func (a *Agent) show(pair *tls.Certificate) {
	a.own.pair.Store(pair)
	a.peers.Show(pair)
}

func (a *Agent) newEnrolled(cfg *config.Config) *enrolled {
	dns, ips := cfg.AutoEncrypt.DNSSAN, cfg.AutoEncrypt.IPSAN
	named := cfg.RetryJoin
	if cfg.AutoConfig.Enabled {
		dns, ips, named = cfg.AutoConfig.DNSSANs, cfg.AutoConfig.IPSANs, cfg.AutoConfig.ServerAddresses
	}
	e := &enrolled{
		path: filepath.Join(cfg.DataDir, enrolledFile),
		pool: rpc.NewPool(rpc.PoolOptions{Protocol: rpc.ProtocolIntro, Dialer: rpc.Dialer{TLS: func(addr string) (*tls.Config, error) { return a.peers.Intro(addr) }}, Decode: server.DecodeError}),
	}
	e.asker = enroll.Asker{
		Servers: func() []string { return a.introServers(named, cfg) },
		To:      func(addr string) rpc.Caller { return e.pool.To(addr) },
		Node:    cfg.NodeName, Datacenter: cfg.Datacenter, Token: a.config.agentToken, Log: logging.Named(a.log, "enroll"),
		// As Consul's agents have them, so that whoever is on the node can check its HTTPS.
		DNS: append([]string{"localhost"}, dns...), IPs: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	for _, text := range ips {
		e.asker.IPs = append(e.asker.IPs, net.ParseIP(text)) // checked when it was loaded
	}
	if cfg.AutoConfig.Enabled {
		e.asker.JWT = func() (string, error) { return introToken(&cfg.AutoConfig) }
	}
	return e
}

// introServers are where the servers can be asked without a certificate: those that gossip finds, and those that are
// named. Gossip has other ports than RPC; who names one for gossip has the servers' in ports.server.
func (a *Agent) introServers(named []string, cfg *config.Config) (all []string) {
	if a.pools != nil {
		for _, s := range a.serversInPool() {
			all = append(all, s.RPC)
		}
	}
	port := cfg.Ports.Server
	for _, text := range named {
		host, at, err := net.SplitHostPort(text)
		switch {
		case strings.Contains(text, "provider="):
			continue // said when joining
		case err != nil:
			at = join(strings.Trim(text, "[]"), port)
		case cfg.AutoConfig.Enabled:
			at = net.JoinHostPort(host, at)
		default:
			at = join(host, port)
		}
		if !slices.Contains(all, at) {
			all = append(all, at)
		}
	}
	return all
}

// introToken reads the JWT anew: whoever made it may have put another one in its place.
func introToken(c *config.AutoConfig) (string, error) {
	if c.IntroToken != "" {
		return c.IntroToken, nil
	}
	text, err := os.ReadFile(c.IntroTokenFile)
	if err != nil {
		return "", fmt.Errorf("auto_config.intro_token_file: %w", err)
	}
	if len(strings.TrimSpace(string(text))) == 0 {
		return "", fmt.Errorf("auto_config.intro_token_file: %s is empty", c.IntroTokenFile)
	}
	return strings.TrimSpace(string(text)), nil
}

// renews reports whether this agent's certificate is renewed without an operator.
func (a *Agent) renews() bool { return a.own != nil || a.config.get().Join.Renew }

// renew renews the certificate that the agent shows to others, where it can, until ctx ends.
func (a *Agent) renew(ctx context.Context) error {
	if !a.renews() {
		return nil
	}
	k := enroll.Keeper{
		Failed: func() { metrics.IncrCounter(certFailed, 1) }, Log: logging.Named(a.log, "enroll"), Renew: a.renewJoined,
		Spread: a.config.get().Connect.TestCALeafRootChangeSpread,
	}
	if a.own == nil {
		return k.Run(ctx, a.peers.Certificate())
	}
	defer a.own.pool.Close()
	k.Renew, k.Roots = a.renewEnrolled, a.leaves.Signs
	return k.Run(ctx, a.own.certificate())
}

// renewEnrolled asks the servers for another certificate, and puts it to use once it is kept.
func (a *Agent) renewEnrolled(ctx context.Context) (*tls.Certificate, error) {
	got, err := a.own.asker.Ask(ctx, false)
	if err != nil {
		return nil, err
	}
	before, err := enroll.Read(a.own.path)
	if err != nil {
		return nil, err
	}
	if before != nil {
		got.Settings = before.Settings
	}
	pair, err := got.Pair()
	if err != nil {
		return nil, err
	}
	if err := got.Write(a.own.path); err != nil {
		return nil, err
	}
	a.show(pair)
	a.reloading.Lock()
	defer a.reloading.Unlock()
	return pair, a.reloadTLS(a.config.get())
}

// autoConfig is how this server gives client agents their certificates and settings.
func (a *Agent) autoConfig(cfg *config.Config) server.Auto {
	auth := cfg.AutoConfig.Authorization
	out := server.Auto{AllowTLS: cfg.AutoEncrypt.AllowTLS, Domain: strings.ToLower(strings.TrimSuffix(cfg.Domain, ".")), Believe: a.peers.Believe}
	if !auth.Enabled {
		return out
	}
	s := auth.Static
	out.Assertions, out.Settings = s.ClaimAssertions, func() api.AutoSettings { return a.toldSettings(cfg) }
	out.Intro = &catalog.AuthMethod{Name: "auto_config", Type: catalog.AuthJWT, Config: map[string]any{
		"JWTValidationPubKeys": s.JWTValidationPubKeys, "OIDCDiscoveryURL": s.OIDCDiscoveryURL, "OIDCDiscoveryCACert": s.OIDCDiscoveryCACert,
		"JWKSURL": s.JWKSURL, "JWKSCACert": s.JWKSCACert, "JWTSupportedAlgs": s.JWTSupportedAlgs, "BoundAudiences": s.BoundAudiences, "BoundIssuer": s.BoundIssuer,
		"ClaimMappings": s.ClaimMappings, "ListClaimMappings": s.ListClaimMappings,
		"ExpirationLeeway": s.ExpirationLeeway.String(), "NotBeforeLeeway": s.NotBeforeLeeway.String(), "ClockSkewLeeway": s.ClockSkewLeeway.String(),
	}}
	return out
}

// toldSettings are what an agent is told that has its settings from this server.
func (a *Agent) toldSettings(cfg *config.Config) api.AutoSettings {
	t, l := cfg.TLS.InternalRPC, cfg.ACL
	out := api.AutoSettings{
		Datacenter: cfg.Datacenter, PrimaryDatacenter: cfg.PrimaryDatacenter, EncryptVerifyIncoming: cfg.EncryptVerifyIncoming, EncryptVerifyOutgoing: cfg.EncryptVerifyOutgoing,
		ACL: api.AutoACL{
			Enabled: l.Enabled, DefaultPolicy: l.DefaultPolicy, DownPolicy: l.DownPolicy, EnableKeyListPolicy: l.EnableKeyListPolicy,
			PolicyTTL: l.PolicyTTL.String(), RoleTTL: l.RoleTTL.String(), TokenTTL: l.TokenTTL.String(),
		},
		TLS: api.AutoDefault{Defaults: api.AutoTLS{MinVersion: t.MinVersion, CipherSuites: t.CipherSuites, VerifyOutgoing: t.VerifyOutgoing, VerifyServerHostname: t.VerifyServerHostname}},
	}
	if keys := a.pools.keys(false); len(keys) > 0 {
		out.Encrypt = keys[0]
	}
	for _, m := range a.pools.lan.Members() {
		if _, ok := m.Server(); ok && len(out.RetryJoin) < maxKnown {
			out.RetryJoin = append(out.RetryJoin, m.AddrPort().String())
		}
	}
	return out
}

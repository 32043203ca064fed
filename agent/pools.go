package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/curia-mesh/curia/agent/config"
	"github.com/curia-mesh/curia/agent/logging"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc/gossip"
)

// pools are the gossip pools that the agent is in: that of its datacenter, and on servers that of all
// servers.
type pools struct {
	admission *admission // of the LAN pool
	lan       *gossip.Pool
	wan       *gossip.Pool // nil on client agents and where serf_wan is off
	flood     *flood       // nil without wan
}

func (a *Agent) openPools(cfg *config.Config, opened *rollback) error {
	lan, err := a.poolConfig(cfg, gossip.LAN)
	if err != nil {
		return err
	}
	a.pools = &pools{admission: newAdmission(cfg.Datacenter, cfg.NodeName, a.id, logging.Named(a.log, "lan"))}
	lan.Admit = a.pools.admission.admit
	if a.pools.lan, err = gossip.Open(lan); err != nil {
		return fmt.Errorf("LAN gossip (ports.serf_lan): %w", err)
	}
	opened.add(func() { a.pools.lan.Close() })
	if !cfg.Server || cfg.Ports.SerfWAN < 0 {
		return nil
	}
	wan, err := a.poolConfig(cfg, gossip.WAN)
	if err != nil {
		return err
	}
	wan.Avoid = a.avoidWAN
	if a.passage = a.newPassage(cfg); a.passage != nil {
		wan.Beyond = a.passage
	}
	if a.pools.wan, err = gossip.Open(wan); err != nil {
		return fmt.Errorf("WAN gossip (ports.serf_wan): %w", err)
	}
	opened.add(func() { a.pools.wan.Close() })
	a.pools.flood = newFlood(cfg.Datacenter, a.pools.lan, a.pools.wan, logging.Named(a.log, "wan"))
	return nil
}

func (a *Agent) poolConfig(cfg *config.Config, kind gossip.Kind) (gossip.Config, error) {
	bind, port, advertise, tuning, file, name := cfg.SerfLAN, cfg.Ports.SerfLAN, cfg.AdvertiseAddr, cfg.GossipLAN, "local", cfg.NodeName
	allowed, reconnect := cfg.SerfLANAllowedCIDRs, cfg.ReconnectTimeout
	if kind == gossip.WAN {
		bind, port, advertise, tuning, file = cfg.SerfWAN, cfg.Ports.SerfWAN, cfg.AdvertiseAddrWAN, cfg.GossipWAN, "remote"
		allowed, reconnect, name = cfg.SerfWANAllowedCIDRs, cfg.ReconnectTimeoutWAN, cfg.NodeName+"."+cfg.Datacenter
	}
	out := gossip.Config{
		Kind: kind, Name: name, Tags: a.tags(cfg), NoCoordinates: cfg.DisableCoordinates, RejoinAfterLeave: cfg.RejoinAfterLeave,
		AcceptPlaintext: !cfg.EncryptVerifyIncoming, SendPlaintext: !cfg.EncryptVerifyOutgoing,
		Logger: logging.Named(a.log, string(kind)), LibraryLog: logging.Standard(logging.Named(a.log, string(kind)), 0).Writer(),
		Timings: gossip.Timings{
			GossipInterval: tuning.GossipInterval, GossipNodes: tuning.GossipNodes, ProbeInterval: tuning.ProbeInterval, ProbeTimeout: tuning.ProbeTimeout,
			SuspicionMult: tuning.SuspicionMult, RetransmitMult: tuning.RetransmitMult, ReconnectTimeout: reconnect,
		},
	}
	if kind == gossip.LAN {
		out.ReapAfter = a.reapAfter
	}
	var err error
	if out.Bind, err = addrPort(bind, port); err != nil {
		return out, fmt.Errorf("%s gossip: %w", kind, err)
	}
	if out.Advertise, err = addrPort(advertise, port); err != nil {
		return out, fmt.Errorf("%s gossip: advertised address: %w", kind, err)
	}
	for _, cidr := range allowed {
		p, err := netip.ParsePrefix(cidr)
		if err != nil {
			return out, fmt.Errorf("%s gossip: allowed network %q: %w", kind, cidr, err)
		}
		out.Allowed = append(out.Allowed, p)
	}
	if cfg.Encrypt != "" {
		key, err := gossip.ParseKey(cfg.Encrypt)
		if err != nil {
			return out, fmt.Errorf("encrypt: %w", err)
		}
		out.Keys = []gossip.Key{key}
	}
	if cfg.DataDir != "" && !cfg.Dev {
		out.SnapshotFile = filepath.Join(cfg.DataDir, "serf", file+".snapshot")
		if !cfg.DisableKeyringFile && cfg.Encrypt != "" {
			out.KeyringFile = filepath.Join(cfg.DataDir, "serf", file+".keyring")
		}
	}
	return out, nil
}

// avoidWAN is gossip.Config.Avoid of the WAN pool: nobody is refused before the server can judge.
func (a *Agent) avoidWAN(m gossip.Member) error {
	if s := a.judge.Load(); s != nil {
		return s.AvoidWAN(m)
	}
	return nil
}

// reapAfter is how long a failed member is remembered: the usual time, or the shortest that reap_after has for its
// node's metadata. It only reads what is in memory.
func (a *Agent) reapAfter(m gossip.Member, usual time.Duration) time.Duration {
	store := a.nodes.Load()
	if store == nil || m.Status != gossip.StatusFailed {
		return usual
	}
	node := state.Node(store.Read(), nil, m.Name)
	if node == nil {
		return usual
	}
	shortest := time.Duration(0)
	for class, after := range a.config.get().ReapAfter {
		key, value, _ := strings.Cut(class, "=")
		if catalog.HasPairs(node.Meta, map[string]string{key: value}) && (shortest == 0 || after < shortest) {
			shortest = after
		}
	}
	return cmp.Or(shortest, usual)
}

func addrPort(host string, port int) (netip.AddrPort, error) {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q is no IP address", host)
	}
	return netip.AddrPortFrom(addr, uint16(port)), nil
}

// tags tell the other members what this agent is.
func (a *Agent) tags(cfg *config.Config) map[string]string {
	tags := map[string]string{
		"dc": cfg.Datacenter, "id": a.id, "role": "node", "segment": cfg.Segment, "build": a.build.Version + ":" + a.build.Revision,
		"vsn": "2", "vsn_min": "2", "vsn_max": "3", "acls": "0",
	}
	if cfg.ACL.Enabled {
		tags["acls"] = "1"
	}
	if !cfg.Server {
		return tags
	}
	tags["role"] = catalog.ServersService
	tags["port"] = strconv.Itoa(cfg.Ports.Server)
	tags["wan_join_port"] = strconv.Itoa(cfg.Ports.SerfWAN)
	tags["raft_vsn"] = "3"
	tags["ft_fs"], tags["ft_si"] = "1", "1"
	for name, port := range map[string]int{"grpc_port": cfg.Ports.GRPC, "grpc_tls_port": cfg.Ports.GRPCTLS} {
		if port > 0 {
			tags[name] = strconv.Itoa(port)
		}
	}
	switch n := cfg.BootstrapExpect; {
	case n == 1 && !cfg.Dev: // as Consul's agents with -dev do not say it either
		tags["bootstrap"] = "1"
	case n > 1:
		tags["expect"] = strconv.Itoa(n)
	}
	if cfg.ReadReplica {
		tags["read_replica"] = "1"
	}
	return tags
}

// keys are those of a pool in base64, the primary first.
func (p *pools) keys(wan bool) []string {
	from := p.lan
	if wan {
		from = p.wan
	}
	if from == nil {
		return nil
	}
	var all []string
	for _, k := range from.Keys() {
		all = append(all, k.Base64())
	}
	return all
}

func (p *pools) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return p.lan.Run(ctx) })
	if p.wan != nil {
		group.Go(func() error { return p.wan.Run(ctx) })
		group.Go(func() error { return p.flood.run(ctx) })
	}
	return group.Wait()
}

// leave tells both pools that this agent goes for good.
func (p *pools) leave(ctx context.Context) error {
	var wait sync.WaitGroup
	var lan, wan error
	wait.Go(func() { lan = p.lan.Leave(ctx) })
	if p.wan != nil {
		wait.Go(func() { wan = p.wan.Leave(ctx) })
	}
	wait.Wait()
	return errors.Join(lan, wan)
}

// handleEvents takes what happens in the pools until they end with ctx.
func (a *Agent) handleEvents(ctx context.Context) error {
	var wan <-chan gossip.Event
	if a.pools.wan != nil {
		wan = a.pools.wan.Events()
	}
	lan := a.pools.lan.Events()
	for lan != nil || wan != nil {
		select {
		case e, ok := <-lan:
			if !ok {
				lan = nil
				continue
			}
			a.handleEvent(e)
		case e, ok := <-wan:
			if !ok {
				wan = nil
				continue
			}
			if e.Kind == gossip.Conflict {
				a.tellConflict("two servers have one name in the WAN pool: give one of them another node_name, or another datacenter", e)
				continue
			}
			a.log.Debug("WAN pool changed", "event", e.Kind, "node", e.Member.Name)
			a.backend.observeWAN()
		}
	}
	<-ctx.Done()
	return nil
}

func (a *Agent) handleEvent(e gossip.Event) {
	a.pools.admission.note(e)
	switch e.Kind {
	case gossip.User:
		got, err := a.events.Receive(e.User.Name, e.User.LTime, e.User.Payload)
		switch {
		case err != nil:
			a.log.Warn("user event could not be read", "err", err)
		case got != nil:
			a.log.Info("user event received", "event", got.Name, "id", got.ID)
		}
	case gossip.Conflict:
		a.tellConflict("two members have one name: give one of them another node_name", e)
	default:
		a.log.Debug("LAN pool changed", "event", e.Kind, "node", e.Member.Name)
		a.backend.observe(e)
		a.pools.flood.kick(e)
	}
}

func (a *Agent) tellConflict(msg string, e gossip.Event) {
	a.log.Error(msg, "node", e.Member.Name, "address", e.Member.AddrPort(), "other", e.Rival)
}

// retryJoin joins the configured addresses, again and again until one answers.
func (p *pools) retryJoin(ctx context.Context, cfg *config.Config, log *slog.Logger) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return joinUntil(ctx, p.lan, log, "LAN", cfg.RetryJoin, cfg.RetryInterval, cfg.RetryMax, func() error { return nil })
	})
	if p.wan != nil {
		group.Go(func() error {
			return joinUntil(ctx, p.wan, log, "WAN", cfg.RetryJoinWAN, cfg.RetryIntervalWAN, cfg.RetryMaxWAN, func() error { return p.alone(cfg) })
		})
		group.Go(func() error { return p.joinPrimary(ctx, cfg, log) })
	}
	return group.Wait()
}

// alone says that a secondary datacenter's servers know nobody but themselves, whatever answered.
func (p *pools) alone(cfg *config.Config) error {
	if cfg.PrimaryDatacenter == cfg.Datacenter {
		return nil
	}
	for _, m := range p.wan.Members() {
		if s, ok := m.Server(); ok && s.Datacenter != cfg.Datacenter {
			return nil
		}
	}
	return fmt.Errorf("retry_join_wan leads to servers of %s alone, this datacenter, and primary_datacenter is %s: name servers of that in retry_join_wan here", cfg.Datacenter, cfg.PrimaryDatacenter)
}

// withoutProviders are the addresses that can be joined.
func withoutProviders(addresses []string, kind string, log *slog.Logger) []string {
	named := slices.DeleteFunc(slices.Clone(addresses), func(text string) bool { return strings.Contains(text, "provider=") })
	if len(named) < len(addresses) { // what is left out is not named: it may hold keys of the cloud
		log.Error("joining by what a cloud provider says is not supported: name addresses or DNS names", "pool", kind)
	}
	return named
}

// joinUntil joins a pool until an address has answered, and short is nil: it says what else is lacking then.
func joinUntil(ctx context.Context, p *gossip.Pool, log *slog.Logger, kind string, addresses []string, interval time.Duration, limit int, short func() error) error {
	if addresses = withoutProviders(addresses, kind, log); len(addresses) == 0 {
		return nil
	}
	return until(ctx, log, "no address of the "+kind+" pool answers and leads on", interval, func(try int) (done bool, err error) {
		n, err := p.Join(ctx, addresses)
		switch {
		case err == nil && short() == nil:
			log.Info("joined the "+kind+" pool", "answered", n)
			return true, nil
		case err == nil:
			return false, short()
		case limit > 0 && try >= limit:
			return true, fmt.Errorf("joining the %s pool failed %d times: %w", kind, try, err)
		}
		return false, err
	})
}

// until joins a pool again and again until it is done. The first failure is told.
func until(ctx context.Context, log *slog.Logger, failure string, interval time.Duration, join func(try int) (done bool, err error)) error {
	tick := time.NewTicker(max(interval, time.Second))
	defer tick.Stop()
	for try := 1; ; try++ {
		done, err := join(try)
		if done {
			return err
		}
		if try == 1 && ctx.Err() == nil {
			log.Warn(failure+"; trying again until one does", "every", interval, "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

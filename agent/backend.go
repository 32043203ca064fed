package agent

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/raft"
	"golang.org/x/sync/errgroup"

	"github.com/curia-mesh/curia/agent/authz"
	"github.com/curia-mesh/curia/agent/config"
	"github.com/curia-mesh/curia/agent/httpapi"
	"github.com/curia-mesh/curia/agent/logging"
	"github.com/curia-mesh/curia/agent/trust"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/rpc/gossip"
	"github.com/curia-mesh/curia/rpc/router"
	"github.com/curia-mesh/curia/server"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/limit"
)

// backend is how an agent reaches the servers. Its two kinds are all that a server agent and a client agent
// differ in.
type backend interface {
	// caller reaches the servers, and quick does for those who can do without an answer.
	caller() rpc.Caller
	quick() rpc.Caller
	snapshots() httpapi.Snapshots
	// authorizer tells what tokens may do.
	authorizer(*config.Config, func() *config.Tokens, *slog.Logger) authorize
	// admit bounds how quickly clients of this agent may ask a server in it; nil where there is none.
	admit() func(from, method string) error
	// observe hears of each change of members in the LAN pool. It does not block.
	observe(gossip.Event)
	// observeWAN hears of each change of members in the WAN pool. It does not block for long.
	observeWAN()
	// run works until ctx ends.
	run(ctx context.Context) error
	// ready blocks until the servers can be asked, or ctx ends. It says in words what is so, and who leads.
	ready(ctx context.Context) (what, leader string)
	// recheck ends the connections to agents whose certificates are not believed any more, and returns how many.
	recheck(believed func([]*x509.Certificate) error) int
	// reload takes up what may change.
	reload(*config.Config) error
	// stats are the figures of `info`, by group.
	stats(cfg *config.Config) map[string]map[string]string
	close()
}

func (a *Agent) openBackend(cfg *config.Config) error {
	if !cfg.Server {
		reached := func() {
			a.local.Kick()
			a.cache.Wake()
		}
		a.backend = newRemote(cfg, a.peers, a.pools.lan, reached, logging.Named(a.log, "router"))
		return nil
	}
	s, err := server.Open(a.serverConfig(cfg))
	if err != nil {
		return err
	}
	h := &hosted{s, cfg.NodeName}
	h.bound(cfg)
	a.backend = h
	a.nodes.Store(s.Store())
	a.judge.Store(s)
	return nil
}

// hosted is a server in this agent.
type hosted struct {
	*server.Server
	node string
}

func (h *hosted) caller() rpc.Caller            { return h.Caller() }
func (h *hosted) quick() rpc.Caller             { return h.Caller() }
func (h *hosted) snapshots() httpapi.Snapshots  { return h.Snapshots() }
func (h *hosted) observe(gossip.Event)          { h.Observe() }
func (h *hosted) observeWAN()                   { h.ObserveWAN() }
func (h *hosted) run(ctx context.Context) error { return h.Run(ctx) }
func (h *hosted) close()                        { h.Close() }

func (h *hosted) recheck(believed func([]*x509.Certificate) error) int { return h.Recheck(believed) }

func (h *hosted) admit() func(from, method string) error { return h.Limits().Admit }

// bound bounds how quickly the server is asked.
func (h *hosted) bound(cfg *config.Config) {
	r := cfg.Limits.RequestLimits
	h.Limits().Global(r.Mode, limit.Rates{Read: r.ReadRate, Write: r.WriteRate})
}

func (h *hosted) reload(cfg *config.Config) error {
	h.bound(cfg)
	return h.Reload(snapshotPace(cfg), bootstrapEntries(cfg))
}

func (h *hosted) ready(ctx context.Context) (what, leader string) {
	if leader = h.WaitLeader(ctx); leader == h.node {
		return "this server leads the datacenter", leader
	}
	return "another server leads the datacenter", leader
}

func (h *hosted) stats(cfg *config.Config) map[string]map[string]string {
	own := map[string]string{
		"acl": aclState(cfg), "server": "true", "bootstrap": strconv.FormatBool(cfg.BootstrapExpect == 1), "known_datacenters": strconv.Itoa(h.Datacenters()),
		"leader": strconv.FormatBool(h.State() == raft.Leader), "leader_addr": h.LeaderAddr(),
	}
	if primary := h.Primary(); primary != cfg.Datacenter {
		own["primary_datacenter"] = primary
	}
	if twice := h.TwiceNamed(); len(twice) > 0 {
		own["two_clusters_with_one_name"] = strings.Join(twice, ", ")
	}
	if copies, behind := h.KeyCopies(); copies > 0 {
		own["kv_replication"] = fmt.Sprintf("%d copies of other datacenters' keys, %d not as there", copies, behind)
	}
	return map[string]map[string]string{"raft": h.RaftStats(), "consul": own}
}

// remote is servers across the network.
type remote struct {
	*router.Router
	pool    *rpc.Pool
	members func() []gossip.Member
	pace    *limit.Client
}

// paced is a caller of servers that makes no more calls than it may.
type paced struct {
	rpc.Caller
	pace *limit.Client
}

// Call implements rpc.Caller.
func (p *paced) Call(ctx context.Context, call *rpc.Call) (rpc.Answer, error) {
	if err := p.pace.Admit(); err != nil {
		return rpc.Answer{}, err
	}
	return p.Caller.Call(ctx, call)
}

// limitedTo bounds how quickly the servers are asked.
func (r *remote) limitedTo(cfg *config.Config) {
	r.pace.Set(cfg.Limits.RPCRate, cfg.Limits.RPCMaxBurst)
}

func (r *remote) admit() func(from, method string) error { return nil }

func newRemote(cfg *config.Config, peers *trust.Peers, lan *gossip.Pool, reached func(), log *slog.Logger) *remote {
	pool := rpc.NewPool(rpc.PoolOptions{Dialer: rpc.Dialer{TLS: peers.Dial, Plain: peers.PlainOut}, Decode: server.DecodeError})
	r := &remote{
		pool: pool, members: lan.Members, pace: limit.NewClient(),
		Router: router.New(router.Options{
			Pool: pool, Datacenter: cfg.Datacenter, Hold: cfg.Performance.RPCHoldTimeout, Decode: server.DecodeError, Reads: api.Reads,
			Elsewhere: func(err error) bool { return catalog.CodeOf(err) == catalog.NoLeader }, Reached: reached,
			Nodes: func() int { return len(lan.Members()) }, Log: log,
		}),
	}
	r.limitedTo(cfg)
	return r
}

func (r *remote) caller() rpc.Caller           { return &paced{r.Router, r.pace} }
func (r *remote) quick() rpc.Caller            { return &paced{r.Once(), r.pace} }
func (r *remote) snapshots() httpapi.Snapshots { return r }
func (r *remote) reload(cfg *config.Config) error {
	r.limitedTo(cfg)
	return nil
}
func (r *remote) close() { r.pool.Close() }

func (r *remote) recheck(believed func([]*x509.Certificate) error) int {
	return r.pool.Recheck(believed)
}

func (r *remote) observe(e gossip.Event) {
	if _, ok := e.Member.Server(); ok {
		r.SetMembers(r.members())
	}
}

func (r *remote) observeWAN() {} // client agents are in no such pool

func (r *remote) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return r.Run(ctx) })
	group.Go(func() error { return r.pool.Run(ctx) })
	group.Go(func() error { return r.greet(ctx) })
	return group.Wait()
}

// greet asks the servers that gossip finds whether they are there, so that what waits for them goes on.
func (r *remote) greet(ctx context.Context) error {
	for ctx.Err() == nil {
		changed := r.Changed()
		if len(r.Servers()) > 0 {
			_, _, _ = api.StatusLeader.Call(ctx, r.Router, rpc.Header{}, &api.Nothing{}) // the router tells what comes of it
		}
		select {
		case <-ctx.Done():
		case <-changed:
		}
	}
	return nil
}

// readyPause is how long after a server has said that there is no leader it is asked again.
const readyPause = time.Second

func (r *remote) ready(ctx context.Context) (what, leader string) {
	for ctx.Err() == nil {
		changed := r.Changed()
		found, _, err := api.StatusLeader.Call(ctx, r.Router, rpc.Header{}, &api.Nothing{})
		if err == nil && *found != "" {
			return "the servers answer this client agent", *found
		}
		again := time.NewTimer(readyPause)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-again.C:
		}
		again.Stop()
	}
	return "", ""
}

func (r *remote) stats(cfg *config.Config) map[string]map[string]string {
	return map[string]map[string]string{
		"consul": {"acl": aclState(cfg), "server": "false", "known_servers": strconv.Itoa(len(r.Servers()))},
	}
}

// SaveSnapshot implements httpapi.Snapshots.
func (r *remote) SaveSnapshot(ctx context.Context, h rpc.Header, begin func(index uint64) io.Writer) error {
	return api.SaveSnapshot(ctx, r.Router, h, begin)
}

// RestoreSnapshot implements httpapi.Snapshots.
func (r *remote) RestoreSnapshot(ctx context.Context, h rpc.Header, req *api.RestoreRequest, from io.Reader) error {
	return api.RestoreSnapshot(ctx, r.Router, h, req, from)
}

// aclState says whether this agent checks tokens.
func aclState(cfg *config.Config) string {
	if cfg.ACL.Enabled {
		return "enabled"
	}
	return "disabled"
}

// authorize tells what a token may do, see httpapi.Deps.
type authorize func(ctx context.Context, secret string) (acl.Authorizer, error)

// authorizer is nil where tokens are not checked.
func (a *Agent) authorizer(cfg *config.Config) authorize {
	if !cfg.ACL.Enabled {
		return nil
	}
	return a.backend.authorizer(cfg, a.config.tokens.Load, logging.Named(a.log, "acl"))
}

// aclTTL is how long it may be remembered what a token may do.
func aclTTL(cfg *config.Config) time.Duration {
	return min(cfg.ACL.TokenTTL, cfg.ACL.PolicyTTL, cfg.ACL.RoleTTL)
}

func (h *hosted) authorizer(cfg *config.Config, tokens func() *config.Tokens, _ *slog.Logger) authorize {
	return func(ctx context.Context, secret string) (acl.Authorizer, error) {
		if az := authz.Recovers(secret, tokens().AgentRecovery, cfg.NodeName); az != nil {
			return az, nil
		}
		return h.Authorize(ctx, secret)
	}
}

// elsewhere resolves the tokens that only the primary datacenter knows. It is nil where tokens are not checked.
func (a *Agent) elsewhere(cfg *config.Config) authorize {
	if !cfg.ACL.Enabled {
		return nil
	}
	return authz.New(authz.Options{
		TTL: aclTTL(cfg), Down: authz.DownPolicy(cfg.ACL.DownPolicy), Node: cfg.NodeName, Log: logging.Named(a.log, "acl"),
		Resolve: func(ctx context.Context, secret string) (*api.Resolved, error) {
			primary := a.backend.(*hosted).Primary()
			found, err := resolveToken(ctx, a.backend.caller(), rpc.Header{Datacenter: primary, Consistency: rpc.Stale}, cfg.Datacenter, secret)
			switch {
			case err != nil:
				return nil, err
			case found.Disabled:
				return nil, catalog.Errorf(catalog.Unavailable, "the servers of the primary datacenter %s check no tokens: set acl.enabled on them", primary)
			}
			own := *found
			own.DefaultPolicy = cfg.ACL.DefaultPolicy
			return &own, nil
		},
	}).Authorize
}

// resolveToken asks what a secret stands for in a datacenter.
func resolveToken(ctx context.Context, servers rpc.Caller, h rpc.Header, datacenter, secret string) (*api.Resolved, error) {
	found, _, err := api.ACLResolve.Call(ctx, servers, h, &api.SecretQuery{Secret: catalog.SecretID(secret), Datacenter: datacenter})
	return found, err
}

func (r *remote) authorizer(cfg *config.Config, tokens func() *config.Tokens, log *slog.Logger) authorize {
	return authz.New(authz.Options{
		TTL: aclTTL(cfg), Down: authz.DownPolicy(cfg.ACL.DownPolicy),
		Node: cfg.NodeName, Recovery: func() string { return tokens().AgentRecovery }, Log: log,
		Resolve: func(ctx context.Context, secret string) (*api.Resolved, error) {
			return resolveToken(ctx, r.quick(), rpc.Header{Consistency: rpc.Stale}, cfg.Datacenter, secret)
		},
	}).Authorize
}

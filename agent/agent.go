// Package agent is the process on a node: it loads the configuration, opens what the node offers, and
// runs the parts until it is told to end.
package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/curia-mesh/curia/agent/audit"
	"github.com/curia-mesh/curia/agent/check"
	"github.com/curia-mesh/curia/agent/config"
	"github.com/curia-mesh/curia/agent/dns"
	"github.com/curia-mesh/curia/agent/event"
	"github.com/curia-mesh/curia/agent/external"
	"github.com/curia-mesh/curia/agent/httpapi"
	"github.com/curia-mesh/curia/agent/leaf"
	"github.com/curia-mesh/curia/agent/local"
	"github.com/curia-mesh/curia/agent/logging"
	"github.com/curia-mesh/curia/agent/telemetry"
	"github.com/curia-mesh/curia/agent/trust"
	"github.com/curia-mesh/curia/agent/watch"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc/cores"
	"github.com/curia-mesh/curia/server"
)

// Build says which build of the product this is.
type Build struct {
	Version  string
	Revision string
	Date     string
}

// Options are what an agent is started with.
type Options struct {
	Args  config.Args
	Build Build
	// Out gets the log, and what an operator should see at the start.
	Out io.Writer
	// Reload asks for the configuration to be read anew; the result is logged.
	Reload <-chan struct{}
	// Dump asks for the metrics to be written to Out.
	Dump <-chan struct{}
	// Program is this program, which is to run the sidecars in a process of their own; empty runs them in this one.
	Program string
	// Alone is whether nothing but this agent runs in the process.
	Alone bool
}

// Agent is a running node. Its parts are made by Open and run by Run.
type Agent struct {
	opts   Options
	build  Build
	log    *slog.Logger
	logs   *logging.Output
	id     string
	config *current

	cores     *cores.Governor // of this process; may be nil
	telemetry *telemetry.Telemetry
	sockets   *sockets
	peers     *trust.Peers  // how connections between agents are secured
	joins     *server.Joins // nil when nobody can join with a token here
	own       *enrolled     // the certificate that the agent has from the servers; nil when it has none
	pools     *pools
	passage   *server.Passage // to servers of other datacenters; nil where they are reached directly
	backend   backend
	nodes     atomic.Pointer[state.Store]   // what a server knows of the nodes, for its gossip
	judge     atomic.Pointer[server.Server] // of who may be in the WAN pool
	cache     *watch.Cache
	plans     *watch.Plans
	external  *external.Monitor
	leaves    *leaf.Cache
	mesh      *mesh // nil when others run the sidecars
	local     *local.State
	checkTLS  certificates // what checks show to their targets
	events    *event.Ring
	dns       *dns.Server
	api       *httpapi.API
	audit     *audit.Log // nil when requests are not recorded

	leave  chan struct{} // closed when the agent is to leave and end
	asked  sync.Once     // closes leave
	left   chan struct{} // closed when it has left its pools because it was asked to
	unlock func()        // gives the data directory back

	reloading sync.Mutex // held while the configuration is read anew: signals and the API both ask for it
}

// ErrLeft is what Run returns after the agent has left its pools because it was asked to over the API.
var ErrLeft = errors.New("the agent has left")

// Open loads the configuration and opens everything that can fail: files, sockets, the Raft log. Run
// must follow. An agent that has its certificate from the servers asks them for the first one, until ctx ends.
func Open(ctx context.Context, opts Options) (*Agent, error) {
	cfg, warnings, err := config.Load(opts.Args)
	if err != nil {
		return nil, err
	}
	a := &Agent{cores: governor(opts), opts: opts, build: opts.Build, config: newCurrent(cfg), leave: make(chan struct{}), left: make(chan struct{}), unlock: func() {}}
	var opened rollback
	defer opened.undo()
	if err := a.openLogs(cfg, &opened); err != nil {
		return nil, err
	}
	for _, w := range warnings {
		a.log.Warn(w.String())
	}
	if err := a.openDataDir(cfg, &opened); err != nil {
		return nil, err
	}
	if err := a.openPeers(cfg); err != nil {
		return nil, err
	}
	if cfg, err = a.enroll(ctx, cfg); err != nil {
		return nil, err
	}
	if a.config.kept, err = readTokens(cfg); err != nil {
		return nil, err
	}
	a.config.set(cfg)
	if err := a.openAudit(cfg); err != nil {
		return nil, err
	}
	if a.id, err = cfg.ResolveNodeID(); err != nil {
		return nil, err
	}
	if a.telemetry, err = telemetry.New(telemetryConfig(cfg), logging.Named(a.log, "telemetry")); err != nil {
		return nil, err
	}
	if a.sockets, err = listen(cfg, a.own.certificate()); err != nil {
		return nil, err
	}
	opened.add(a.sockets.close)
	banner(opts.Out, cfg, a.build, a.id, a.sockets)
	a.sockets.warnHTTPS(cfg, a.log)
	if err := a.openPools(cfg, &opened); err != nil {
		return nil, err
	}
	if err := a.openBackend(cfg); err != nil {
		return nil, err
	}
	opened.add(a.backend.close)
	if err := a.openInterfaces(cfg); err != nil {
		return nil, err
	}
	if err := writePid(cfg.PidFile); err != nil {
		return nil, err
	}
	opened.done()
	return a, nil
}

// rollback closes what was opened when a later step fails.
type rollback struct{ steps []func() }

func (r *rollback) add(step func()) { r.steps = append(r.steps, step) }
func (r *rollback) done()           { r.steps = nil }

func (r *rollback) undo() {
	for i := len(r.steps) - 1; i >= 0; i-- {
		r.steps[i]()
	}
}

func (a *Agent) openLogs(cfg *config.Config, opened *rollback) error {
	logs, err := logging.New(loggingConfig(cfg), a.opts.Out)
	if err != nil {
		return err
	}
	opened.add(func() { logs.Close() })
	a.logs, a.log = logs, logs.Logger()
	return nil
}

// openInterfaces makes what clients talk to.
func (a *Agent) openInterfaces(cfg *config.Config) error {
	var err error
	caller := a.backend.caller()
	if err := a.checkTLS.loadChecks(cfg); err != nil {
		return err
	}
	if a.local, err = local.New(a.localConfig(cfg), caller, logging.Named(a.log, "local")); err != nil {
		return err
	}
	if err := a.setServices(cfg); err != nil {
		return err
	}
	a.events = event.NewRing(eventLocal{a})
	authorizer := a.authorizer(cfg)
	a.cache = watch.New(watch.Options{Caller: a.backend.quick(), Datacenter: cfg.Datacenter, Log: logging.Named(a.log, "cache")})
	a.dns, err = dns.New(dnsConfig(cfg), &source{cache: a.cache, caller: caller, node: cfg.NodeName, header: a.dnsHeader, authorize: authorizer, ttl: aclTTL(cfg)}, logging.Named(a.log, "dns"))
	if err != nil {
		return err
	}
	if err := a.openLeaves(cfg); err != nil {
		return err
	}
	if err := a.openMesh(cfg); err != nil {
		return err
	}
	a.api = httpapi.New(apiConfig(cfg), httpapi.Deps{
		Caller: caller, Cache: a.cache, Shared: !cfg.Server, Node: &node{a}, Local: a.local, Snapshots: a.backend.snapshots(), Events: a.events, Telemetry: a.telemetry, Logs: a.logs,
		Leaves: a.leaves, Proxy: a.proxy(), Authorize: authorizer, Audit: a.auditor(authorizer), Admit: a.backend.admit(),
	}, logging.Named(a.log, "http"))
	a.external = external.New(external.Deps{
		Caller: caller, Node: cfg.NodeName, Token: a.config.agentToken,
		Checks: check.Deps{TLS: a.checkTLS.current.Load, OutputMaxSize: cfg.CheckOutputMaxSize, FlapHalfLife: cfg.CheckFlapHalfLife}, Log: logging.Named(a.log, "external"),
	})
	a.plans = watch.NewPlans(watch.Deps{
		Cache: a.cache, Events: a.events, Services: a.api, Leaves: a.leaves, Log: logging.Named(a.log, "watch"),
		Token: func() string { return a.config.tokens.Load().Default },
	})
	return a.plans.Set(cfg.Watches)
}

// Run runs the agent until ctx ends or it is asked to leave, and returns when everything has ended. The
// interfaces that clients use end first, the server last.
func (a *Agent) Run(ctx context.Context) error {
	cfg := a.config.get()
	paceCollector()
	defer a.logs.Close()
	defer a.unlock()
	if cfg.PidFile != "" {
		defer os.Remove(cfg.PidFile)
	}
	noteRunning(cfg, a.log)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	lasting, endLasting := context.WithCancel(context.WithoutCancel(ctx))
	defer endLasting()
	core, _ := errgroup.WithContext(lasting)
	guard := func(run func(context.Context) error) func() error {
		return func() error {
			err := run(lasting)
			if err != nil {
				cancel(err)
			}
			return err
		}
	}
	core.Go(guard(a.telemetry.Run))
	core.Go(guard(a.backend.run))
	core.Go(guard(a.pools.run))
	core.Go(guard(a.handleEvents))
	core.Go(guard(a.cache.Run))
	core.Go(guard(a.leaves.Run))
	if a.audit != nil {
		core.Go(guard(a.audit.Run))
	}

	edge, inner := errgroup.WithContext(ctx)
	edge.Go(func() error { return a.local.Run(inner) })
	edge.Go(func() error { return a.dns.Run(inner, a.sockets.packets, a.sockets.dns) })
	edge.Go(func() error { return a.serveHTTP(inner) })
	edge.Go(func() error { return a.pools.retryJoin(inner, cfg, a.log) })
	edge.Go(func() error { return a.sendCoordinates(inner, cfg) })
	edge.Go(func() error { return a.measure(inner) })
	edge.Go(func() error { return a.plans.Run(inner) })
	if a.mesh != nil {
		edge.Go(func() error { return a.mesh.run(inner) })
	}
	if cfg.Server { // the servers share them among themselves
		edge.Go(func() error { return a.external.Run(inner) })
	}
	edge.Go(func() error { return a.autoReload(inner) })
	edge.Go(func() error { return a.obey(inner, cfg, cancel) })
	edge.Go(func() error { return a.rekey(inner) })
	edge.Go(func() error { return a.renew(inner) })
	edge.Go(func() error { return a.announce(inner) })
	edge.Go(func() error { return keepSeen(inner, cfg, a.log) })
	edgeErr, stuck := within(inner, edge, edgeTimeout)
	err := edgeErr
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	if a.shouldLeave(err, cfg) {
		a.leavePools(cfg)
	}
	endLasting()
	coreErr, coreStuck := within(lasting, core, coreTimeout)
	switch {
	case stuck || coreStuck:
		err = errors.New("parts of the agent did not end in time and were given up: the disk may hang")
	case coreErr != nil && !errors.Is(err, coreErr):
		if asked := new(Interrupt); errors.As(err, &asked) || errors.Is(err, ErrLeft) {
			err = nil // what went wrong is the news
		}
		err = errors.Join(err, coreErr)
	}
	a.log.Info("agent ended")
	return err
}

// How long the parts that clients use, and those beneath them, may take to end.
const (
	edgeTimeout = 15 * time.Second
	coreTimeout = 30 * time.Second
)

// within waits for a group, no longer than limit from when ctx has ended: what hangs in the kernel must not
// keep the process from ending.
func within(ctx context.Context, group *errgroup.Group, limit time.Duration) (err error, stuck bool) {
	ended := make(chan error, 1)
	go func() { ended <- group.Wait() }() // ends with the group
	select {
	case err := <-ended:
		return err, false
	case <-ctx.Done():
	}
	late := time.NewTimer(limit)
	defer late.Stop()
	select {
	case err := <-ended:
		return err, false
	case <-late.C:
		return nil, true
	}
}

// obey does what comes from outside the API while the agent runs: reloads, dumps, and the order to leave. The agent
// answers its clients while it leaves: whoever asked it to hears when it has.
func (a *Agent) obey(ctx context.Context, cfg *config.Config, cancel context.CancelCauseFunc) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.leave:
			a.leavePools(cfg)
			close(a.left)
			cancel(ErrLeft)
			return nil
		case <-a.opts.Reload:
			if err := a.reload(); err != nil {
				a.log.Error("configuration could not be reloaded", "err", err)
			}
		case <-a.opts.Dump:
			a.telemetry.Dump(a.opts.Out)
		}
	}
}

// Interrupt says why ctx ended, so that the agent knows whether to leave its pools.
type Interrupt struct{ Terminated bool }

func (i *Interrupt) Error() string {
	if i.Terminated {
		return "terminated"
	}
	return "interrupted"
}

// shouldLeave decides whether the agent still has to tell the others that it goes for good.
func (a *Agent) shouldLeave(err error, cfg *config.Config) bool {
	var i *Interrupt
	switch {
	case isClosed(a.left):
		return false
	case errors.As(err, &i) && i.Terminated:
		return cfg.LeaveOnTerminate
	case errors.As(err, &i):
		return !cfg.SkipLeaveOnInterrupt
	}
	return false
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (a *Agent) leavePools(cfg *config.Config) {
	a.log.Info("leaving the pools")
	a.local.Pause()
	late, cancel := context.WithTimeout(context.Background(), cfg.Performance.LeaveDrainTime+5*time.Second)
	defer cancel()
	s := a.Server()
	if s != nil {
		s.Leave()
	}
	if err := a.pools.leave(late); err != nil {
		a.log.Warn("the pools may not know that this agent has left", "err", err)
	}
	if s == nil {
		return
	}
	if err := s.AwaitRemoval(late); err != nil {
		a.log.Warn("this server has left and is still a member of its cluster", "err", err)
	}
}

// Server is the server that runs in this agent, nil on a client agent.
func (a *Agent) Server() *server.Server {
	if h, ok := a.backend.(*hosted); ok {
		return h.Server
	}
	return nil
}

// announce says in the log when everything can be asked of the servers, and lets the catalog hear at once what
// had to wait for that.
func (a *Agent) announce(ctx context.Context) error {
	what, leader := a.backend.ready(ctx)
	if ctx.Err() == nil {
		a.local.Kick()
		a.log.Info("ready: "+what, "dc", a.config.get().Datacenter, "leader", leader)
	}
	return nil
}

func writePid(path string) error {
	if path == "" {
		return nil
	}
	if err := os.WriteFile(path, fmt.Appendf(nil, "%d\n", os.Getpid()), 0o644); err != nil {
		return fmt.Errorf("pid_file: %w; make its directory writable or leave it out", err)
	}
	return nil
}

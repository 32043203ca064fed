package agent

import (
	"cmp"
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/curia-mesh/curia/agent/config"
	"github.com/curia-mesh/curia/agent/httpapi"
	"github.com/curia-mesh/curia/agent/leaf"
	"github.com/curia-mesh/curia/agent/logging"
	"github.com/curia-mesh/curia/agent/sidecar"
)

func (a *Agent) openLeaves(cfg *config.Config) (err error) {
	o := leaf.Options{
		Caller: a.backend.caller(), Views: a.cache, Datacenter: cfg.Datacenter, Spread: cfg.Connect.TestCALeafRootChangeSpread, Log: logging.Named(a.log, "leaf"),
	}
	if !cfg.Dev && cfg.DataDir != "" {
		o.Dir = filepath.Join(cfg.DataDir, "leaf")
	}
	a.leaves, err = leaf.New(o)
	return err
}

// mesh runs the sidecars of this node, in this process or in one of their own.
type mesh struct {
	manager *sidecar.Manager
	runner  *sidecar.Runner   // nil with a child
	child   *sidecar.Child    // nil with a runner
	before  *sidecar.Snapshot // of the runner
	left    <-chan struct{}   // closed when the agent has left for good
}

// ownDrain is how long connections of sidecars that run in the agent may go on when it ends.
const ownDrain = 5 * time.Second

func (a *Agent) openMesh(cfg *config.Config) error {
	log := logging.Named(a.log, "proxy")
	dir, before := "", (*sidecar.Snapshot)(nil)
	if !cfg.Dev && cfg.DataDir != "" {
		data, err := filepath.Abs(cfg.DataDir) // the process has another working directory
		if err != nil {
			return err
		}
		dir = filepath.Join(data, "proxy")
	}
	if dir != "" && (!cfg.Connect.Enabled || cfg.Connect.Proxy != "process") {
		endProxy(dir) // that an agent has left there with other settings
	}
	if !runsProxies(cfg) {
		return nil
	}
	if dir != "" {
		var err error
		if before, err = sidecar.Load(dir); err != nil {
			log.Warn("what the sidecars knew before cannot be used", "err", err)
		}
	}
	a.mesh = &mesh{before: before, left: a.left, manager: sidecar.NewManager(sidecar.Deps{
		Local: a.local, Node: cfg.NodeName, Bind: sidecarBind(cfg), Log: log,
		Source: func(id string) sidecar.Source {
			token := a.config.agentToken
			if id != "" {
				token = func() string { return a.local.TokenOf(id) }
			}
			return &sidecar.Views{Cache: a.cache, Leaves: a.leaves, Token: token, Node: cfg.NodeName, DC: cfg.Datacenter, Names: strings.ToLower(strings.TrimSuffix(cfg.Domain, "."))}
		},
	}, before)}
	if cfg.Connect.Proxy == "process" && dir != "" && a.opts.Program != "" && runtime.GOOS != "windows" { // which hands no files on
		if sidecar.SocketFits(dir) {
			a.mesh.child = &sidecar.Child{
				Program: a.opts.Program, Args: []string{"connect", "proxy", "-node", "-ready", "-dir=" + dir, "-log-level=" + cfg.LogLevel},
				Dir: dir, Build: a.build.Version + " " + a.build.Revision, Log: log,
			}
			a.mesh.child.Open()
			return nil
		}
		log.Warn("the path of the data directory is too long for a socket in it: the sidecars run in the agent", "path", dir)
	}
	if dir != "" {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	a.cores.Retire() // what goes through sidecars is not counted
	a.mesh.runner = sidecar.NewRunner(sidecar.RunnerOptions{Dir: dir, Drain: ownDrain, Log: log})
	return nil
}

// endProxy ends the process that runs sidecars, if there is one.
func endProxy(dir string) {
	left := &sidecar.Child{Dir: dir}
	left.Open()
	ctx, cancel := context.WithTimeout(context.Background(), endTime)
	defer cancel()
	left.End(ctx)
}

// endTime is how long a process may take to hear that it is to end.
const endTime = 5 * time.Second

// proxy is what the API shows of the mesh; nil when others run the sidecars.
func (a *Agent) proxy() httpapi.Proxy {
	if a.mesh == nil {
		return nil
	}
	return a.mesh
}

// Show implements httpapi.Proxy.
func (m *mesh) Show(ctx context.Context, view string, index uint64, wait time.Duration) (any, uint64, error) {
	shown, index, err := m.show(ctx, view, index, wait)
	if s, ok := shown.(*sidecar.Status); ok {
		if wanted := m.manager.Latest(); wanted != nil {
			s.Wanted = wanted.Version
		}
		s.Synced = s.Wanted == s.Version || !m.manager.Wanted()
		s.Waiting = m.manager.Waiting()
	}
	return shown, index, err
}

func (m *mesh) show(ctx context.Context, view string, index uint64, wait time.Duration) (any, uint64, error) {
	if m.child != nil {
		return m.child.Show(ctx, view, index, wait)
	}
	return m.runner.Show(ctx, view, index, wait)
}

// sidecarBind is where sidecars listen whose registration names no address: everywhere, but for an agent that keeps to
// this machine.
func sidecarBind(cfg *config.Config) string {
	if at, err := netip.ParseAddr(cfg.BindAddr); err == nil && at.IsLoopback() {
		return cfg.BindAddr
	}
	return ""
}

// proxyHost is the address at which this agent reaches the sidecars that it runs, "" when it runs none.
func proxyHost(cfg *config.Config) string {
	if !runsProxies(cfg) {
		return ""
	}
	return cmp.Or(sidecarBind(cfg), "127.0.0.1")
}

// runsProxies reports whether the sidecars of this node are the agent's to run.
func runsProxies(cfg *config.Config) bool { return cfg.Connect.Enabled && cfg.Connect.Proxy != "none" }

// run runs the sidecars until ctx ends. Those in a process of their own go on, unless the agent has left for good.
func (m *mesh) run(ctx context.Context) error {
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return m.manager.Run(ctx) })
	if m.child != nil {
		all.Go(func() error { return m.child.Run(ctx, m.manager) })
		err := all.Wait()
		if isClosed(m.left) {
			late, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
			defer cancel()
			m.child.End(late)
		}
		return err
	}
	if m.before != nil {
		if err := m.runner.Apply(m.before); err != nil {
			return err
		}
	}
	all.Go(func() error { return m.runner.Run(ctx) })
	all.Go(func() error { return m.runner.Follow(ctx, m.manager) })
	return all.Wait()
}

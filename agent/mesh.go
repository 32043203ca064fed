package agent

import (
	"context"
	"net/netip"
	"path/filepath"
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

// mesh runs the sidecars of this node.
type mesh struct {
	manager *sidecar.Manager
	runner  *sidecar.Runner
}

// ownDrain is how long connections of sidecars that run in the agent may go on when it ends.
const ownDrain = 5 * time.Second

func (a *Agent) openMesh(cfg *config.Config) error {
	if !cfg.Connect.Enabled || cfg.Connect.Proxy == "none" {
		return nil
	}
	log := logging.Named(a.log, "proxy")
	a.mesh = &mesh{
		manager: sidecar.NewManager(sidecar.Deps{
			Local: a.local, Node: cfg.NodeName, Bind: sidecarBind(cfg), Log: log,
			Source: func(id string) sidecar.Source {
				token := a.config.agentToken
				if id != "" {
					token = func() string { return a.local.TokenOf(id) }
				}
				return &sidecar.Views{Cache: a.cache, Leaves: a.leaves, Token: token, Node: cfg.NodeName, DC: cfg.Datacenter}
			},
		}, nil),
		runner: sidecar.NewRunner(sidecar.RunnerOptions{Drain: ownDrain, Log: log}),
	}
	return nil
}

// proxy is what the API shows of the mesh; nil when others run the sidecars.
func (a *Agent) proxy() httpapi.Proxy {
	if a.mesh == nil {
		return nil
	}
	return a.mesh
}

// Show implements httpapi.Proxy.
func (m *mesh) Show(ctx context.Context, view string, index uint64, wait time.Duration) (any, uint64, error) {
	shown, index, err := m.runner.Show(ctx, view, index, wait)
	if s, ok := shown.(*sidecar.Status); ok && m.manager.Latest() != nil {
		s.Wanted = m.manager.Latest().Version
		s.Synced = s.Wanted == s.Version
	}
	return shown, index, err
}

// sidecarBind is where sidecars listen whose registration names no address: everywhere, but for an agent that keeps to
// this machine.
func sidecarBind(cfg *config.Config) string {
	if at, err := netip.ParseAddr(cfg.BindAddr); err == nil && at.IsLoopback() {
		return cfg.BindAddr
	}
	return ""
}

func (m *mesh) run(ctx context.Context) error {
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return m.manager.Run(ctx) })
	all.Go(func() error { return m.runner.Run(ctx) })
	all.Go(func() error { return m.runner.Follow(ctx, m.manager) })
	return all.Wait()
}

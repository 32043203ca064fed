package agent

import (
	"path/filepath"

	"github.com/curia-mesh/curia/agent/config"
	"github.com/curia-mesh/curia/agent/leaf"
	"github.com/curia-mesh/curia/agent/logging"
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

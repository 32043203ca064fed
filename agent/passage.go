package agent

import (
	"context"
	"log/slog"
	"time"

	"github.com/curia-mesh/curia/agent/config"
	"github.com/curia-mesh/curia/agent/logging"
	"github.com/curia-mesh/curia/server"
)

// newPassage is the way to the servers of other datacenters through mesh gateways; nil where they are reached directly.
func (a *Agent) newPassage(cfg *config.Config) *server.Passage {
	if !cfg.Connect.EnableMeshGatewayWANFederation {
		return nil
	}
	return server.NewPassage(server.PassageOptions{
		Datacenter: cfg.Datacenter, Primary: cfg.PrimaryDatacenter, TLS: a.peers.Abroad,
		Gateways: withoutProviders(cfg.PrimaryGateways, "WAN", logging.Named(a.log, "wan")),
	})
}

// joinPrimary joins any server of the primary datacenter through its gateways, again and again until one answers. The
// others are known from then on, by their names.
func (p *pools) joinPrimary(ctx context.Context, cfg *config.Config, log *slog.Logger) error {
	if len(cfg.PrimaryGateways) == 0 {
		return nil
	}
	tick := time.NewTicker(max(cfg.PrimaryGatewaysInterval, time.Second))
	defer tick.Stop()
	for try := 1; ; try++ {
		err := p.wan.JoinBeyond("*." + cfg.PrimaryDatacenter)
		if err == nil {
			log.Info("joined the WAN pool through mesh gateways", "primary", cfg.PrimaryDatacenter)
			return nil
		}
		if try == 1 && ctx.Err() == nil {
			log.Warn("no gateway leads to the primary datacenter; trying again until one does", "primary", cfg.PrimaryDatacenter, "every", cfg.PrimaryGatewaysInterval, "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

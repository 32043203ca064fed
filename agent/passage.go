package agent

import (
	"context"
	"log/slog"

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

// joinPrimary joins any server of the primary datacenter through its gateways. The others are known from then on, by their
// names.
func (p *pools) joinPrimary(ctx context.Context, cfg *config.Config, log *slog.Logger) error {
	if len(cfg.PrimaryGateways) == 0 {
		return nil
	}
	log = log.With("primary", cfg.PrimaryDatacenter)
	return until(ctx, log, "no gateway of primary_gateways leads to the primary datacenter: name those of that datacenter", cfg.PrimaryGatewaysInterval, func(int) (done bool, err error) {
		err = p.wan.JoinBeyond("*." + cfg.PrimaryDatacenter)
		if err == nil {
			log.Info("joined the WAN pool through mesh gateways")
		}
		return err == nil, err
	})
}

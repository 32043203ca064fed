package agent

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/curia-mesh/curia/agent/config"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/rpc/gossip"
	"github.com/curia-mesh/curia/server/api"
)

// How often an agent tells the servers where it is in the network.
// Source: https://developer.hashicorp.com/consul/docs/architecture/coordinates
const (
	coordinateInterval = 15 * time.Second // at least
	coordinateRate     = 64               // updates a second that the servers get from all agents, at most
)

// coordinatePeriod is the time between two updates of one agent in a pool of so many nodes.
func coordinatePeriod(nodes int) time.Duration {
	return max(coordinateInterval, time.Duration(nodes)*time.Second/coordinateRate)
}

// place tells the servers where a node is in the network, as gossip estimates it.
type place struct {
	pool          *gossip.Pool
	caller        rpc.Caller
	node, segment string
	token         func() string
	log           *slog.Logger
}

// run sends the coordinate from time to time until ctx ends: agents that started together do not stay together.
func (p *place) run(ctx context.Context) error {
	for sent := false; ; {
		nodes := len(p.pool.Members())
		period := coordinatePeriod(nodes)
		timer := time.NewTimer(period + rand.N(period/8+1))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		c := p.pool.Coordinate()
		if c == nil || nodes < 2 && sent {
			continue // a lone node stays where it is
		}
		req := &api.CoordinateUpdate{Updates: []*catalog.NodeCoordinate{{Node: p.node, Segment: p.segment, Coord: coordinate(c)}}}
		_, _, err := api.CoordinateSet.Call(ctx, p.caller, rpc.Header{Token: p.token()}, req)
		if sent = err == nil; err != nil {
			p.log.Debug("coordinate could not be sent", "err", err)
		}
	}
}

// sendCoordinates tells the servers this node's coordinate until ctx ends.
func (a *Agent) sendCoordinates(ctx context.Context, cfg *config.Config) error {
	if cfg.DisableCoordinates {
		return nil
	}
	p := &place{
		pool: a.pools.lan, caller: a.backend.caller(), node: cfg.NodeName, segment: cfg.Segment, log: a.log,
		token: a.config.agentToken,
	}
	return p.run(ctx)
}

func coordinate(c *gossip.Coordinate) *catalog.Coordinate {
	return &catalog.Coordinate{Vec: c.Vec, Error: c.Error, Adjustment: c.Adjustment, Height: c.Height}
}

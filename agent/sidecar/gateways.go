package sidecar

import (
	"context"

	"github.com/curia-mesh/curia/catalog"
)

// Modes of reaching other datacenters.
// Source: https://developer.hashicorp.com/consul/docs/east-west/mesh-gateway
const (
	modeNone   = "none"   // directly
	modeLocal  = "local"  // through the gateways of one's own datacenter
	modeRemote = "remote" // through those of the other
)

// through is the datacenter whose gateways lead to another one; empty where it is reached directly.
func (c *collector) through(datacenter, mode string) string {
	own := c.source.Datacenter()
	switch {
	case datacenter == "" || datacenter == own:
		return ""
	case mode == modeLocal:
		return own
	case mode == modeRemote:
		return datacenter
	}
	return ""
}

// followGateways learns of the gateways of a datacenter until ctx ends.
func (c *collector) followGateways(ctx context.Context, datacenter string, put func(*Gateways)) {
	known := false
	follow(ctx, c.log, "mesh gateways of "+datacenter, func(ctx context.Context, index uint64) ([]*catalog.Instance, uint64, error) {
		return c.source.Gateways(ctx, datacenter, index)
	}, func(list []*catalog.Instance) {
		known = true
		put(&Gateways{Datacenter: datacenter, Endpoints: c.endpointsOf(list, datacenter)})
	}, func(err error) {
		if !known { // else what is known stands
			put(&Gateways{Datacenter: datacenter, Error: err.Error()})
		}
	})
}

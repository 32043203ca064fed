package server

import (
	"context"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/server/api"
)

// registerKeyring adds the verbs by which an agent that was away gets the present keys of gossip.
func (s *operator) registerKeyring() {
	why := "the certificate says who may have the keys: an agent has them before it has a token"
	addOpen(s.Server, api.KeyringLAN, why, func(context.Context, *api.Nothing) (*api.GossipKeys, error) { return s.gossipKeys(false) })
	addOpen(s.Server, api.KeyringWAN, why, func(context.Context, *api.Nothing) (*api.GossipKeys, error) { return s.gossipKeys(true) })
}

func (s *operator) gossipKeys(wan bool) (*api.GossipKeys, error) {
	if d := s.demands(); !d.Certificates || !d.Servers {
		return nil, catalog.Errorf(catalog.Denied, "gossip keys are given to others only where certificates tell who they are: set tls.internal_rpc.verify_incoming and verify_server_hostname")
	}
	if s.cfg.GossipKeys == nil {
		return &api.GossipKeys{}, nil
	}
	return &api.GossipKeys{Keys: s.cfg.GossipKeys(wan)}, nil
}

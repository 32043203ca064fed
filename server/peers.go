package server

import (
	"context"
	"net"

	"golang.org/x/sync/errgroup"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/handler"
	"github.com/curia-mesh/curia/server/peer"
)

// newPeers is this server's part in its cluster's peerings.
func (s *Server) newPeers() *peer.Peers {
	return peer.New(peer.Config{
		Datacenter: s.cfg.Datacenter, Store: s.store, Write: s.registry.Duties(), Leading: s.host.Leading,
		Sign: func(ctx context.Context, csr string) (*catalog.IssuedCert, error) {
			return s.custody.SignServer(ctx, csr)
		},
		Exports: handler.ExportedTo, Addresses: peeringAddresses, Connect: s.cfg.Connect, Decode: DecodeError, Log: s.cfg.Log,
	})
}

// The port of peers is open to strangers: what one of them may cost is bounded more narrowly than on that of agents.
const (
	peerMessage    = 256 << 10 // bytes of a request
	peerCalls      = 8         // of one connection
	peerConns      = 32        // of one address
	peerHandshakes = 64
)

// openMeeting opens the port of peers.
func (s *Server) openMeeting(listen func(network, address string) (net.Listener, error)) error {
	if s.cfg.Peering == "" {
		return nil
	}
	port, err := listen("tcp", s.cfg.Peering)
	if err != nil {
		return bindError("peering", "ports.grpc_tls", s.cfg.Peering, err)
	}
	answers := rpc.NewServer(rpc.ServerOptions{
		Handler: s.peers.Handle, Streams: s.peers.Carry, Encode: encodeError, Limits: rpc.Limits{MaxMessage: peerMessage}, MaxCalls: peerCalls, MaxStreams: 2,
		MaxHeld: peerConns * peerCalls * peerMessage, Log: s.cfg.Log,
	})
	s.meeting = rpc.NewListener(port, answers, rpc.ListenerOptions{
		TLS: s.peers.TLS, Only: rpc.ProtocolPeer, MaxPerIP: peerConns, MaxHandshakes: peerHandshakes, HandshakeTimeout: s.cfg.HandshakeTimeout, Log: s.cfg.Log,
	})
	s.unmet = port
	return nil
}

func (s *Server) closeMeeting() error {
	if s.unmet == nil {
		return nil
	}
	return s.unmet.Close()
}

// meet serves peers until ctx ends.
func (s *Server) meet(ctx context.Context) error {
	if s.meeting == nil {
		return nil
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.meeting.Run(ctx) })
	group.Go(func() error { return s.peers.Run(ctx) })
	return group.Wait()
}

// registerPeers adds the verbs of peerings that need the other cluster, or secrets.
func (s *operator) registerPeers() {
	needs := func(*api.PeeringWrite) []acl.Need { return []acl.Need{{Resource: acl.Peering, Access: acl.Write}} }
	add(s.Server, api.PeeringGenerate, needs, false, func(ctx context.Context, req *api.PeeringWrite) (*string, error) {
		if err := s.canPeer(); err != nil {
			return nil, err
		}
		return s.peers.Token(ctx, req)
	})
	add(s.Server, api.PeeringEstablish, needs, false, func(ctx context.Context, req *api.PeeringWrite) (*api.Nothing, error) {
		if err := s.canPeer(); err != nil {
			return nil, err
		}
		return &api.Nothing{}, s.peers.Establish(ctx, req)
	})
	add(s.Server, api.PeeringDelete, func(*api.Named) []acl.Need { return []acl.Need{{Resource: acl.Peering, Access: acl.Write}} }, false,
		func(ctx context.Context, req *api.Named) (*api.Nothing, error) {
			return &api.Nothing{}, s.peers.Delete(ctx, req.Name)
		})
}

// canPeer refuses peerings where this server does not meet peers.
func (s *operator) canPeer() error {
	if !s.cfg.Mesh {
		return handler.ErrNoMesh()
	}
	if s.meeting == nil {
		return catalog.Errorf(catalog.Unavailable, "this cluster meets no peers: its servers need a port for them (ports.grpc_tls, 8503 by default) and peering.enabled")
	}
	return nil
}

// peeringAddresses lists where other clusters reach the servers.
func peeringAddresses(tx *state.Txn, w *state.Watch) []string {
	servers, _, _ := state.ServiceInstances(tx, w, catalog.ServersService)
	list := []string{}
	for _, i := range servers {
		if port := i.Service.Meta["grpc_tls_port"]; port != "" {
			list = append(list, net.JoinHostPort(i.Address(), port))
		}
	}
	return list
}

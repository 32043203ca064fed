package server

import (
	"context"
	"io"
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

// newMeeting is this server's part in its cluster's peerings.
func newMeeting(s *Server) *meeting {
	return &meeting{store: s.store, Peers: peer.New(peer.Config{
		Datacenter: s.cfg.Datacenter, Store: s.store, Write: s.registry.Duties(), Leading: s.host.Leading,
		Leader: func() (peer.Way, error) {
			way, err := s.host.Leader()
			if err != nil {
				return nil, err
			}
			return way.(*leader), nil
		},
		Sign: func(ctx context.Context, csr string) (*catalog.IssuedCert, error) {
			return s.custody.SignServer(ctx, csr)
		},
		Exports: handler.ExportedTo, Addresses: handler.PeerPorts, Connect: s.cfg.Connect, Decode: DecodeError, Log: s.cfg.Log,
	})}
}

// The port of peers is open to strangers: what one of them may cost is bounded more narrowly than on that of agents.
const (
	peerMessage    = 256 << 10 // bytes of a request
	peerCalls      = 8         // of one connection
	peerConns      = 32        // of one address
	peerGateway    = 1024      // of one address that is a mesh gateway's: all peers come from there
	peerHandshakes = 64
)

// meeting is where the servers of peers come.
type meeting struct {
	*peer.Peers
	store  *state.Store
	port   net.Listener // nil where nobody may come
	serves *rpc.Listener
}

// open opens the port that the configuration names, if it names one.
func (m *meeting) open(cfg *Config, listen func(network, address string) (net.Listener, error)) (err error) {
	if cfg.Peering == "" {
		return nil
	}
	if m.port, err = listen("tcp", cfg.Peering); err != nil {
		return bindError("peering", "ports.grpc_tls", cfg.Peering, err)
	}
	answers := rpc.NewServer(rpc.ServerOptions{
		Handler: m.Handle, Streams: m.Carry, Encode: encodeError, Limits: rpc.Limits{MaxMessage: peerMessage}, MaxCalls: peerCalls, MaxStreams: 2,
		MaxHeld: peerConns * peerCalls * peerMessage, Log: cfg.Log,
	})
	m.serves = rpc.NewListener(m.port, answers, rpc.ListenerOptions{
		TLS: m.TLS, Only: rpc.ProtocolPeer, MaxPerIP: peerConns, MaxOf: func(ip string) int { return connsOf(m.store.Read(), ip) }, MaxHandshakes: peerHandshakes, HandshakeTimeout: cfg.HandshakeTimeout, Log: cfg.Log,
	})
	return nil
}

// close closes the port where run does not follow.
func (m *meeting) close() error {
	if m.port == nil {
		return nil
	}
	return m.port.Close()
}

// run serves peers until ctx ends.
func (m *meeting) run(ctx context.Context) error {
	if m.port == nil {
		return nil
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return m.serves.Run(ctx) })
	group.Go(func() error { return m.Run(ctx) })
	return group.Wait()
}

// carry answers a stream that came over the network, of what a peer wants of the leader, if a server has opened it.
func (s *Server) carry(ctx context.Context, from rpc.Peer, call *rpc.Call, stream io.ReadWriter) error {
	if call.Method != api.PeerCarry {
		return s.snapshots.serve(ctx, from, call, stream)
	}
	if err := s.demands().Refuse(api.PeerCarryFrom, from); err != nil {
		return catalog.Errorf(catalog.Denied, "rpc: %s is refused: %w", call.Method, err)
	}
	return s.peers.CarryOn(ctx, call, stream)
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
	addLeader(s.Server, api.PeerAccept, "the secret of the peering's token is what lets in", func(ctx context.Context, req *api.PeeringRelayed) (*api.Nothing, error) {
		return &api.Nothing{}, s.peers.Accept(ctx, req)
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
	if s.peers.port == nil {
		return catalog.Errorf(catalog.Unavailable, "this cluster meets no peers: its servers need a port for them (ports.grpc_tls, 8503 by default) and peering.enabled")
	}
	return nil
}

// connsOf is how many connections an address may have to the port of peers.
func connsOf(tx *state.Txn, ip string) int {
	if through, _ := state.PeersThroughGateways(tx, nil); !through {
		return peerConns
	}
	list, _ := state.Gateways(tx, nil, catalog.KindMeshGateway)
	for _, i := range list {
		if i.Service.Address == ip || i.Node.Address == ip {
			return peerGateway
		}
	}
	return peerConns
}

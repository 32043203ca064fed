package server

import (
	"crypto/tls"
	"crypto/x509"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
)

// Security is how the connections between agents are secured. What its methods return may change while the server
// runs, and counts for the connections that follow. None of them blocks; many goroutines call them at once.
type Security interface {
	// Serve is what the server's port serves with, and Dial what others are connected to with.
	Serve() (*tls.Config, error)
	Dial(addr string) (*tls.Config, error)
	// Abroad is what a server of another datacenter is connected to with; without a node, any server there.
	Abroad(datacenter, node string) (*tls.Config, error)
	// PlainIn reports whether others may do without TLS, and PlainOut whether this server does.
	PlainIn() bool
	PlainOut() bool
	// Identify says whose a certificate is that was verified.
	Identify(*x509.Certificate) rpc.Identity
	// Demands are what others have to show.
	Demands() rpc.Demands
}

// dialer makes the server's connections to others.
func (c *Config) dialer() rpc.Dialer {
	if c.Security == nil {
		return rpc.Dialer{Connect: c.Connect}
	}
	return rpc.Dialer{TLS: c.Security.Dial, Plain: c.Security.PlainOut, Connect: c.Connect}
}

// demands are what peers have to show: without TLS nothing.
func (s *Server) demands() rpc.Demands {
	if s.cfg.Security == nil {
		return rpc.Demands{Datacenter: s.cfg.Datacenter}
	}
	return s.cfg.Security.Demands()
}

// listenerOptions are those of the server's one port.
func (s *Server) listenerOptions() rpc.ListenerOptions {
	o := rpc.ListenerOptions{MaxPerIP: s.cfg.ConnsPerClient, HandshakeTimeout: s.cfg.HandshakeTimeout, Admit: s.admit, Log: s.cfg.Log}
	if security := s.cfg.Security; security != nil {
		o.Gossip = s.cfg.Gossip
		o.TLS, o.Plain, o.Identify = security.Serve, security.PlainIn, security.Identify
		if s.cfg.introduces() {
			o.Intro = rpc.NewServer(rpc.ServerOptions{
				Handler: s.serve, Encode: encodeError, Limits: rpc.Limits{MaxMessage: introMessage}, MaxCalls: introCalls, MaxHeld: introCalls * introMessage, Log: s.cfg.Log,
			})
		}
	}
	return o
}

// admit refuses Raft and gossip to all but servers. What calls need is known when they come: see serve.
func (s *Server) admit(peer rpc.Peer) error {
	switch peer.Protocol {
	case rpc.ProtocolRaft:
		if err := s.demands().Refuse(rpc.FromServers, peer); err != nil {
			return catalog.Errorf(catalog.Denied, "raft is refused: %w", err)
		}
	case rpc.ProtocolGossip, rpc.ProtocolPackets:
		if peer.Identity.Role != rpc.RoleServer {
			return catalog.Errorf(catalog.Denied, "gossip is refused: it is for the servers of datacenters: %v", peer)
		}
	}
	return nil
}

// Recheck ends the connections, in both directions, to peers whose certificates are not believed any more, and returns
// how many.
func (s *Server) Recheck(believed func(shown []*x509.Certificate) error) int {
	return s.listener.Recheck(believed) + s.pool.Recheck(believed) + s.abroad.pool.Recheck(believed) + s.raft.port.secured.Recheck(believed) + s.cfg.Passage.recheck(believed)
}

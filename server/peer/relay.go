package peer

import (
	"context"
	"crypto/x509"
	"io"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
)

// A peer that comes through a mesh gateway comes to any of the servers. One that does not lead passes on what the peer wants to
// the leader, with the certificates that the peer has proven to have; the leader judges them as if they were shown to itself.

// relayed is what goes to the leader beside the request of a peer.
func relayed(from rpc.Peer) *api.PeeringRelayed {
	r := &api.PeeringRelayed{From: from.Addr.String()}
	for _, c := range from.Shown {
		r.Shown = append(r.Shown, c.Raw)
	}
	return r
}

// maxShown bounds the certificates that a peer shows.
const maxShown = 16

// caller is the peer that another server tells of.
func caller(r *api.PeeringRelayed) (rpc.Peer, error) {
	if len(r.Shown) > maxShown {
		return rpc.Peer{}, catalog.Errorf(catalog.Invalid, "peering: %d certificates were shown, at most %d are looked at", len(r.Shown), maxShown)
	}
	from := rpc.Peer{Addr: named(r.From), Protocol: rpc.ProtocolPeer}
	for _, der := range r.Shown {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return rpc.Peer{}, catalog.Errorf(catalog.Invalid, "peering: a certificate of the peer's: %w", err)
		}
		from.Shown = append(from.Shown, c)
	}
	return from, nil
}

// named is an address in words.
type named string

// Network implements net.Addr.
func (named) Network() string { return "tcp" }

// String implements net.Addr.
func (n named) String() string { return string(n) }

// pass has the leader answer who shows a token.
func (p *Peers) pass(ctx context.Context, from rpc.Peer, req *api.PeeringExchange) error {
	way, err := p.cfg.Leader()
	if err != nil {
		return err
	}
	r := relayed(from)
	r.Exchange = req
	_, _, err = api.PeerAccept.Call(ctx, way, rpc.Header{}, r)
	return err
}

// passStream has the leader carry a stream.
func (p *Peers) passStream(ctx context.Context, from rpc.Peer, req *api.PeeringOpen, near io.ReadWriter) error {
	way, err := p.cfg.Leader()
	if err != nil {
		return err
	}
	r := relayed(from)
	r.Open = req
	far, err := way.Open(ctx, &rpc.Call{Method: api.PeerCarry, Body: r})
	if err != nil {
		return err
	}
	defer far.Close()
	go func() { // ends with the stream of the peer, which ends when this returns
		if _, err := io.Copy(far, near); err != nil {
			far.Close()
			return
		}
		far.CloseWrite()
	}()
	_, err = io.Copy(near, far)
	return err
}

// Accept answers for the leader what another server passes on of a peer that shows a token.
func (p *Peers) Accept(ctx context.Context, r *api.PeeringRelayed) error {
	from, err := caller(r)
	if err != nil {
		return err
	}
	if r.Exchange == nil {
		return catalog.Errorf(catalog.Invalid, "peering: %s came without an exchange", api.PeerAccept.Name)
	}
	return p.accept(ctx, from, r.Exchange)
}

// CarryOn carries for the leader a stream that another server passes on.
func (p *Peers) CarryOn(ctx context.Context, call *rpc.Call, stream io.ReadWriter) error {
	if !p.cfg.Leading() {
		return catalog.Errorf(catalog.NoLeader, "this server does not lead")
	}
	r := &api.PeeringRelayed{}
	if err := decode(call, r); err != nil {
		return err
	}
	from, err := caller(r)
	if err != nil {
		return err
	}
	if r.Open == nil {
		return catalog.Errorf(catalog.Invalid, "peering: %s came without what opens it", api.PeerCarry)
	}
	return p.stream(ctx, from, r.Open, stream)
}

package peer

import (
	"context"
	"crypto/x509"
	"errors"
	"io"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
)

// stream carries a stream that another cluster has opened, if it is the one of the peering.
func (p *Peers) stream(ctx context.Context, from rpc.Peer, req *api.PeeringOpen, stream io.ReadWriter) error {
	row := state.PeeringByID(p.cfg.Store.Read(), nil, req.PeerID)
	if row == nil {
		return catalog.Errorf(catalog.NotFound, "the peering was deleted in datacenter %s: make a token there to peer again", p.cfg.Datacenter)
	}
	if row.Secrets == nil || !catalog.SamePeeringSecret(req.Stream, row.Secrets.Accepted) {
		return catalog.Errorf(catalog.Denied, "the secret of the stream is not that of the peering: it was established anew, or one of the clusters was restored from an old snapshot; make a token in datacenter %s and establish again", p.cfg.Datacenter)
	}
	to, err := parseServerName(row.PeerServerName)
	if err != nil {
		return err
	}
	trust, err := connect.NewTrust(to.TrustDomain, row.PeerCAPems...)
	if err != nil {
		return err
	}
	if err := isServer(trust, to, from.Shown, x509.ExtKeyUsageClientAuth); err != nil {
		return catalog.Errorf(catalog.Denied, "the certificate is not one of a server of the peering's other cluster: %w", err)
	}
	if row.Ended() {
		return catalog.Errorf(catalog.NotFound, "the peering was deleted in datacenter %s: make a token there to peer again", p.cfg.Datacenter)
	}
	l := p.line(row.ID)
	if l == nil {
		return catalog.Errorf(catalog.NoLeader, "this server does not lead")
	}
	return l.take(ctx, row, stream)
}

// take carries a stream that was opened by the other cluster until it ends, or this server does not lead any more.
func (l *line) take(ctx context.Context, row *catalog.Peering, stream io.ReadWriter) error {
	l.mu.Lock()
	reign := l.ctx
	l.mu.Unlock()
	if reign == nil {
		return catalog.Errorf(catalog.NoLeader, "this server does not lead yet")
	}
	here, stop := l.while(reign, row)
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(here, func() { cancel(context.Cause(here)) })()
	_, err := l.carry(ctx, row, stream, func() {})
	switch cause := context.Cause(ctx); {
	case errors.Is(err, errGone):
		l.end(reign, err)
		return nil
	case errors.Is(cause, errReplaced), errors.Is(cause, errDeleted), errors.Is(cause, errAltered):
		return nil
	case reign.Err() != nil:
		return catalog.Errorf(catalog.NoLeader, "this server does not lead any more")
	}
	l.lost(reign, err)
	return err
}

// Handle answers a call on the port of peers.
func (p *Peers) Handle(ctx context.Context, from rpc.Peer, call *rpc.Call) (rpc.Answer, error) {
	if call.Method != api.PeerExchange.Name {
		return rpc.Answer{}, unknown(call.Method)
	}
	req := &api.PeeringExchange{}
	if err := decode(call, req); err != nil {
		return rpc.Answer{}, err
	}
	accept := p.accept
	if !p.cfg.Leading() {
		accept = p.pass
	}
	if err := accept(ctx, from, req); err != nil {
		return rpc.Answer{}, err
	}
	return rpc.Answer{Body: rpc.NewBody(&api.Nothing{}, nil)}, nil
}

// Carry answers a call on the port of peers with a stream.
func (p *Peers) Carry(ctx context.Context, from rpc.Peer, call *rpc.Call, stream io.ReadWriter) error {
	if call.Method != api.PeerStream.Name {
		return unknown(call.Method)
	}
	req := &api.PeeringOpen{}
	if err := decode(call, req); err != nil {
		return err
	}
	if !p.cfg.Leading() {
		return p.passStream(ctx, from, req, stream)
	}
	return p.stream(ctx, from, req, stream)
}

func decode(call *rpc.Call, req any) error {
	raw, ok := call.Body.(rpc.Raw)
	if !ok {
		return catalog.Errorf(catalog.Internal, "peering: %s came with a %T", call.Method, call.Body)
	}
	if err := rpc.Decode(raw, req); err != nil {
		return catalog.Errorf(catalog.Invalid, "peering: %s: %w", call.Method, err)
	}
	return nil
}

func unknown(method string) error {
	return catalog.Errorf(catalog.Invalid, "peering: this port does not answer %.80q", method)
}

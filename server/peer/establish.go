package peer

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/rpc/pause"
	"github.com/curia-mesh/curia/server/api"
)

const (
	// exchangeTimeout bounds the whole exchange of a token, and exchangeRetry is the pause between two rounds over the
	// servers: a cluster may be without a leader for a moment.
	exchangeTimeout = 10 * time.Second
	exchangeRetry   = 500 * time.Millisecond
	// dialTimeout bounds a connection, with its handshake.
	dialTimeout = 4 * time.Second
)

// Establish peers with the cluster that made a token: it exchanges the token's secret for another one, which only the two
// clusters know, and dials from then on.
func (p *Peers) Establish(ctx context.Context, req *api.PeeringWrite) error {
	token := req.Token
	to, err := p.check(req.Name, &token)
	if err != nil {
		return err
	}
	now, err := p.identity.await(ctx)
	if err != nil {
		return err
	}
	stream := rand.Text()
	asked := &api.PeeringExchange{
		PeerID: token.PeerID, Establishment: token.EstablishmentSecret, Stream: stream, ServerName: serverName(now.id), Roots: now.roots,
	}
	withdraw, err := p.announce(ctx, req, &token)
	if err != nil {
		return err
	}
	if err := p.exchange(ctx, now, to, &token, asked); err != nil {
		withdraw()
		return err
	}
	err = p.begin(ctx, req.Name, func(row *catalog.Peering) error {
		if err := replaceable(row, token.PeerID); err != nil {
			return err
		}
		meta := row.Meta
		if req.Meta != nil {
			meta = req.Meta
		}
		*row = catalog.Peering{
			ID: row.ID, Name: row.Name, Meta: meta, State: catalog.PeeringEstablishing, PeerID: token.PeerID, PeerCAPems: token.CA,
			PeerServerName: token.ServerName, PeerServerAddresses: reachable(&token), Manual: len(token.ManualServerAddresses) > 0, Remote: token.Remote,
			Secrets: &catalog.PeeringSecrets{Stream: catalog.NewSecret(stream)},
		}
		return nil
	})
	if err != nil {
		withdraw()
		return fmt.Errorf("the token was used, but the peering could not be stored here, so make another token in the cluster of datacenter %s: %w", to.Datacenter, err)
	}
	return nil
}

// check refuses a token that cannot be used here, before anybody is asked.
func (p *Peers) check(name string, token *catalog.PeeringToken) (connect.ID, error) {
	if err := (&catalog.Peering{Name: name}).Validate(); err != nil {
		return connect.ID{}, err
	}
	to, err := parseServerName(token.ServerName)
	if err != nil {
		return to, catalog.Errorf(catalog.Invalid, "the peering token is damaged: %w", err)
	}
	if len(token.CA) == 0 {
		return to, catalog.Errorf(catalog.Invalid, "the peering token has no certificate of a CA: make another in the cluster of datacenter %s, once its mesh has a CA", to.Datacenter)
	}
	if _, err := connect.NewTrust(to.TrustDomain, token.CA...); err != nil {
		return to, catalog.Errorf(catalog.Invalid, "the peering token is damaged: %w", err)
	}
	if err := checkAddresses(reachable(token)); err != nil {
		return to, catalog.Errorf(catalog.Invalid, "the peering token is damaged: %w", err)
	}
	tx := p.cfg.Store.Read()
	if own := state.PeeringByID(tx, nil, token.PeerID); own != nil {
		return to, catalog.Errorf(catalog.Invalid, "the token was made by this cluster, for peering %q: give it to the other one", own.Name)
	}
	row, _ := state.Peering(tx, nil, name)
	if row == nil {
		return to, nil
	}
	return to, replaceable(row, token.PeerID)
}

// replaceable refuses to put another cluster in the place of one that is there.
func replaceable(row *catalog.Peering, peerID string) error {
	switch {
	case row.Secrets == nil, row.State == catalog.PeeringTerminated, row.Dials() && row.PeerID == peerID && row.State != catalog.PeeringDeleting:
		return nil
	case row.State == catalog.PeeringDeleting:
		return catalog.Errorf(catalog.Conflict, "peering %q is being deleted: try again in a moment", row.Name)
	case row.Dials():
		return catalog.Errorf(catalog.Conflict, "peering %q is with another cluster: delete it first, or use another name", row.Name)
	}
	return catalog.Errorf(catalog.Conflict, "a token was made here under the name %q: delete that peering first, or use another name", row.Name)
}

// exchange shows the token to one of the servers after the other, until one has said yes or no. It may be done twice with
// the same secrets. Its errors do not hold those of the connections, which would be taken for ones to the own leader.
func (p *Peers) exchange(ctx context.Context, now *shown, to connect.ID, token *catalog.PeeringToken, asked *api.PeeringExchange) error {
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	reach, err := p.reach(now, to, token.CA, reachable(token))
	if err != nil {
		return err
	}
	defer reach.Close()
	var failed error
	for {
		before := failed
		failed = nil
		strangers, late := 0, 0
		for _, way := range reach.ways {
			_, _, err := api.PeerExchange.Call(ctx, way, rpc.Header{}, asked)
			switch code := catalog.CodeOf(err); {
			case err == nil:
				return nil
			case final(code):
				return catalog.Errorf(catalog.Invalid, "the cluster of datacenter %s refuses the token: %w", to.Datacenter, err)
			}
			failed = errors.Join(failed, err)
			switch wrong := (*connect.OutOfTime)(nil); {
			case errors.Is(err, errStranger):
				strangers++
			case errors.As(err, &wrong):
				late++
			}
		}
		if strangers == len(reach.ways) {
			return catalog.Errorf(catalog.Invalid, "the token and the servers that it names do not belong together: the token was changed, or the CA of datacenter %s was; make another there: %v", to.Datacenter, failed)
		}
		if late == len(reach.ways) {
			return catalog.Errorf(catalog.Unavailable, "the servers of datacenter %s cannot prove who they are at this time; the token can still be used then: %v", to.Datacenter, failed)
		}
		if ctx.Err() != nil && before != nil {
			failed = before // what was cut short says less
		}
		if !pause.For(ctx, exchangeRetry) {
			return catalog.Errorf(catalog.Unavailable, "no leader of the cluster of datacenter %s could be asked within %v at %s, which the token names; the token can still be used, once it is reached there: %v",
				to.Datacenter, exchangeTimeout, strings.Join(reachable(token), ", "), failed)
		}
	}
}

// final reports whether an answer is one, and not for lack of a leader.
func final(code catalog.Code) bool {
	return code == catalog.Denied || code == catalog.NotFound || code == catalog.Invalid || code == catalog.Conflict
}

// pool makes connections to the servers of one other cluster, through gateways if there are any.
func (p *Peers) pool(now *shown, to connect.ID, roots []string, through rpc.Gateways) (*rpc.Pool, error) {
	config, err := now.dialing(to, roots)
	if err != nil {
		return nil, err
	}
	return rpc.NewPool(rpc.PoolOptions{
		Protocol: rpc.ProtocolPeer, Bulk: rpc.ProtocolPeer, Decode: p.cfg.Decode,
		Dialer: rpc.Dialer{Timeout: dialTimeout, Connect: p.cfg.Connect, Through: through, TLS: func(string) (*tls.Config, error) { return config, nil }},
	}), nil
}

// accept answers who shows a token of this cluster's.
func (p *Peers) accept(ctx context.Context, from rpc.Peer, req *api.PeeringExchange) error {
	id, err := parseServerName(req.ServerName)
	if err != nil {
		return err
	}
	if len(req.Stream) < 20 || len(req.Stream) > 256 || len(req.Roots) > maxRoots {
		return catalog.Errorf(catalog.Invalid, "peering: the secret of the stream or the list of roots has no fit length")
	}
	trust, err := connect.NewTrust(id.TrustDomain, req.Roots...)
	if err != nil {
		return err
	}
	if err := isServer(trust, id, from.Shown, x509.ExtKeyUsageClientAuth); err != nil {
		return err
	}
	row := state.PeeringByID(p.cfg.Store.Read(), nil, req.PeerID)
	if row == nil {
		return catalog.Errorf(catalog.NotFound, "the peering of the token was deleted: make another token in datacenter %s with peering generate-token", p.cfg.Datacenter)
	}
	err = p.change(ctx, req.PeerID, func(row *catalog.Peering) error { return p.spend(row, id, req) })
	if err == nil {
		p.logOf(row).Info("a cluster has used the token of a peering", "datacenter", id.Datacenter, "peer", from.Addr)
	}
	return err
}

// maxRoots bounds the authorities of another cluster.
const maxRoots = 16

// spend takes a token of the peering for used, if it may be.
func (p *Peers) spend(row *catalog.Peering, id connect.ID, req *api.PeeringExchange) error {
	again := "make another in datacenter " + p.cfg.Datacenter + " with peering generate-token"
	s := catalog.PeeringSecrets{}
	if row.Secrets != nil {
		s = *row.Secrets
	}
	switch {
	case row.Ended():
		return catalog.Errorf(catalog.NotFound, "the peering of the token was deleted: %s", again)
	case catalog.SamePeeringSecret(req.Establishment, s.Spent) && catalog.SamePeeringSecret(req.Stream, s.Accepted):
		return nil
	case catalog.SamePeeringSecret(req.Establishment, s.Spent):
		return catalog.Errorf(catalog.Denied, "the token was used before, and can be used once: %s", again)
	case !catalog.SamePeeringSecret(req.Establishment, s.Establishment):
		return catalog.Errorf(catalog.Denied, "the token's secret is not that of the last token of the peering: a later token has replaced it, or it was changed; %s", again)
	case time.Now().After(s.Expires):
		return catalog.Errorf(catalog.Denied, "the token has expired on %s: %s", s.Expires.Format(time.RFC3339), again)
	}
	row.Secrets = &catalog.PeeringSecrets{Spent: s.Establishment, Accepted: catalog.HashPeeringSecret(req.Stream)}
	row.PeerServerName, row.PeerCAPems = req.ServerName, req.Roots
	row.Remote = catalog.PeeringRemote{Partition: catalog.DefaultTenancy, Datacenter: id.Datacenter}
	return nil
}

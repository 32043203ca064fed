package peer

import (
	"context"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/server/api"
)

// withdrawTimeout bounds how long a failed attempt to peer waits until nothing is left of it.
const withdrawTimeout = 5 * time.Second

// announce tells the mesh gateways of this cluster where a token leads before it is used, if it is used through them: until there
// is a peering they know nothing of it. withdraw takes that back.
func (p *Peers) announce(ctx context.Context, req *api.PeeringWrite, token *catalog.PeeringToken) (withdraw func(), err error) {
	if !p.outward() {
		return func() {}, nil
	}
	to := &catalog.PeerServers{ServerName: token.ServerName, Addresses: reachable(token)}
	row := catalog.Peering{Name: req.Name}
	err = p.begin(ctx, req.Name, func(next *catalog.Peering) error {
		if err := replaceable(next, token.PeerID); err != nil {
			return err
		}
		if next.State == "" {
			next.State, next.Meta = catalog.PeeringEstablishing, req.Meta
		}
		next.Exchange, row.ID = to, next.ID
		return nil
	})
	return func() { p.withdraw(context.WithoutCancel(ctx), &row, to) }, err
}

// withdraw forgets where a token leads that could not be used, and the peering that was to come of it.
func (p *Peers) withdraw(ctx context.Context, of *catalog.Peering, to *catalog.PeerServers) {
	ctx, cancel := context.WithTimeout(ctx, withdrawTimeout)
	defer cancel()
	at := time.Now().UTC()
	err := p.change(ctx, of.ID, func(row *catalog.Peering) error {
		if !row.Exchange.Same(to) {
			return nil // somebody else is at it
		}
		if row.Exchange = nil; row.Secrets == nil && row.State == catalog.PeeringEstablishing {
			row.State, row.DeletedAt = catalog.PeeringDeleting, &at
		}
		return nil
	})
	if err != nil && catalog.CodeOf(err) != catalog.NotFound {
		p.logOf(of).Warn("a peering that did not come about is left over: delete it", "err", err)
		return
	}
	for ctx.Err() == nil { // so that who tries again at once finds nothing in the way
		gone, w := p.cfg.Store.Abandoned(), &state.Watch{}
		if row := state.PeeringByID(p.cfg.Store.Read(), w, of.ID); row == nil || row.State != catalog.PeeringDeleting {
			return
		}
		_ = w.Wait(ctx, gone) // ctx is asked above
	}
}

package server

import (
	"context"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/ca"
)

// promote makes this datacenter the primary. The one before is asked to give its place first: from then on it writes
// nothing itself, so that what is copied after that is everything. When it breaks off half way it can be repeated.
func (s *operator) promote(ctx context.Context, req *api.Promotion) (*catalog.Primacy, error) {
	was := s.host.Primary()
	if was == s.cfg.Datacenter {
		return nil, catalog.Errorf(catalog.Invalid, "datacenter %s is the primary already", was)
	}
	if loss := s.replica.Refusal(); loss != nil {
		return nil, catalog.Errorf(catalog.Conflict, "this datacenter is no copy of %s: %w", was, loss)
	}
	if ruler := state.Ruler(s.store.Read(), nil); req.Force && (ruler == nil || ruler.Datacenter != was) {
		return nil, catalog.Errorf(catalog.Conflict, "this datacenter never was a copy of %s: to let it be a primary with what it has, set primary_datacenter to %s on its servers", was, s.cfg.Datacenter)
	}
	heir := &ca.Heir{}
	if s.cfg.Mesh {
		var err error
		if heir, err = s.custody.Heir(ctx); err != nil {
			return nil, err
		}
	}
	next := state.Primacy(s.store.Read(), nil).Next(s.cfg.Datacenter, was)
	if !req.Force {
		yielded, err := s.succeed(ctx, was, heir.Root)
		if err != nil {
			return nil, err
		}
		next, heir.Cross = yielded.Primacy, yielded.Cross
	}
	take := func() error {
		return s.setPrimacy(ctx, &next)
	}
	var err error
	if s.cfg.Mesh {
		err = s.custody.Ascend(ctx, heir, take)
	} else {
		err = take()
	}
	if err != nil {
		return nil, err
	}
	s.log.Warn("this datacenter is the primary now: set primary_datacenter on the servers of all datacenters", "primary", next.Datacenter, "was", was, "epoch", next.Epoch, "force", req.Force)
	return &next, nil
}

// succeed has the primary give its place to this datacenter, and copies what it has.
func (s *operator) succeed(ctx context.Context, was, root string) (*api.Yielded, error) {
	failed := func(err error, what string) error {
		return catalog.Errorf(catalog.CodeOf(err), "%s: %w", what, err)
	}
	err := s.replica.Ready(ctx)
	if err == nil {
		err = s.replica.Sync(ctx)
	}
	if err != nil {
		return nil, failed(err, "the copy of the primary datacenter "+was+" could not be completed, and nothing has changed; where that is lost for good, promote with -force")
	}
	yielded, _, err := api.FederationYield.Call(ctx, s.registry, rpc.Header{Datacenter: was, Token: s.cfg.ReplicationToken()}, &api.Yield{To: s.cfg.Datacenter, Root: root})
	if err != nil {
		return nil, failed(err, "the primary datacenter "+was+" has not given its place")
	}
	if err := s.replica.Sync(ctx); err != nil {
		return nil, failed(err, "the datacenter "+was+" has given its place, and its last changes could not be copied: promote again")
	}
	return yielded, nil
}

// yield gives the place of the primary to another datacenter. To be asked again by the same one changes nothing.
func (s *operator) yield(ctx context.Context, req *api.Yield) (*api.Yielded, error) {
	out := &api.Yielded{}
	present := state.Primacy(s.store.Read(), nil)
	switch primary := s.host.Primary(); {
	case req.To == "" || req.To == s.cfg.Datacenter:
		return nil, catalog.Errorf(catalog.Conflict, "a datacenter that is called %q as this one wants to be the primary: give one of them another name", req.To)
	case primary != s.cfg.Datacenter && primary != req.To:
		return nil, catalog.Errorf(catalog.Conflict, "datacenter %s is no primary: that is %s", s.cfg.Datacenter, primary)
	case s.cfg.ACL.Enabled && s.cfg.ReplicationToken() == "":
		return nil, catalog.Errorf(catalog.Conflict, "the servers of %s have no acl.tokens.replication, without which they can copy nothing from %s: set it first", s.cfg.Datacenter, req.To)
	}
	if s.cfg.Mesh {
		var err error
		if out.Cross, err = s.custody.Vouch(ctx, req.Root); err != nil {
			return nil, err
		}
	}
	if present != nil && present.Datacenter == req.To {
		out.Primacy = *present
		return out, nil
	}
	out.Primacy = present.Next(req.To, s.cfg.Datacenter)
	if err := s.setPrimacy(ctx, &out.Primacy); err != nil {
		return nil, err
	}
	s.log.Warn("another datacenter is the primary now: set primary_datacenter on the servers here", "primary", req.To, "epoch", out.Primacy.Epoch)
	return out, nil
}

// setPrimacy stores who is the primary while nothing is written that is the primary's to write.
func (s *operator) setPrimacy(ctx context.Context, p *catalog.Primacy) error {
	return s.registry.Reign(func() error {
		done, _, err := api.PrimacyApply.Call(ctx, s.registry.Duties(), rpc.Header{}, p)
		if err == nil && !*done {
			err = catalog.Errorf(catalog.Conflict, "another datacenter was promoted at the same time: look at the federation's status, and repeat if that is still wanted")
		}
		return err
	})
}

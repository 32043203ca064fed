package server

import (
	"context"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/replica"
)

// rulerNeeds is what it takes to make another datacenter the primary, or to copy everything that one has.
func rulerNeeds[Req any](*Req) []acl.Need {
	return []acl.Need{{Resource: acl.Operator, Access: acl.Write}, {Resource: acl.ACL, Access: acl.Write}}
}

// registerFederation adds the verbs of datacenters and their primary.
func (s *operator) registerFederation() {
	read := func(*api.Nothing) []acl.Need { return []acl.Need{{Resource: acl.Operator, Access: acl.Read}} }
	add(s.Server, api.FederationStatus, read, false, func(context.Context, *api.Nothing) (*api.FederationView, error) {
		return s.federationView(), nil
	})
	add(s.Server, api.FederationAccept, rulerNeeds[api.Nothing], false, func(ctx context.Context, _ *api.Nothing) (*api.FederationLoss, error) {
		loss, err := s.replica.Accept(ctx)
		if err != nil {
			return nil, err
		}
		return &api.FederationLoss{Dropped: loss.Drop, Replaced: loss.Over}, nil
	})
	add(s.Server, api.FederationPromote, rulerNeeds[api.Promotion], false, s.promote)
	add(s.Server, api.FederationYield, rulerNeeds[api.Yield], false, s.yield)
	add(s.Server, api.KVCopyStatus, read, false, func(context.Context, *api.Nothing) (*api.KVCopyView, error) {
		list, running := s.keys.Progress()
		return &api.KVCopyView{Datacenter: s.cfg.Datacenter, Copying: running, Copies: list}, nil
	})
}

// KeyCopies counts the copies of other datacenters' keys that this server makes, and those that are not as there.
func (s *Server) KeyCopies() (copies, behind int) {
	list, _ := s.keys.Progress()
	for _, p := range list {
		if p.LastError.After(p.LastSuccess) || p.LastSuccess.IsZero() {
			behind++
		}
	}
	return len(list), behind
}

func (s *operator) federationView() *api.FederationView {
	out := &api.FederationView{Datacenter: s.cfg.Datacenter, Primary: s.host.Primary(), Configured: s.host.primary}
	if p := state.Primacy(s.store.Read(), nil); p != nil {
		out.Epoch = p.Epoch
	}
	if !s.replica.Follows() {
		return out
	}
	out.Copies, out.Copying = s.replica.Progress()
	if loss := s.replica.Refusal(); loss != nil {
		out.Refusal, out.Loss = loss.Error(), api.FederationLoss{Dropped: loss.Drop, Replaced: loss.Over}
	}
	return out
}

// replicationStatus is how far the copy of the ACLs of the primary has come.
// Source: https://developer.hashicorp.com/consul/api-docs/acl#check-acl-replication
func replicationStatus(r *replica.Replica, primary string) *api.ACLReplication {
	if !r.Follows() {
		return &api.ACLReplication{}
	}
	list, running := r.Progress()
	out := &api.ACLReplication{Enabled: true, Running: running, SourceDatacenter: primary, ReplicationType: "policies"}
	for _, p := range list {
		switch p.Kind {
		case catalog.ReplicaPolicies:
			out.ReplicatedIndex = p.Index
		case catalog.ReplicaRoles:
			out.ReplicatedRoleIndex = p.Index
		case catalog.ReplicaTokens:
			out.ReplicationType, out.ReplicatedTokenIndex = "tokens", p.Index
		default:
			continue
		}
		if out.LastSuccess.IsZero() || p.LastSuccess.Before(out.LastSuccess) {
			out.LastSuccess = p.LastSuccess // of the one that is behind the others
		}
		if p.LastError.After(out.LastError) {
			out.LastError, out.LastErrorMessage = p.LastError, p.LastErrorMessage
		}
	}
	return out
}

// toPrimary is how the primary datacenter is asked.
func (h *host) toPrimary() rpc.Header { return h.toOther(h.Primary()) }

// toOther is how a datacenter is asked for what is copied from it.
func (h *host) toOther(datacenter string) rpc.Header {
	return rpc.Header{Datacenter: datacenter, Token: h.server.cfg.ReplicationToken()}
}

// elsewhere resolves a secret in the primary datacenter.
func (h *host) elsewhere(ctx context.Context, secret string) (acl.Authorizer, error) {
	az, err := h.server.cfg.ACL.Elsewhere(ctx, secret)
	if err != nil && secret == "" && catalog.CodeOf(err) != catalog.Denied {
		return h.tokens.anonymous(), nil // whoever shows nothing may do what everybody may
	}
	return az, err
}

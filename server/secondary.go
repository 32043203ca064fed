package server

import (
	"context"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/server/api"
)

// replicationToken is the token by which the primary datacenter is asked.
func (s *Server) replicationToken() string {
	if s.cfg.ReplicationToken == nil {
		return ""
	}
	return s.cfg.ReplicationToken()
}

// replicationStatus is how far the copy of the primary's ACLs has come.
// Source: https://developer.hashicorp.com/consul/api-docs/acl#check-acl-replication
func (s *Server) replicationStatus() *api.ACLReplication {
	if !s.replica.Follows() {
		return &api.ACLReplication{}
	}
	list, running := s.replica.Progress()
	out := &api.ACLReplication{Enabled: true, Running: running, SourceDatacenter: s.host.Primary(), ReplicationType: "policies"}
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

// elsewhere resolves a secret in the primary datacenter.
func (h *host) elsewhere(ctx context.Context, secret string) (acl.Authorizer, error) {
	az, err := h.server.cfg.ACL.Elsewhere(ctx, secret)
	if err != nil && secret == "" && catalog.CodeOf(err) != catalog.Denied {
		return h.tokens.anonymous(), nil // whoever shows nothing may do what everybody may
	}
	return az, err
}

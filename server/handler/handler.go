// Package handler answers the verbs: one file for each resource, free functions over the store.
package handler

import (
	"log/slog"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
)

// Deps is what the answers need beside the store.
type Deps struct {
	Datacenter string
	// Primary is the datacenter that rules over ACLs and config entries at the moment; nil is this one.
	Primary func() string
	// Store is for what leaders look at before they propose.
	Store *state.Store
	// Sessions keeps the time of sessions on the leader.
	Sessions SessionTimers
	// MinSessionTTL is the shortest TTL of a session; 0 is catalog.MinSessionTTL.
	MinSessionTTL time.Duration
	// Remote is a way to a server of another datacenter, an error with code no_path when there is none.
	Remote func(datacenter string) (rpc.Caller, error)
	// Abroad lists the other datacenters, nearest first.
	Abroad func() []string
	// Log may be nil.
	Log *slog.Logger
	// PeerStream is what the leader knows of the connection with a peer, by the id of the peering. May be nil.
	PeerStream func(id string) catalog.PeeringStream
	// DenyIntentions denies the connections that no intention speaks of.
	DenyIntentions bool
	// KeyListPolicy is whether it takes the access list to read the keys under a prefix.
	KeyListPolicy bool
	// Mesh is whether there is a mesh, with its certificate authority.
	Mesh bool
	// ACL is the ACL system.
	ACL ACL
}

// SessionTimers ends sessions that are not renewed in time. It keeps time on the leader only.
type SessionTimers interface {
	// Start begins or renews the time of a session. One whose time is over, and that is being ended, it leaves:
	// then it returns a channel that is closed when the session has ended, or goes on.
	Start(s *catalog.Session) (ending <-chan struct{})
	// Stop forgets a session.
	Stop(id string)
}

// Register adds every verb that the store answers.
func Register(r *endpoint.Registry, d Deps) {
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	registerConnect(r, d)
	registerCatalog(r, d)
	registerGateways(r)
	registerHealth(r, d)
	registerKV(r, d)
	registerSessions(r, d)
	registerTxn(r, d)
	registerIntentions(r, d)
	registerCoordinates(r)
	registerQueries(r, d)
	registerPeerings(r, d)
	registerExports(r, d)
	registerJoins(r, d)
	registerInternal(r)
	registerMeshGateways(r)
	registerVirtual(r)
	registerFederation(r)
	registerExternal(r)
	registerOperator(r, d)
	registerConfig(r, d)
	registerChain(r, d)
	registerTopology(r, d)
	registerACL(r, d)
	registerReplica(r, d)
	registerKVCopy(r, d)
}

var nothing = &api.Nothing{}

// visible keeps the elements of a list that the token may see.
func visible[T any](allowed func(az acl.Authorizer, element T) bool) func(acl.Authorizer, *[]T) (*[]T, bool) {
	return func(az acl.Authorizer, rep *[]T) (*[]T, bool) {
		if az.View() == "" {
			return rep, false
		}
		kept := []T{}
		for _, element := range *rep {
			if allowed(az, element) {
				kept = append(kept, element)
			}
		}
		return &kept, len(kept) < len(*rep)
	}
}

func seesNode(az acl.Authorizer, name string) bool {
	return az.Allows(acl.Need{Resource: acl.Node, Name: name, Access: acl.Read})
}

func seesService(az acl.Authorizer, name string) bool {
	return az.Allows(acl.Need{Resource: acl.Service, Name: name, Access: acl.Read})
}

// nodeWith selects nodes by metadata; nil selects all.
func nodeWith(pairs map[string]string) func(*catalog.Node) bool {
	if len(pairs) == 0 {
		return nil
	}
	return func(n *catalog.Node) bool { return catalog.HasPairs(n.Meta, pairs) }
}

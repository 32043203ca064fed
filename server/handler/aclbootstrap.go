package handler

import (
	"context"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
)

func registerBootstrap(r *endpoint.Registry, d Deps) {
	endpoint.AddCommand(r, endpoint.Command[api.Bootstrap, catalog.Token]{
		Method: api.ACLBootstrap, Open: "nobody has a token yet, and it works once", Primary: ruled[api.Bootstrap],
		Prepare: func(_ context.Context, given *api.Bootstrap) (*api.Bootstrap, error) {
			if err := d.ACL.on(); err != nil {
				return nil, err
			}
			req := &api.Bootstrap{Reset: d.ACL.Reset(), Token: catalog.Token{
				SecretID: given.Secret, Description: "Bootstrap Token (Global Management)", Policies: []catalog.Link{{ID: catalog.GlobalManagementID}},
			}}
			if err := newToken(&req.Token, time.Now()); err != nil {
				return nil, err
			}
			if err := req.Token.Validate(); err != nil {
				return nil, err
			}
			return req, mayBootstrap(d.Store.Read(), req.Reset)
		},
		Apply: func(tx *state.Txn, req *api.Bootstrap) (*catalog.Token, error) {
			if err := mayBootstrap(tx, req.Reset); err != nil {
				return nil, err
			}
			t, err := state.PutToken(tx, &req.Token)
			if err != nil {
				return nil, err
			}
			state.SetACLBootstrapped(tx)
			return t, nil
		},
		Applied: func(req *api.Bootstrap, _ *catalog.Token) { d.ACL.Bootstrapped(req.Reset) },
	})
	endpoint.AddCommand(r, endpoint.Command[api.ACLSeed, api.Nothing]{
		Method: api.ACLSeedApply, Needs: aclWrite[api.ACLSeed],
		Apply: func(tx *state.Txn, req *api.ACLSeed) (*api.Nothing, error) {
			for _, p := range req.Policies {
				if _, err := state.PutPolicy(tx, p); err != nil {
					return nil, err
				}
			}
			for _, t := range req.Tokens {
				if state.TokenOf(tx, nil, t.SecretID) != nil {
					continue
				}
				if _, err := state.PutToken(tx, t); err != nil {
					return nil, err
				}
			}
			if req.Management && state.ACLBootstrapped(tx) == 0 {
				state.SetACLBootstrapped(tx)
			}
			return nothing, nil
		},
	})
}

// mayBootstrap refuses a second first management token, unless the operator takes the first one back.
func mayBootstrap(tx *state.Txn, reset uint64) error {
	if at := state.ACLBootstrapped(tx); at != 0 && at != reset {
		return catalog.Errorf(catalog.Denied, "ACL bootstrap no longer allowed (reset index: %d): who has lost the last management token writes %d into the file acl-bootstrap-reset in the leader's data directory, and bootstraps again", at, at)
	}
	return nil
}

// Seed returns what is missing of what is built in and of the configuration's management token, nil when nothing is.
// The token is new: its accessor is random.
// In a secondary datacenter only the policies are its own to make.
func Seed(tx *state.Txn, management catalog.SecretID, secondary bool, now time.Time) *api.ACLSeed {
	seed := &api.ACLSeed{}
	for _, p := range catalog.BuiltinPolicies() {
		if old, _ := state.Policy(tx, nil, p.ID); old == nil || string(old.Hash) != string(p.Hash) {
			seed.Policies = append(seed.Policies, p)
		}
	}
	if !secondary && state.TokenOf(tx, nil, catalog.AnonymousSecret) == nil {
		seed.Tokens = append(seed.Tokens, &catalog.Token{
			AccessorID: catalog.AnonymousAccessor, SecretID: catalog.AnonymousSecret, Description: "Anonymous Token", CreateTime: now.UTC(),
		})
	}
	if !secondary && management != "" && state.TokenOf(tx, nil, management) == nil {
		t := &catalog.Token{
			AccessorID: newUUID(), SecretID: management, Description: "Initial Management Token",
			Policies: []catalog.Link{{ID: catalog.GlobalManagementID}}, CreateTime: now.UTC(),
		}
		seed.Tokens, seed.Management = append(seed.Tokens, t), true
	}
	if len(seed.Policies)+len(seed.Tokens) == 0 {
		return nil
	}
	return seed
}

package handler

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"slices"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/filter"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
)

func registerSessions(r *endpoint.Registry, d Deps) {
	endpoint.AddCommand(r, endpoint.Command[api.SessionWrite, string]{
		Method: api.SessionApply,
		Needs: func(req *api.SessionWrite) []acl.Need {
			if req.Op == api.SessionCreate { // its id is yet to be made
				return need(acl.Session, req.Session.Node, acl.Write)
			}
			return sessionNeeds(d, req.Session.ID)
		},
		Prepare: func(_ context.Context, req *api.SessionWrite) (*api.SessionWrite, error) {
			return prepareSession(d, req)
		},
		Apply: func(tx *state.Txn, req *api.SessionWrite) (*string, error) {
			if req.Op == api.SessionDestroy {
				state.SessionDestroy(tx, req.Session.ID)
				return &req.Session.ID, nil
			}
			s, err := state.SessionCreate(tx, &req.Session)
			if err != nil {
				return nil, err
			}
			return &s.ID, nil
		},
		Applied: func(req *api.SessionWrite, _ *string) {
			if req.Op == api.SessionDestroy {
				d.Sessions.Stop(req.Session.ID)
			} else {
				d.Sessions.Start(&req.Session)
			}
		},
	})
	endpoint.AddAction(r, endpoint.Action[api.SessionQuery, []*catalog.Session]{
		Method: api.SessionRenew,
		Needs: func(q *api.SessionQuery) []acl.Need {
			return sessionNeeds(d, q.ID)
		},
		Do: func(ctx context.Context, _ rpc.Header, q *api.SessionQuery) (*[]*catalog.Session, rpc.Meta, error) {
			for {
				s, index := state.Session(d.Store.Read(), nil, q.ID)
				if s == nil {
					return &[]*catalog.Session{}, rpc.Meta{Index: index, KnownLeader: true}, nil
				}
				ending := d.Sessions.Start(s)
				if ending == nil {
					return &[]*catalog.Session{s}, rpc.Meta{Index: index, KnownLeader: true}, nil
				}
				select {
				case <-ending:
				case <-ctx.Done():
					return nil, rpc.Meta{}, catalog.Errorf(catalog.Unavailable, "the caller stopped waiting for the renewal of session %s: %w", q.ID, ctx.Err())
				}
			}
		},
	})
	registerSessionReads(r)
}

func registerSessionReads(r *endpoint.Registry) {
	seen := visible(func(az acl.Authorizer, s *catalog.Session) bool {
		return az.Allows(acl.Need{Resource: acl.Session, Name: s.Node, Access: acl.Read})
	})
	type list = []*catalog.Session
	endpoint.AddQuery(r, endpoint.Query[api.SessionQuery, list]{
		Method:  api.SessionRead,
		Visible: seen,
		Read: func(tx *state.Txn, w *state.Watch, q *api.SessionQuery) (*list, uint64, error) {
			s, index := state.Session(tx, w, q.ID)
			if s == nil {
				return &list{}, index, nil
			}
			return &list{s}, index, nil
		},
	})
	endpoint.AddQuery(r, endpoint.Query[api.SessionQuery, list]{
		Method:  api.SessionList,
		Visible: seen,
		Filter:  filter.List[*catalog.Session],
		Read: func(tx *state.Txn, w *state.Watch, _ *api.SessionQuery) (*list, uint64, error) {
			found, index := state.Sessions(tx, w)
			return &found, index, nil
		},
	})
	endpoint.AddQuery(r, endpoint.Query[api.SessionQuery, list]{
		Method:  api.SessionNode,
		Visible: seen,
		Filter:  filter.List[*catalog.Session],
		Read: func(tx *state.Txn, w *state.Watch, q *api.SessionQuery) (*list, uint64, error) {
			found, index := state.NodeSessions(tx, w, q.Node)
			return &found, index, nil
		},
	})
}

func prepareSession(d Deps, given *api.SessionWrite) (*api.SessionWrite, error) {
	req := *given
	switch req.Op {
	case api.SessionDestroy:
		if req.Session.ID == "" {
			return nil, catalog.Errorf(catalog.Invalid, "missing session id")
		}
	case api.SessionCreate:
		s := &req.Session
		s.NodeChecks = slices.Clone(s.NodeChecks)
		s.Normalize()
		if err := s.Validate(d.MinSessionTTL); err != nil {
			return nil, err
		}
		s.ID = newUUID()
	default:
		return nil, catalog.Errorf(catalog.Invalid, "unknown session operation %q", req.Op)
	}
	return &req, nil
}

// newUUID returns a random UUID (RFC 9562 version 4).
func newUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

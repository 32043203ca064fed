package server

import (
	"context"
	"strconv"

	"github.com/hashicorp/raft"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
	"github.com/curia-mesh/curia/server/fsm"
)

// operator answers what Raft and gossip know rather than the store.
type operator struct{ *Server }

// registerOwn adds the verbs that Raft and gossip answer rather than the store.
func (s *operator) registerOwn() {
	needs := func(access acl.Access) func(*api.Nothing) []acl.Need {
		return func(*api.Nothing) []acl.Need { return []acl.Need{{Resource: acl.Operator, Access: access}} }
	}
	open := "servers and clients ask it before they have a token, and it tells addresses only"
	addOpen(s.Server, api.StatusLeader, open, func(context.Context, *api.Nothing) (*string, error) {
		addr := s.LeaderAddr()
		return &addr, nil
	})
	addOpen(s.Server, api.StatusStanding, "servers ask it before there is a cluster", func(ctx context.Context, q *api.StandingQuery) (*api.Standing, error) {
		stands := s.founder.stand(q)
		stands.Ended = q.Ended != "" && s.succession.agrees(ctx, raft.ServerID(q.Ended))
		return stands, nil
	})
	addLeader(s.Server, api.StatusCommitted, "servers ask it before they know the tokens", func(ctx context.Context, _ *api.Nothing) (*uint64, error) {
		index := s.fsm.Shown()
		if err := s.host.Confirm(ctx); err != nil {
			return nil, err // another one leads, and may have acknowledged more
		}
		return &index, nil
	})
	addOpen(s.Server, api.StatusPeers, open, func(context.Context, *api.Nothing) (*[]string, error) {
		servers, _, err := s.raftServers()
		if err != nil {
			return nil, err
		}
		peers := []string{}
		for _, m := range servers {
			peers = append(peers, string(m.Address))
		}
		return &peers, nil
	})
	addOpen(s.Server, api.Datacenters, "the names of datacenters are no secret", func(context.Context, *api.Nothing) (*[]string, error) {
		all := append([]string{s.cfg.Datacenter}, s.abroad.nearest()...)
		return &all, nil
	})
	addOpen(s.Server, api.CoordinateDatacenters, "how far the servers of datacenters are apart is no secret", func(context.Context, *api.Nothing) (*[]api.DatacenterCoordinates, error) {
		all := s.abroad.coordinates()
		return &all, nil
	})
	eventNeeds := func(e *catalog.Event) []acl.Need {
		return []acl.Need{{Resource: acl.Event, Name: e.Name, Access: acl.Write}}
	}
	add(s.Server, api.EventFire, eventNeeds, true, func(_ context.Context, e *catalog.Event) (*api.Nothing, error) {
		return &api.Nothing{}, s.cfg.Fire(e)
	})
	endpoint.AddAction(s.registry, endpoint.Action[api.Nothing, api.RaftConfiguration]{
		Method: api.RaftConfigurationRead, Needs: needs(acl.Read), Stale: true,
		Do: func(context.Context, rpc.Header, *api.Nothing) (*api.RaftConfiguration, rpc.Meta, error) {
			rep, err := s.raftConfiguration()
			return rep, rpc.Meta{KnownLeader: s.LeaderAddr() != ""}, err
		},
	})
	endpoint.AddAction(s.registry, endpoint.Action[api.Nothing, api.StateDigest]{
		Method: api.StateDigestRead, Needs: needs(acl.Read), Stale: true,
		Do: func(context.Context, rpc.Header, *api.Nothing) (*api.StateDigest, rpc.Meta, error) {
			rep, err := s.digest()
			return rep, rpc.Meta{KnownLeader: s.LeaderAddr() != ""}, err
		},
	})
	add(s.Server, api.AutopilotHealth, needs(acl.Read), false, func(context.Context, *api.Nothing) (*api.ClusterHealth, error) {
		return s.health()
	})
	peerNeeds := func(*api.RaftPeer) []acl.Need { return []acl.Need{{Resource: acl.Operator, Access: acl.Write}} }
	add(s.Server, api.RaftRemovePeer, peerNeeds, false, func(_ context.Context, p *api.RaftPeer) (*api.Nothing, error) {
		return &api.Nothing{}, s.removePeer(p)
	})
	add(s.Server, api.RaftTransferLeader, peerNeeds, false, func(_ context.Context, p *api.RaftPeer) (*bool, error) {
		done := true
		return &done, s.transferLeader(p)
	})
}

// add registers an action that needs nothing of the header.
func add[Req, Rep any](s *Server, m rpc.Method[Req, Rep], needs func(*Req) []acl.Need, anywhere bool, do func(context.Context, *Req) (*Rep, error)) {
	endpoint.AddAction(s.registry, endpoint.Action[Req, Rep]{Method: m, Needs: needs, Anywhere: anywhere, Do: plainly(s, do)})
}

// addOpen registers an action of any server that needs nothing of the token, and says why.
func addOpen[Req, Rep any](s *Server, m rpc.Method[Req, Rep], why string, do func(context.Context, *Req) (*Rep, error)) {
	endpoint.AddAction(s.registry, endpoint.Action[Req, Rep]{Method: m, Open: why, Anywhere: true, Do: plainly(s, do)})
}

// addLeader registers an action of the leader that needs nothing of the token, and says why.
func addLeader[Req, Rep any](s *Server, m rpc.Method[Req, Rep], why string, do func(context.Context, *Req) (*Rep, error)) {
	endpoint.AddAction(s.registry, endpoint.Action[Req, Rep]{Method: m, Open: why, Do: plainly(s, do)})
}

func plainly[Req, Rep any](s *Server, do func(context.Context, *Req) (*Rep, error)) func(context.Context, rpc.Header, *Req) (*Rep, rpc.Meta, error) {
	return func(ctx context.Context, _ rpc.Header, req *Req) (*Rep, rpc.Meta, error) {
		rep, err := do(ctx, req)
		return rep, rpc.Meta{KnownLeader: s.LeaderAddr() != ""}, err
	}
}

// digest says what this server holds.
func (s *operator) digest() (*api.StateDigest, error) {
	tx, index := s.fsm.Version()
	sum, err := fsm.Digest(tx)
	if err != nil {
		return nil, err
	}
	return &api.StateDigest{Node: s.cfg.NodeName, Index: index, Digest: sum}, nil
}

func (s *operator) raftServers() ([]raft.Server, uint64, error) {
	future := s.raft.GetConfiguration()
	if err := future.Error(); err != nil {
		return nil, 0, raftError(err)
	}
	return future.Configuration().Servers, future.Index(), nil
}

func (s *operator) raftConfiguration() (*api.RaftConfiguration, error) {
	servers, index, err := s.raftServers()
	if err != nil {
		return nil, err
	}
	known := s.roster.byID()
	rep := &api.RaftConfiguration{Index: index}
	_, leader := s.raft.LeaderWithID()
	for _, m := range servers {
		name := known[string(m.ID)].Name
		if name == "" {
			name = "(unknown)"
		}
		rep.Servers = append(rep.Servers, &api.RaftServer{
			ID: string(m.ID), Node: name, Address: string(m.Address), Leader: m.ID == leader,
			ProtocolVersion: strconv.Itoa(int(raft.ProtocolVersionMax)), Voter: m.Suffrage == raft.Voter, LastIndex: s.lastIndex(m.ID),
		})
	}
	return rep, nil
}

// lastIndex is that of a server's log, as far as this server knows it.
func (s *operator) lastIndex(id raft.ServerID) uint64 {
	if members := s.leadership.members.Load(); members != nil && string(id) != s.cfg.NodeID {
		return members.lastIndex(id)
	}
	return s.raft.LastIndex()
}

func (s *operator) findPeer(p *api.RaftPeer) (raft.Server, error) {
	servers, _, err := s.raftServers()
	if err != nil {
		return raft.Server{}, err
	}
	for _, m := range servers {
		if p.ID != "" && string(m.ID) == p.ID || p.ID == "" && string(m.Address) == p.Address {
			return m, nil
		}
	}
	return raft.Server{}, catalog.Errorf(catalog.Internal, "no server %q in the Raft configuration; see operator raft list-peers", p.ID+p.Address)
}

func (s *operator) removePeer(p *api.RaftPeer) error {
	m, err := s.findPeer(p)
	if err != nil {
		return err
	}
	if string(m.ID) == s.cfg.NodeID {
		return catalog.Errorf(catalog.Invalid, "server %s leads and cannot remove itself: transfer the leadership first", m.ID)
	}
	s.log.Warn("removing raft peer", "id", m.ID, "address", m.Address)
	return raftError(s.raft.RemoveServer(m.ID, 0, 0).Error())
}

func (s *operator) transferLeader(p *api.RaftPeer) error {
	if p.ID == "" {
		return leadershipError(s.succession.transfer())
	}
	m, err := s.findPeer(p)
	if err != nil {
		return err
	}
	return leadershipError(s.raft.transfer(func() raft.Future { return s.raft.LeadershipTransferToServer(m.ID, m.Address) }).Error())
}

func leadershipError(err error) error {
	if err == nil {
		return nil
	}
	return catalog.Errorf(catalog.Internal, "leadership could not be transferred: %w", err)
}

// health is the leader's view of the servers.
func (s *operator) health() (*api.ClusterHealth, error) {
	members := s.leadership.members.Load()
	if members == nil {
		return nil, catalog.Errorf(catalog.NoLeader, "no cluster leader: this server has lost the leadership")
	}
	return members.report(), nil
}

// version is the part of a build tag before the revision.
func version(build string) string {
	for i := range len(build) {
		if build[i] == ':' {
			return build[:i]
		}
	}
	return build
}

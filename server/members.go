package server

import (
	"context"
	"maps"
	"strconv"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/rpc/gossip"
	"github.com/curia-mesh/curia/server/api"
)

// Outputs of the health check that gossip gives.
const (
	aliveOutput  = "Agent alive and reachable"
	failedOutput = "Agent not live or unreachable"
)

// reconcile brings the catalog in line with the members of the LAN pool: those alive are there and
// healthy, those failed are critical, those that left are gone.
func (s *Server) reconcile(ctx context.Context) {
	members := s.cfg.Members()
	known := make(map[string]bool, len(members))
	for _, m := range members {
		known[m.Name] = true
		if err := s.reconcileMember(ctx, m); err != nil {
			s.log.Warn("member could not be brought into the catalog", "node", m.Name, "err", err)
		}
	}
	s.reconcileGone(ctx, known)
}

func (s *Server) reconcileMember(ctx context.Context, m gossip.Member) error {
	switch m.Status {
	case gossip.StatusAlive:
		return s.memberAlive(ctx, m)
	case gossip.StatusFailed:
		return s.memberFailed(ctx, m)
	case gossip.StatusLeft:
		return s.memberLeft(ctx, m.Name)
	}
	return nil
}

func (s *Server) memberAlive(ctx context.Context, m gossip.Member) error {
	tx := s.store.Read()
	node := state.Node(tx, nil, m.Name)
	check := state.Check(tx, nil, m.Name, catalog.SerfHealth)
	service := serverService(m)
	same := node != nil && node.ID == m.Tags["id"] && node.Address == m.Addr.String() && check != nil && check.Status == catalog.Passing
	if same && service != nil {
		i := state.Instance(tx, nil, m.Name, service.ID)
		same = i != nil && i.Service.Same(service)
	}
	if same {
		return nil
	}
	req := &api.RegisterRequest{
		ID: m.Tags["id"], Node: m.Name, Address: m.Addr.String(), Service: service,
		Checks: []*catalog.Check{serfHealth(m.Name, catalog.Passing, aliveOutput)},
	}
	if node != nil { // the agent itself says these
		req.TaggedAddresses, req.NodeMeta, req.Locality = maps.Clone(node.TaggedAddresses), node.Meta, node.Locality
		if node.Address != req.Address {
			req.TaggedAddresses = nil
		}
	}
	s.log.Info("member joined, marking health alive", "node", m.Name)
	_, _, err := api.Register.Call(ctx, s.registry, rpc.Header{}, req)
	return err
}

func serfHealth(node string, status catalog.Status, output string) *catalog.Check {
	return &catalog.Check{Node: node, CheckID: catalog.SerfHealth, Name: catalog.SerfHealthName, Status: status, Output: output}
}

// serverService is the entry of a server under the name of all servers, nil for client agents.
func serverService(m gossip.Member) *catalog.Service {
	if m.Tags["role"] != catalog.ServersService {
		return nil
	}
	port, _ := strconv.Atoi(m.Tags["port"])
	_, nonVoter := m.Tags["nonvoter"]
	_, replica := m.Tags["read_replica"]
	s := &catalog.Service{
		ID: catalog.ServersService, Service: catalog.ServersService, Port: port,
		Meta: map[string]string{
			"non_voter":             strconv.FormatBool(nonVoter || replica),
			"read_replica":          strconv.FormatBool(replica),
			"raft_version":          m.Tags["raft_vsn"],
			"serf_protocol_current": strconv.Itoa(int(m.ProtocolCur)),
			"serf_protocol_min":     strconv.Itoa(int(m.ProtocolMin)),
			"serf_protocol_max":     strconv.Itoa(int(m.ProtocolMax)),
			"version":               version(m.Tags["build"]),
			"grpc_port":             m.Tags["grpc_port"],
			"grpc_tls_port":         m.Tags["grpc_tls_port"],
		},
	}
	s.Normalize()
	return s
}

func (s *Server) memberFailed(ctx context.Context, m gossip.Member) error {
	check := state.Check(s.store.Read(), nil, m.Name, catalog.SerfHealth)
	if check == nil || check.Status == catalog.Critical {
		return nil
	}
	s.log.Warn("member failed, marking health critical", "node", m.Name)
	_, _, err := api.Register.Call(ctx, s.registry, rpc.Header{}, &api.RegisterRequest{
		Node: m.Name, SkipNodeUpdate: true, Checks: []*catalog.Check{serfHealth(m.Name, catalog.Critical, failedOutput)},
	})
	return err
}

func (s *Server) memberLeft(ctx context.Context, name string) error {
	if name == s.cfg.NodeName || state.Node(s.store.Read(), nil, name) == nil {
		return nil
	}
	s.log.Info("member left, deregistering", "node", name)
	_, _, err := api.Deregister.Call(ctx, s.registry, rpc.Header{}, &api.DeregisterRequest{Node: name})
	return err
}

// reconcileGone deregisters the nodes that gossip had made and does not know any more.
func (s *Server) reconcileGone(ctx context.Context, known map[string]bool) {
	all, _ := state.StateChecks(s.store.Read(), nil, catalog.Any, nil)
	for _, c := range all {
		if c.CheckID != catalog.SerfHealth || known[c.Node] {
			continue
		}
		if err := s.memberLeft(ctx, c.Node); err != nil {
			s.log.Warn("node that no member stands for could not be deregistered", "node", c.Node, "err", err)
		}
	}
}

package server

import (
	"context"
	"maps"
	"strconv"
	"strings"
	"time"

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

// reconciler brings the catalog in line with the members of the LAN pool, during one term of a leader.
type reconciler struct {
	*Server
	begun  time.Time
	seen   map[string]bool   // by folded name: who was a member in this term
	warned map[string]string // by node: what is wrong with it and was told
	halted bool              // too many nodes have failed to remove any
}

func newReconciler(s *Server) *reconciler {
	return &reconciler{Server: s, begun: time.Now(), seen: map[string]bool{}, warned: map[string]string{}}
}

// goneGrace is how long a node that is in the catalog, and was no member yet in the leader's term, may take
// to appear: when servers start, they do not know all members at once.
const goneGrace = 2 * time.Minute

// reconcile makes the members that are alive healthy, those that failed critical, and removes those that
// left.
func (r *reconciler) reconcile(ctx context.Context) {
	members := r.cfg.Members()
	known := make(map[string]bool, len(members))
	for _, m := range members {
		name := strings.ToLower(m.Name) // the catalog takes names that differ in case for one
		known[name], r.seen[name] = true, true
		r.told(ctx, m.Name, r.reconcileMember(ctx, m))
	}
	r.reconcileGone(ctx, known)
}

// reconcileSelf brings this server's own entry in line.
func (r *reconciler) reconcileSelf(ctx context.Context) {
	for _, m := range r.cfg.Members() {
		if m.Name == r.cfg.NodeName {
			r.told(ctx, m.Name, r.reconcileMember(ctx, m))
		}
	}
}

// told logs what is wrong with a member when it is news.
func (r *reconciler) told(ctx context.Context, name string, err error) {
	switch {
	case err == nil:
		delete(r.warned, name)
	case ctx.Err() == nil && r.warned[name] != err.Error():
		r.warned[name] = err.Error()
		r.log.Warn("member could not be brought into the catalog; it is tried again", "node", name, "err", err)
	}
}

func (r *reconciler) reconcileMember(ctx context.Context, m gossip.Member) error {
	switch m.Status {
	case gossip.StatusAlive:
		return r.memberAlive(ctx, m)
	case gossip.StatusFailed:
		return r.memberFailed(ctx, m)
	case gossip.StatusLeft:
		return r.memberLeft(ctx, m.Name)
	}
	return nil
}

func (r *reconciler) memberAlive(ctx context.Context, m gossip.Member) error {
	tx := r.store.Read()
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
	if node != nil && node.ID != "" && !strings.EqualFold(node.ID, m.Tags["id"]) {
		// Such as after the restore of another machine's backup. Gossip has one member of a name: whoever had
		// it in the catalog is gone, and the name is free once that is known there.
		if _, err := r.markCritical(ctx, m.Name); err != nil {
			return err
		}
	}
	req := &api.RegisterRequest{
		ID: m.Tags["id"], Node: m.Name, Address: m.Addr.String(), Service: service, KeepNode: true,
		Checks: []*catalog.Check{serfHealth(m.Name, catalog.Passing, aliveOutput)},
	}
	if node != nil { // the agent itself says these
		req.TaggedAddresses, req.NodeMeta, req.Locality = maps.Clone(node.TaggedAddresses), node.Meta, node.Locality
		if node.Address != req.Address {
			req.TaggedAddresses = nil
		}
	}
	_, _, err := api.Register.Call(ctx, r.registry.Duties(), rpc.Header{}, req)
	if err == nil {
		r.log.Info("member alive, its health is passing", "node", m.Name, "address", req.Address)
	}
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

// markCritical reports whether the node was not critical before.
func (r *reconciler) markCritical(ctx context.Context, name string) (bool, error) {
	check := state.Check(r.store.Read(), nil, name, catalog.SerfHealth)
	if check == nil || check.Status == catalog.Critical {
		return false, nil
	}
	_, _, err := api.Register.Call(ctx, r.registry.Duties(), rpc.Header{}, &api.RegisterRequest{
		Node: name, SkipNodeUpdate: true, Checks: []*catalog.Check{serfHealth(name, catalog.Critical, failedOutput)},
	})
	return err == nil, err
}

func (r *reconciler) memberFailed(ctx context.Context, m gossip.Member) error {
	failed, err := r.markCritical(ctx, m.Name)
	if failed {
		r.log.Warn("member failed, its health is critical", "node", m.Name)
	}
	return err
}

func (r *reconciler) memberLeft(ctx context.Context, name string) error {
	if strings.EqualFold(name, r.cfg.NodeName) || state.Node(r.store.Read(), nil, name) == nil {
		return nil
	}
	_, _, err := api.Deregister.Call(ctx, r.registry.Duties(), rpc.Header{}, &api.DeregisterRequest{Node: name})
	if err == nil {
		r.log.Info("member left, its node is deregistered", "node", name)
	}
	return err
}

// reconcileGone deregisters the nodes that gossip had made and does not know any more: it forgets those that
// have failed for long. When most have failed it is the network rather than they, and nobody is removed.
func (r *reconciler) reconcileGone(ctx context.Context, known map[string]bool) {
	all, _ := state.StateChecks(r.store.Read(), nil, catalog.Any, nil)
	early := time.Since(r.begun) < goneGrace
	nodes, failed := 0, 0
	var gone []string
	for _, c := range all {
		name := strings.ToLower(c.Node)
		if c.CheckID != catalog.SerfHealth {
			continue
		}
		nodes++
		if c.Status != catalog.Passing || !known[name] {
			failed++
		}
		if !known[name] && (r.seen[name] || !early) {
			gone = append(gone, c.Node)
		}
	}
	if r.halt(len(gone), failed, nodes) {
		return
	}
	for _, node := range gone {
		err := r.memberLeft(ctx, node)
		if err == nil {
			delete(r.seen, strings.ToLower(node))
		}
		r.told(ctx, node, err)
	}
}

// halt reports whether too many nodes have failed to remove those that are gone, and says so once.
func (r *reconciler) halt(gone, failed, nodes int) bool {
	halted := gone > 0 && r.cfg.ReapMaxFailed > 0 && failed*100 > r.cfg.ReapMaxFailed*nodes
	switch {
	case halted && !r.halted:
		r.log.Error("so many nodes have failed that none is removed from the catalog: mend the network, or remove them with /v1/catalog/deregister, or raise reap_max_failed",
			"gone", gone, "failed", failed, "nodes", nodes, "reap_max_failed", r.cfg.ReapMaxFailed)
	case !halted && r.halted:
		r.log.Info("enough nodes are healthy again: those that are gone are removed from the catalog", "gone", gone)
	}
	r.halted = halted
	return halted
}

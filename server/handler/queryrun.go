package handler

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
)

func registerQueryRuns(r *endpoint.Registry, d Deps) {
	endpoint.AddQuery(r, endpoint.Query[api.QueryRun, api.QueryResult]{
		Method:   api.QueryExecute,
		Check:    checkRun,
		Unshared: func(*api.QueryRun) bool { return true }, // its order is another each time
		As:       runsAs,
		Read: func(tx *state.Txn, w *state.Watch, run *api.QueryRun) (*api.QueryResult, uint64, error) {
			q, index, err := renderQuery(tx, w, run)
			if err != nil || q == nil {
				return &api.QueryResult{Nodes: []*catalog.Instance{}}, index, err
			}
			rep, health := runQuery(tx, w, d.Datacenter, q, run)
			return rep, max(index, health), nil
		},
		Visible: visibleResult,
	})
	endpoint.AddQuery(r, endpoint.Query[api.QueryRemote, api.QueryResult]{
		Method:   api.QueryAbroad,
		Check:    func(req *api.QueryRemote) error { return req.Query.Validate() },
		Unshared: func(*api.QueryRemote) bool { return true },
		Read: func(tx *state.Txn, w *state.Watch, req *api.QueryRemote) (*api.QueryResult, uint64, error) {
			rep, index := runQuery(tx, w, d.Datacenter, &req.Query, &api.QueryRun{Limit: req.Limit})
			return rep, index, nil
		},
		Visible: visibleResult,
	})
	endpoint.AddAction(r, endpoint.Action[api.QueryRun, api.QueryResult]{
		Method:   api.QueryFailover,
		Open:     "whoever it asks decides what the token may see",
		Anywhere: true,
		Do: func(ctx context.Context, h rpc.Header, run *api.QueryRun) (*api.QueryResult, rpc.Meta, error) {
			return failover(ctx, r, d, h, run)
		},
	})
}

func checkRun(run *api.QueryRun) error {
	switch {
	case run.Name == "":
		return catalog.Errorf(catalog.Invalid, "missing name or id of a prepared query")
	case run.Limit < 0:
		return catalog.Errorf(catalog.Invalid, "limit %d is below zero", run.Limit)
	}
	return nil
}

// runsAs is the token that a query is run with, empty for that of whoever runs it.
func runsAs(tx *state.Txn, run *api.QueryRun) string {
	if q, _ := state.FindQuery(tx, nil, run.Name); q != nil {
		return q.Token
	}
	return ""
}

// renderQuery returns the query that answers for a name as it is run for it, nil when there is none.
func renderQuery(tx *state.Txn, w *state.Watch, run *api.QueryRun) (*catalog.PreparedQuery, uint64, error) {
	q, index := state.FindQuery(tx, w, run.Name)
	if q == nil {
		return nil, index, nil
	}
	rendered, err := q.Render(run.Name, "")
	if err != nil {
		return nil, index, catalog.Errorf(catalog.Invalid, "prepared query %s for %q: %w", q.ID, run.Name, err)
	}
	if run.Connect && !rendered.Service.Connect {
		changed := *rendered
		changed.Service.Connect = true
		rendered = &changed
	}
	return rendered, index, nil
}

// runQuery runs a query on what is registered here.
func runQuery(tx *state.Txn, w *state.Watch, datacenter string, q *catalog.PreparedQuery, run *api.QueryRun) (*api.QueryResult, uint64) {
	s := &q.Service
	rep := &api.QueryResult{Service: s.Service, DNS: q.DNS, Datacenter: datacenter, PeerName: s.Peer, Nodes: []*catalog.Instance{}, Found: true}
	var found []*catalog.Instance
	var index uint64
	switch {
	case s.Peer != "":
		found, index = importedInstances(tx, w, &api.ServiceQuery{Service: s.Service, Peer: s.Peer, Connect: s.Connect})
	case s.Connect:
		found, _, index = connectInstances(tx, w, s.Service)
	default:
		found, _, index = state.ServiceInstances(tx, w, s.Service)
	}
	for _, i := range found {
		if s.Selects(i) {
			rep.Nodes = append(rep.Nodes, i)
		}
	}
	near := cmp.Or(run.Near, s.Near)
	if s.Peer != "" {
		near = "" // nothing is known of how far the nodes of others are
	}
	order(tx, rep, near, run)
	if run.Limit > 0 && len(rep.Nodes) > run.Limit {
		rep.Nodes = rep.Nodes[:run.Limit]
	}
	rep.More = len(rep.Nodes) == 0 && (s.SamenessGroup != "" || s.Failover.NearestN > 0 || len(s.Failover.Datacenters)+len(s.Failover.Targets) > 0)
	return rep, index
}

// order puts instances in order of round-trip times from a place, what is on the place itself first, and
// otherwise in a random one.
func order(tx *state.Txn, rep *api.QueryResult, near string, run *api.QueryRun) {
	rand.Shuffle(len(rep.Nodes), func(i, j int) { rep.Nodes[i], rep.Nodes[j] = rep.Nodes[j], rep.Nodes[i] })
	switch near {
	case "":
		return
	case catalog.NearAgent:
		near = run.Agent
	case catalog.NearIP:
		rep.PerClient = true
		near = ""
		for _, n := range state.NodesAt(tx, nil, run.Client) {
			near = n.Node
		}
	}
	rep.Ordered = true
	sortNear(tx, near, rep.Nodes, func(i *catalog.Instance) string { return i.Node.Node })
	away := func(i *catalog.Instance) int {
		if strings.EqualFold(i.Node.Node, near) {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(rep.Nodes, func(a, b *catalog.Instance) int { return away(a) - away(b) })
}

func visibleResult(az acl.Authorizer, rep *api.QueryResult) (*api.QueryResult, bool) {
	kept, filtered := visible(func(az acl.Authorizer, i *catalog.Instance) bool {
		// the proxies of a service have other names: who may not see the service may not see what leads to it
		return seesNode(az, i.Node.Node) && seesService(az, i.Service.Service) && seesService(az, rep.Service)
	})(az, &rep.Nodes)
	if !filtered {
		return rep, false
	}
	out := *rep
	out.Nodes = *kept
	return &out, true
}

// targetPatience is how long a target that is not the last one has to answer: a client that fails over hears of the next
// one within 2 s.
const targetPatience = 1500 * time.Millisecond

// failover asks the datacenters and peers that a query names, one after the other, until one knows healthy
// instances. When none does, the answer is that there are none here.
func failover(ctx context.Context, r *endpoint.Registry, d Deps, h rpc.Header, run *api.QueryRun) (*api.QueryResult, rpc.Meta, error) {
	local, meta, err := api.QueryExecute.Call(ctx, r, h, run)
	if err != nil || !local.More {
		return local, meta, err
	}
	tx := d.Store.Read()
	q, _, err := renderQuery(tx, nil, run)
	if err != nil || q == nil {
		return local, meta, err
	}
	h.Token, h.MinIndex = cmp.Or(q.Token, h.Token), 0
	tried := 0
	all := targets(tx, d, &q.Service)
	for _, target := range all {
		tried++
		found, _, err := askTarget(ctx, r, d, h, q, target, run.Limit, tried < len(all))
		if err != nil {
			d.Log.Warn("a prepared query cannot fail over to a target", "query", cmp.Or(q.Name, q.ID), "dc", target.Datacenter, "peer", target.Peer, "err", err)
			continue
		}
		if len(found.Nodes) > 0 {
			out := *found
			out.Failovers = tried
			return &out, meta, nil
		}
	}
	out := *local
	out.Failovers = tried
	return &out, meta, nil
}

// targets lists where a query fails over to, each datacenter once: with a sameness group to its peers, in their order.
// Source: https://developer.hashicorp.com/consul/docs/manage-traffic/failover/sameness-group
func targets(tx *state.Txn, d Deps, s *catalog.QueryService) []catalog.QueryTarget {
	if s.SamenessGroup != "" {
		all, _ := groupTargets(tx, nil, s.SamenessGroup)
		return all
	}
	return s.Failover.Elsewhere(d.Datacenter, d.Abroad())
}

// groupTargets are the peers of a sameness group, and the index at which they changed last.
func groupTargets(tx *state.Txn, w *state.Watch, group string) ([]catalog.QueryTarget, uint64) {
	peers, index := peersOf(tx, w, catalog.ServiceConsumer{SamenessGroup: group})
	var all []catalog.QueryTarget
	for _, peer := range peers {
		all = append(all, catalog.QueryTarget{Peer: peer})
	}
	return all, index
}

func askTarget(ctx context.Context, r *endpoint.Registry, d Deps, h rpc.Header, q *catalog.PreparedQuery, target catalog.QueryTarget, limit int, others bool) (*api.QueryResult, rpc.Meta, error) {
	if others {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, targetPatience, fmt.Errorf("no answer within %s, and there are others to ask", targetPatience))
		defer cancel()
	}
	there := *q
	there.Token, there.Template, there.Service.Failover, there.Service.SamenessGroup = "", catalog.QueryTemplate{}, catalog.QueryFailover{}, ""
	there.Name = cmp.Or(there.Name, "failover") // a catch-all template has none
	h.Datacenter = target.Datacenter
	if target.Peer != "" {
		there.Service.Peer = target.Peer
	}
	var way rpc.Caller = r
	if target.Datacenter != "" && target.Datacenter != d.Datacenter {
		var err error
		if way, err = d.Remote(target.Datacenter); err != nil {
			return nil, rpc.Meta{}, err
		}
	}
	found, meta, err := api.QueryAbroad.Call(ctx, way, h, &api.QueryRemote{Query: there, Limit: limit})
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return found, meta, err
}

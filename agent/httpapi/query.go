package httpapi

import (
	"net"
	"net/http"
	"strings"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
)

func queryRoutes() []Route {
	return []Route{
		{Path: "/v1/query", Doc: "list the prepared queries, create one", ACL: "query:write", Methods: []Method{
			{Name: http.MethodGet, ACL: "query:read", Handle: queryList}, {Name: http.MethodPost, Handle: queryCreate},
		}, Effective: true, Blank: true},
		{Path: "/v1/query/{id}", Doc: "show, change or delete a prepared query", ACL: "query:write", Methods: []Method{
			{Name: http.MethodGet, ACL: "query:read", Handle: queryRead}, {Name: http.MethodPut, Handle: queryUpdate}, {Name: http.MethodDelete, Handle: queryDelete},
		}, Effective: true, Blank: true, NoOptions: true},
		{Path: "/v1/query/{id}/execute", Doc: "run a prepared query", ACL: "node:read, service:read", Methods: get(queryExecute), Effective: true, NoOptions: true, Blank: true},
		{Path: "/v1/internal/query-plan/{id}", Doc: "show where a prepared query looks for instances, for sidecars that follow it", ACL: "service:read", Methods: get(queryPlan)},
		{Path: "/v1/internal/query-instances/{id}", Doc: "list what mesh connections reach of what a prepared query selects where it runs, in `?target=`, a datacenter, or with `?peer=`", ACL: "node:read, service:read", Methods: get(queryInstances)},
		{Path: "/v1/query/{id}/explain", Doc: "show a prepared query as it is run for a name", ACL: "query:read", Methods: get(queryExplain), Effective: true, NoOptions: true, Blank: true},
	}
}

func queryList(c *call) error { return query(c, api.QueryList, nothing) }

func queryRead(c *call) error {
	answer, err := ask(c, api.QueryRead, &api.QueryID{ID: c.r.PathValue("id")})
	if err != nil {
		return err
	}
	if len(*answer.Value().(*[]*catalog.PreparedQuery)) == 0 {
		return noQuery(c)
	}
	return c.answer(answer)
}

func noQuery(c *call) error { return notFound("Query not found: %q", c.r.PathValue("id")) }

// writeQuery sends a change of a prepared query and returns its id. A name that is taken is the client's
// to mend.
func writeQuery(c *call, op api.QueryOp, q *catalog.PreparedQuery) (*string, error) {
	id, _, err := send(c, api.QueryApply, &api.QueryWrite{Op: op, Query: *q})
	if catalog.CodeOf(err) == catalog.Conflict {
		err = withStatus(http.StatusConflict, "%w", err)
	}
	return id, err
}

func queryCreate(c *call) error {
	q := &catalog.PreparedQuery{}
	if err := c.decode(q); err != nil {
		return err
	}
	q.ID = "" // it is chosen by the servers
	id, err := writeQuery(c, api.QueryCreate, q)
	if err != nil {
		return err
	}
	return c.json(struct{ ID *string }{id})
}

func queryUpdate(c *call) error {
	q := &catalog.PreparedQuery{}
	if err := c.decode(q); err != nil {
		return err
	}
	q.ID = c.r.PathValue("id")
	if _, err := writeQuery(c, api.QueryUpdate, q); err != nil {
		return err
	}
	return c.done()
}

func queryDelete(c *call) error {
	if _, err := writeQuery(c, api.QueryDelete, &catalog.PreparedQuery{ID: c.r.PathValue("id")}); err != nil {
		return err
	}
	return c.done()
}

// queryRun reads how a prepared query is to be run.
func (c *call) queryRun() (*api.QueryRun, error) {
	limit, err := c.number("limit")
	if err != nil {
		return nil, err
	}
	connect, err := c.flag("connect")
	if err != nil {
		return nil, err
	}
	const most = 1 << 20
	return &api.QueryRun{
		Name: c.r.PathValue("id"), Near: c.param("near"), Limit: int(min(limit, most)), Connect: connect, Agent: c.api.Node.NodeName(), Client: c.client(),
	}, nil
}

// client is the address of who asks: what a proxy says, else the other end of the connection.
// Source: https://developer.hashicorp.com/consul/api-docs/query (Near, _ip)
func (c *call) client() string {
	if first, _, _ := strings.Cut(c.r.Header.Get("X-Forwarded-For"), ","); first != "" {
		return strings.TrimSpace(first)
	}
	host, _, err := net.SplitHostPort(c.r.RemoteAddr)
	if err != nil {
		return "" // a unix socket
	}
	return host
}

// answered is what is known about an answer, in its body.
type answered struct {
	Index                 uint64
	LastContact           int64
	KnownLeader           bool
	ConsistencyLevel      string
	NotModified           bool
	Backend               int
	ResultsFilteredByACLs bool
}

func answeredBy(m rpc.Meta) answered {
	return answered{
		Index: max(m.Index, 1), KnownLeader: m.KnownLeader, LastContact: int64(m.LastContact), ResultsFilteredByACLs: m.Filtered,
	}
}

func queryExecute(c *call) error {
	run, err := c.queryRun()
	if err != nil {
		return err
	}
	h, err := c.header()
	if err != nil {
		return err
	}
	h.MinIndex, h.Filter = 0, "" // it does not block
	rep, meta, err := api.QueryExecute.Call(c.ctx(), c.api.Caller, h, run)
	if err == nil && rep.More {
		var last rpc.Meta
		if rep, last, err = api.QueryFailover.Call(c.ctx(), c.api.Caller, h, run); err == nil {
			meta.Index = max(meta.Index, last.Index)
		}
	}
	switch {
	case err != nil:
		return err
	case !rep.Found:
		return noQuery(c)
	}
	c.meta(meta)
	if nodes, other := c.translated(&rep.Nodes); other {
		out := *rep
		out.Nodes = nodes.([]*catalog.Instance)
		rep = &out
	}
	about := answeredBy(meta)
	about.ConsistencyLevel = effective[meta.Consistency][0]
	return c.json(struct {
		*api.QueryResult
		answered
	}{rep, about})
}

func queryPlan(c *call) error {
	return query(c, api.QueryPlanned, &api.QueryRun{Name: c.r.PathValue("id"), Connect: true})
}

func queryInstances(c *call) error {
	version, err := c.number("version")
	if err != nil {
		return err
	}
	target := catalog.QueryTarget{Datacenter: c.param("target"), Peer: c.param("peer")}
	return query(c, api.QueryAt, &api.QueryLeg{Name: c.r.PathValue("id"), Target: target, Version: version})
}

func queryExplain(c *call) error {
	run, err := c.queryRun()
	if err != nil {
		return err
	}
	rep, meta, err := send(c, api.QueryExplain, run)
	switch {
	case err != nil:
		return err
	case rep.Query == nil:
		return noQuery(c)
	}
	c.meta(meta)
	about := answeredBy(meta)
	about.ConsistencyLevel = effective[meta.Consistency][0]
	return c.json(struct {
		*api.QueryExplained
		answered
	}{rep, about})
}

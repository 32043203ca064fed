package httpapi

import (
	"bytes"
	"net/http"
	"time"

	"github.com/curia-mesh/curia/agent/decode"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/server/api"
)

func sessionRoutes() []Route {
	return []Route{
		{Path: "/v1/session/create", Doc: "create a session", ACL: "session:write", Methods: put(sessionCreate)},
		{Path: "/v1/session/destroy/{id...}", Doc: "end a session", ACL: "session:write", Methods: put(sessionDestroy)},
		{Path: "/v1/session/renew/{id...}", Doc: "renew a session's TTL", ACL: "session:write", Methods: put(sessionRenew)},
		{Path: "/v1/session/info/{id...}", Doc: "show a session", ACL: "session:read", Methods: get(sessionInfo)},
		{Path: "/v1/session/node/{node...}", Doc: "list the sessions of a node", ACL: "session:read", Methods: get(sessionNode)},
		{Path: "/v1/session/list", Doc: "list all sessions", ACL: "session:read", Methods: get(sessionList)},
	}
}

// sessionBody is a session as clients write it: with the checks of older clients, and a lock delay that
// is text, or a number of seconds when it is small.
type sessionBody struct {
	ID            string // ignored: the servers choose it
	Name          string
	Node          string
	LockDelay     *lockDelay
	Behavior      catalog.Behavior
	TTL           string
	Checks        []string
	NodeChecks    []string
	ServiceChecks []catalog.ServiceCheck
}

type lockDelay time.Duration

// smallDelay is the bound below which a bare number means seconds rather than nanoseconds.
const smallDelay = 1000

// UnmarshalJSON implements the interface of encoding/json.
func (d *lockDelay) UnmarshalJSON(b []byte) error {
	var n catalog.Duration
	if err := n.UnmarshalJSON(b); err != nil {
		return err
	}
	if len(b) > 0 && b[0] != '"' && n < smallDelay {
		n *= catalog.Duration(time.Second)
	}
	*d = lockDelay(n)
	return nil
}

func sessionCreate(c *call) error {
	raw, err := c.body(c.api.limits.Body)
	if err != nil {
		return err
	}
	body := sessionBody{}
	if len(bytes.TrimSpace(raw)) > 0 {
		if err := decode.JSON(raw, &body); err != nil {
			return badRequest("request body: %w", err)
		}
	}
	s := catalog.Session{
		Name: body.Name, Node: body.Node, Behavior: body.Behavior, TTL: body.TTL, LockDelay: catalog.DefaultLockDelay,
		NodeChecks: []string{catalog.SerfHealth}, ServiceChecks: body.ServiceChecks,
	}
	if body.LockDelay != nil {
		s.LockDelay = time.Duration(*body.LockDelay)
	}
	if body.NodeChecks != nil || body.Checks != nil {
		s.NodeChecks = append(body.NodeChecks, body.Checks...)
	}
	if s.Node == "" {
		s.Node = c.api.Node.NodeName()
	}
	id, _, err := send(c, api.SessionApply, &api.SessionWrite{Op: api.SessionCreate, Session: s})
	if err != nil {
		return err
	}
	return c.json(struct{ ID *string }{id})
}

func sessionDestroy(c *call) error {
	id, err := c.path("id", "session id")
	if err != nil {
		return err
	}
	req := &api.SessionWrite{Op: api.SessionDestroy, Session: catalog.Session{ID: id}}
	if _, _, err := send(c, api.SessionApply, req); err != nil {
		return err
	}
	return c.json(true)
}

func sessionRenew(c *call) error {
	id, err := c.path("id", "session id")
	if err != nil {
		return err
	}
	found, _, err := send(c, api.SessionRenew, &api.SessionQuery{ID: id})
	if err != nil {
		return err
	}
	if len(*found) == 0 {
		return notFound("Session id '%s' not found", id)
	}
	return c.json(found)
}

func sessionInfo(c *call) error {
	id, err := c.path("id", "session id")
	if err != nil {
		return err
	}
	return query(c, api.SessionRead, &api.SessionQuery{ID: id})
}

func sessionNode(c *call) error {
	node, err := c.path("node", "node name")
	if err != nil {
		return err
	}
	return query(c, api.SessionNode, &api.SessionQuery{Node: node})
}

func sessionList(c *call) error { return query(c, api.SessionList, &api.SessionQuery{}) }

func txnRoutes() []Route {
	return []Route{{Path: "/v1/txn", Doc: "run operations of which either all take effect or none", ACL: "key:read | key:write | node:read | node:write | service:read | service:write | session:write", Methods: put(txn)}}
}

func txn(c *call) error {
	body, err := c.body(c.api.limits.Txn)
	if err != nil {
		return err
	}
	req := &api.TxnRequest{}
	if err := decode.JSON(body, &req.Ops); err != nil {
		return badRequest("request body: %w", err)
	}
	if len(req.Ops) > api.MaxTxnOps {
		return withStatus(http.StatusRequestEntityTooLarge, "transaction has %d operations: at most %d are allowed", len(req.Ops), api.MaxTxnOps)
	}
	reads := true
	for _, op := range req.Ops {
		if op.KV != nil && int64(len(op.KV.Value)) > c.api.limits.KVValue {
			return tooLarge(int64(len(op.KV.Value)), c.api.limits.KVValue)
		}
		reads = reads && op.Reads()
	}
	if reads {
		return txnRead(c, req)
	}
	rep, _, err := send(c, api.TxnApply, req)
	if err != nil {
		return err
	}
	return c.jsonWith(txnStatus(rep), rep)
}

func txnStatus(rep *api.TxnReply) int {
	if len(rep.Errors) > 0 {
		return http.StatusConflict
	}
	return http.StatusOK
}

// txnReadReply is what a transaction that only reads answers with: its results beside what is known
// about the answer.
type txnReadReply struct {
	*api.TxnReply
	answered
}

func txnRead(c *call, req *api.TxnRequest) error {
	rep, meta, err := send(c, api.TxnRead, req)
	if err != nil {
		return err
	}
	c.contact(meta)
	return c.jsonWith(txnStatus(rep), txnReadReply{rep, answeredBy(meta)})
}

package httpapi

import (
	"io"
	"net/http"
	"strconv"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
)

func statusRoutes() []Route {
	return []Route{
		{Path: "/v1/status/leader", Doc: "show the leader's Raft address", ACL: "none", Methods: get(statusLeader)},
		{Path: "/v1/status/peers", Doc: "list the servers' Raft addresses", ACL: "none", Methods: get(statusPeers)},
	}
}

// rpcHeader is the header of requests that only say who asks.
func rpcHeader(c *call) rpc.Header { return rpc.Header{Token: c.token()} }

func statusLeader(c *call) error {
	rep, _, err := send(c, api.StatusLeader, nothing)
	if err != nil {
		return err
	}
	return c.json(rep)
}

func statusPeers(c *call) error {
	rep, _, err := send(c, api.StatusPeers, nothing)
	if err != nil {
		return err
	}
	return c.json(rep)
}

func snapshotRoutes() []Route {
	return []Route{{
		Path: "/v1/snapshot", Doc: "save and restore the state of the servers", ACL: "acl:write",
		Methods: []Method{{Name: http.MethodGet, Handle: snapshotSave}, {Name: http.MethodPut, Handle: snapshotRestore}},
	}}
}

func snapshotSave(c *call) error {
	h, err := c.header()
	if err != nil {
		return err
	}
	begun := false
	err = c.api.Snapshots.SaveSnapshot(c.ctx(), h, func(index uint64) io.Writer {
		begun = true
		out := c.w.Header()
		out.Set("Content-Type", "application/x-gzip")
		out[headerIndex] = []string{strconv.FormatUint(index, 10)}
		c.contact(rpc.Meta{KnownLeader: true})
		out[headerBackend] = valueBlocking
		return c.w
	})
	if err != nil && begun {
		c.log().Error("snapshot ended early", "err", err)
		panic(http.ErrAbortHandler) // the client must not take what it has for whole
	}
	return err
}

func snapshotRestore(c *call) error {
	h, err := c.header()
	if err != nil {
		return err
	}
	var req api.RestoreRequest
	if req.Force, err = c.flag("force"); err != nil {
		return err
	}
	err = c.api.Snapshots.RestoreSnapshot(c.ctx(), h, &req, http.MaxBytesReader(c.w, c.r.Body, c.api.limits.Snapshot))
	if catalog.CodeOf(err) == catalog.Conflict {
		return &statusError{http.StatusConflict, err}
	}
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", "application/octet-stream")
	c.w.WriteHeader(http.StatusOK)
	return nil
}

func coordinateRoutes() []Route {
	return []Route{
		{Path: "/v1/coordinate/datacenters", Doc: "list the coordinates of the servers of all datacenters", ACL: "none", Methods: get(coordinateDatacenters)},
		{Path: "/v1/coordinate/nodes", Doc: "list the coordinates of all nodes", ACL: "node:read", Methods: get(coordinateNodes)},
		{Path: "/v1/coordinate/node/{node...}", Doc: "show the coordinates of a node", ACL: "node:read", Methods: get(coordinateNode)},
		{Path: "/v1/coordinate/update", Doc: "store the coordinate of a node", ACL: "node:write", Methods: put(coordinateUpdate)},
	}
}

func coordinateDatacenters(c *call) error {
	rep, _, err := api.CoordinateDatacenters.Call(c.ctx(), c.api.Caller, rpcHeader(c), nothing)
	if err != nil {
		return err
	}
	return c.json(rep)
}

// inSegment keeps the coordinates of a segment, when one is asked for.
func (c *call) inSegment(all []*catalog.NodeCoordinate) []*catalog.NodeCoordinate {
	if !c.has("segment") {
		return all
	}
	kept := []*catalog.NodeCoordinate{}
	for _, x := range all {
		if x.Segment == c.param("segment") {
			kept = append(kept, x)
		}
	}
	return kept
}

func coordinateNodes(c *call) error {
	found, meta, err := send(c, api.CoordinateNodes, &api.NodeQuery{})
	if err != nil {
		return err
	}
	c.meta(meta)
	return c.json(c.inSegment(*found))
}

func coordinateNode(c *call) error {
	node := c.r.PathValue("node")
	if node == "" {
		return c.absent()
	}
	found, meta, err := send(c, api.CoordinateNode, &api.NodeQuery{Node: node})
	if err != nil {
		return err
	}
	kept := c.inSegment(*found)
	if len(kept) == 0 {
		return c.absent()
	}
	c.meta(meta)
	return c.json(kept)
}

func coordinateUpdate(c *call) error {
	body := struct {
		Datacenter, Node, Segment string
		Coord                     *catalog.Coordinate
	}{}
	if err := c.decode(&body); err != nil {
		return err
	}
	h, err := c.header()
	if err != nil {
		return err
	}
	if body.Datacenter != "" && h.Datacenter == "" {
		h.Datacenter = body.Datacenter
	}
	req := &api.CoordinateUpdate{Updates: []*catalog.NodeCoordinate{{Node: body.Node, Segment: body.Segment, Coord: body.Coord}}}
	if _, _, err := api.CoordinateSet.Call(c.ctx(), c.api.Caller, h, req); err != nil {
		return err
	}
	return c.done()
}

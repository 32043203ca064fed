package httpapi

import (
	"net/http"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/server/api"
)

func operatorRoutes() []Route {
	return []Route{
		{Path: "/v1/operator/raft/configuration", Doc: "show the Raft configuration", ACL: "operator:read", Methods: get(raftConfiguration)},
		{Path: "/v1/operator/raft/peer", Doc: "remove a server from the Raft configuration", ACL: "operator:write", Methods: []Method{{Name: http.MethodDelete, Handle: raftRemovePeer}}},
		{Path: "/v1/operator/raft/transfer-leader", Doc: "hand the leadership to another server", ACL: "operator:write", Methods: post(raftTransfer)},
		{Path: "/v1/operator/raft/digest", Doc: "show a digest of all that a server holds", ACL: "operator:read", Methods: get(stateDigest)},
		{Path: "/v1/operator/autopilot/configuration", Doc: "read and change autopilot's configuration", ACL: "operator:write",
			Methods: []Method{{Name: http.MethodGet, ACL: "operator:read", Handle: autopilotRead}, {Name: http.MethodPut, Handle: autopilotSet}}},
		{Path: "/v1/operator/autopilot/health", Doc: "show the health of the servers", ACL: "operator:read", Methods: get(autopilotHealth)},
		{Path: "/v1/operator/autopilot/state", Doc: "show what autopilot knows of the servers", ACL: "operator:read", Methods: get(autopilotState)},
		{Path: "/v1/operator/federation", Doc: "show how the datacenter stands to its primary", ACL: "operator:read", Methods: get(federationStatus)},
		{Path: "/v1/operator/federation/accept", Doc: "let the primary's data take the place of the datacenter's own", ACL: "operator:write, acl:write", Methods: put(federationAccept)},
		{Path: "/v1/operator/federation/promote", Doc: "make the datacenter the primary", ACL: "operator:write, acl:write", Methods: put(federationPromote)},
		{Path: "/v1/operator/kv-replication", Doc: "show how far the keys of other datacenters are copied", ACL: "operator:read", Methods: get(kvReplication)},
		{Path: "/v1/operator/usage", Doc: "count what the datacenter holds", ACL: "operator:read", Methods: get(usage), Effective: true},
	}
}

func federationStatus(c *call) error {
	rep, _, err := send(c, api.FederationStatus, nothing)
	if err != nil {
		return err
	}
	return c.json(rep)
}

func federationAccept(c *call) error {
	rep, _, err := send(c, api.FederationAccept, nothing)
	if err != nil {
		return err
	}
	return c.json(rep)
}

func federationPromote(c *call) error {
	rep, _, err := send(c, api.FederationPromote, &api.Promotion{Force: c.has("force")})
	if err != nil {
		return err
	}
	return c.json(rep)
}

func kvReplication(c *call) error {
	rep, _, err := send(c, api.KVCopyStatus, nothing)
	if err != nil {
		return err
	}
	return c.json(rep)
}

func raftConfiguration(c *call) error {
	rep, _, err := send(c, api.RaftConfigurationRead, nothing)
	if err != nil {
		return err
	}
	return c.json(rep)
}

func raftRemovePeer(c *call) error {
	p := &api.RaftPeer{ID: c.param("id"), Address: c.param("address")}
	if (p.ID == "") == (p.Address == "") {
		return badRequest("name the server by either id or address")
	}
	if _, _, err := send(c, api.RaftRemovePeer, p); err != nil {
		return err
	}
	return c.done()
}

func raftTransfer(c *call) error {
	done, _, err := send(c, api.RaftTransferLeader, &api.RaftPeer{ID: c.param("id")})
	if err != nil {
		return err
	}
	return c.json(struct{ Success *bool }{done})
}

func stateDigest(c *call) error {
	rep, _, err := send(c, api.StateDigestRead, nothing)
	if err != nil {
		return err
	}
	return c.json(rep)
}

func autopilotRead(c *call) error {
	rep, _, err := send(c, api.AutopilotRead, nothing)
	if err != nil {
		return err
	}
	return c.json(rep)
}

func autopilotSet(c *call) error {
	present, _, err := send(c, api.AutopilotRead, nothing)
	if err != nil {
		return err
	}
	req := &api.AutopilotWrite{Config: *present} // what the body leaves out stays
	if err := c.decode(&req.Config); err != nil {
		return err
	}
	if c.has("cas") {
		req.CAS = true
		if req.Config.ModifyIndex, err = c.number("cas"); err != nil {
			return err
		}
	}
	done, _, err := send(c, api.AutopilotSet, req)
	if err != nil {
		return err
	}
	return c.json(done)
}

func autopilotHealth(c *call) error {
	rep, _, err := send(c, api.AutopilotHealth, nothing)
	if err != nil {
		return err
	}
	if !rep.Healthy {
		return c.jsonWith(http.StatusTooManyRequests, rep)
	}
	return c.json(rep)
}

// serverState is a server as autopilot's state shows it.
type serverState struct {
	ID, Name, Address, NodeStatus, Version string
	LastContact                            catalog.Duration
	LastTerm, LastIndex                    uint64
	Healthy                                bool
	StableSince                            time.Time
	ReadReplica                            bool
	Status                                 string
	Meta                                   map[string]string
	NodeType                               string
}

func autopilotState(c *call) error {
	health, _, err := send(c, api.AutopilotHealth, nothing)
	if err != nil {
		return err
	}
	nodes, _, err := api.Nodes.Call(c.ctx(), c.api.Caller, rpcHeader(c), &api.NodeQuery{})
	if err != nil {
		return err
	}
	meta := map[string]map[string]string{}
	for _, n := range *nodes {
		meta[n.ID] = n.Meta
	}
	out := struct {
		Healthy                    bool
		FailureTolerance           int
		OptimisticFailureTolerance int
		Servers                    map[string]serverState
		Leader                     string
		Voters                     []string
		ReadReplicas               []string `json:",omitempty"`
	}{Healthy: health.Healthy, FailureTolerance: health.FailureTolerance, OptimisticFailureTolerance: health.FailureTolerance, Servers: map[string]serverState{}}
	for _, s := range health.Servers {
		state := serverState{
			ID: s.ID, Name: s.Name, Address: s.Address, NodeStatus: s.SerfStatus, Version: s.Version, LastContact: s.LastContact,
			LastTerm: s.LastTerm, LastIndex: s.LastIndex, Healthy: s.Healthy, StableSince: s.StableSince, ReadReplica: s.ReadReplica, Status: "non-voter", NodeType: "voter", Meta: meta[s.ID],
		}
		if s.ReadReplica {
			state.NodeType = "read-replica"
			out.ReadReplicas = append(out.ReadReplicas, s.ID)
		}
		if s.Voter {
			state.Status = "voter"
			out.Voters = append(out.Voters, s.ID)
		}
		if s.Leader {
			state.Status, out.Leader = "leader", s.ID
		}
		out.Servers[s.ID] = state
	}
	return c.json(out)
}

// usageReply counts by datacenter, beside what is known about the answer.
type usageReply struct {
	Usage                 map[string]*api.Usage
	Index                 uint64
	LastContact           int64
	KnownLeader           bool
	ConsistencyLevel      string
	NotModified           bool
	Backend               int
	ResultsFilteredByACLs bool
}

func usage(c *call) error {
	rep, meta, err := send(c, api.UsageRead, nothing)
	if err != nil {
		return err
	}
	c.meta(meta)
	return c.json(usageReply{
		Usage: *rep, Index: meta.Index, KnownLeader: meta.KnownLeader, ConsistencyLevel: effective[meta.Consistency][0],
		LastContact: int64(meta.LastContact), ResultsFilteredByACLs: meta.Filtered,
	})
}

package httpapi

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/curia-mesh/curia/agent/logging"
	"github.com/curia-mesh/curia/agent/telemetry"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/filter"
	"github.com/curia-mesh/curia/rpc/gossip"
)

func agentRoutes() []Route {
	return []Route{
		{Path: "/v1/agent/self", Doc: "show the agent's configuration and figures", ACL: "agent:read", Local: true, Methods: get(agentSelf)},
		{Path: "/v1/agent/host", Doc: "show the machine's processor, memory and disk", ACL: "operator:read", Local: true, Methods: get(agentHost)},
		{Path: "/v1/agent/version", Doc: "show the agent's version", ACL: "agent:read", Local: true, Methods: get(agentVersion)},
		{Path: "/v1/agent/members", Doc: "list the members of the pool", ACL: "node:read", Methods: get(agentMembers)},
		{Path: "/v1/agent/monitor", Doc: "stream the agent's log", ACL: "agent:read", Local: true, Methods: get(agentMonitor)},
		{Path: "/v1/agent/metrics", Doc: "show the agent's metrics", ACL: "agent:read", Local: true, Methods: get(agentMetrics)},
		{Path: "/v1/agent/metrics/stream", Doc: "stream the agent's metrics", ACL: "agent:read", Local: true, Methods: get(agentMetricsStream)},
		{Path: "/v1/agent/reload", Doc: "read the configuration anew", ACL: "agent:write", Local: true, Methods: put(agentReload)},
		{Path: "/v1/agent/maintenance", Doc: "take the node out of service, or back", ACL: "node:write", Local: true, Methods: put(agentMaintenance)},
		{Path: "/v1/agent/join/{address...}", Doc: "join the pool of another agent", ACL: "agent:write", Local: true, Methods: put(agentJoin)},
		{Path: "/v1/agent/leave", Doc: "leave the pool and end the agent", ACL: "agent:write", Local: true, Methods: put(agentLeave)},
		{Path: "/v1/agent/force-leave/{node...}", Doc: "take a failed member for one that left", ACL: "operator:write", Local: true, Methods: put(agentForceLeave)},
		{Path: "/v1/agent/token/{kind...}", Doc: "replace one of the agent's tokens", ACL: "agent:write", Local: true, Methods: put(agentToken)},
	}
}

func agentSelf(c *call) error { return c.json(c.api.Node.Self()) }

func agentVersion(c *call) error {
	self := c.api.Node.Self().Config
	return c.json(struct{ SHA, BuildDate, HumanVersion, FIPS string }{self.Revision, self.BuildDate, self.Version, ""})
}

// wan reads the parameter that chooses the WAN pool. Standing alone it chooses nothing: clients say 1 or
// true.
func (c *call) wan() (bool, error) {
	if c.param("wan") == "" {
		return false, nil
	}
	return c.flag("wan")
}

func agentMembers(c *call) error {
	wan, err := c.wan()
	if err != nil {
		return err
	}
	members, err := c.api.Node.Members(wan)
	if err != nil {
		return err
	}
	if segment := c.param("segment"); segment != "" && segment != "_all" {
		members = slices.DeleteFunc(slices.Clone(members), func(m gossip.Member) bool { return m.Tags["segment"] != segment })
	}
	sees, err := c.visible(acl.Node)
	if err != nil {
		return err
	}
	shown := slices.DeleteFunc(slices.Clone(members), func(m gossip.Member) bool { return !sees(m.Name) })
	c.filtered(len(shown) < len(members))
	members = shown
	keep, err := filter.Compile(c.param("filter"))
	if err != nil {
		return err
	}
	if keep != nil {
		kept, err := filter.List(&members, keep)
		if err != nil {
			return err
		}
		members = *kept
	}
	return c.json(members)
}

func agentJoin(c *call) error {
	address, err := c.path("address", "address")
	if err != nil {
		return err
	}
	wan, err := c.wan()
	if err != nil {
		return err
	}
	if err := c.api.Node.Join(c.ctx(), address, wan); err != nil {
		return err
	}
	return c.done()
}

func agentLeave(c *call) error {
	if err := c.api.Node.Leave(c.ctx()); err != nil {
		return err
	}
	return c.done()
}

func agentForceLeave(c *call) error {
	node, err := c.path("node", "node name")
	if err != nil {
		return err
	}
	prune, err := c.flag("prune")
	if err != nil {
		return err
	}
	wan, err := c.wan()
	if err != nil {
		return err
	}
	if err := c.api.Node.ForceLeave(node, prune, wan); err != nil {
		return err
	}
	return c.done()
}

func agentReload(c *call) error {
	if err := c.api.Node.Reload(c.ctx()); err != nil {
		return err
	}
	return c.done()
}

func agentToken(c *call) error {
	body := struct{ Token string }{}
	if err := c.decode(&body); err != nil {
		return err
	}
	if err := c.api.Node.SetToken(c.r.PathValue("kind"), body.Token); err != nil {
		return err
	}
	return c.done()
}

// monitorRecent is how many of the log's last lines a monitor begins with, so that it shows at once that
// it works.
const monitorRecent = 32

func agentMonitor(c *call) error {
	level := c.param("loglevel")
	if level == "" {
		level = "INFO"
	}
	at, err := logging.ParseLevel(level)
	if err != nil {
		return badRequest("%w", err)
	}
	flusher, ok := c.w.(http.Flusher)
	if !ok {
		return badRequest("this connection cannot stream")
	}
	m, err := c.api.Logs.Monitor(logging.MonitorConfig{Level: at, JSON: c.has("logjson"), Recent: monitorRecent})
	if err != nil {
		return withStatus(http.StatusTooManyRequests, "%w", err)
	}
	defer m.Close()
	c.w.WriteHeader(http.StatusOK)
	c.w.Write([]byte{})
	flusher.Flush()
	ctx, stop := c.whileAllowed(c.untilEnd())
	defer stop()
	for {
		line, err := m.Next(ctx)
		if err != nil {
			return nil // the client or the agent is gone
		}
		if _, err := c.w.Write(line); err != nil {
			return nil
		}
		flusher.Flush()
	}
}

func agentMetrics(c *call) error {
	if c.param("format") != "prometheus" {
		return c.json(c.api.Telemetry.Snapshot())
	}
	handler := c.api.Telemetry.Prometheus()
	if handler == nil {
		c.w.Header().Set(headerReason, telemetry.PrometheusOff)
		return c.done()
	}
	handler.ServeHTTP(c.w, c.r)
	return nil
}

func agentMetricsStream(c *call) error {
	flusher, ok := c.w.(http.Flusher)
	if !ok {
		return badRequest("this connection cannot stream")
	}
	c.w.Header()["Content-Type"] = valueJSON
	c.w.WriteHeader(http.StatusOK)
	flusher.Flush()
	ctx, stop := c.whileAllowed(c.untilEnd())
	defer stop()
	err := c.api.Telemetry.Stream(ctx, func(s *telemetry.Summary) error {
		body, err := encodeJSON(s)
		if err != nil {
			return err
		}
		if _, err := c.w.Write(append(body, '\n')); err != nil {
			return err
		}
		flusher.Flush()
		return nil
	})
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, io.EOF) {
		c.log().Debug("stream of metrics ended", "err", err)
	}
	return nil
}

// onOff reads the parameter that maintenance requires.
func (c *call) onOff() (bool, error) {
	if c.param("enable") == "" {
		return false, badRequest("missing parameter enable: want enable=true or enable=false")
	}
	return c.flag("enable")
}

func agentMaintenance(c *call) error {
	on, err := c.onOff()
	if err != nil {
		return err
	}
	if err := c.api.Local.SetNodeMaintenance(c.ctx(), on, c.param("reason"), c.token()); err != nil {
		return err
	}
	return c.done()
}

// hostTimeout bounds how long the machine may take to tell about itself.
const hostTimeout = 5 * time.Second

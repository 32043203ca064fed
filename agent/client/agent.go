package client

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

// Agent is the agent that is asked, and what it knows by itself.
// Source: https://developer.hashicorp.com/consul/api-docs/agent
type Agent struct{ c *Client }

// Agent returns the calls of the agent.
func (c *Client) Agent() Agent { return Agent{c} }

// Self is how an agent is configured and how it does.
type Self struct {
	Config struct {
		Datacenter string
		NodeName   string
		NodeID     string
		Server     bool
		Version    string
	}
	DebugConfig map[string]any
	Stats       map[string]map[string]string
	Member      Member
	Coord       *catalog.Coordinate
	Meta        map[string]string
}

// Member is a node as gossip sees it.
type Member struct {
	Name   string
	Addr   string
	Port   uint16
	Tags   map[string]string
	Status MemberStatus
}

// MemberStatus is what gossip thinks of a member.
type MemberStatus int

// String is the status in one word.
func (s MemberStatus) String() string {
	names := []string{"none", "alive", "leaving", "left", "failed"}
	if s < 0 || int(s) >= len(names) {
		return "unknown"
	}
	return names[s]
}

// Self returns the agent's configuration and state.
func (a Agent) Self(ctx context.Context) (*Self, error) {
	self := &Self{}
	_, err := a.c.Do(ctx, http.MethodGet, "/v1/agent/self", Query{}, nil, self)
	return self, err
}

// AllSegments asks for the members of every segment.
const AllSegments = "_all"

// Members returns the members of the datacenter, or with wan the servers of all datacenters.
func (a Agent) Members(ctx context.Context, wan bool, segment, filter string) ([]Member, error) {
	q := Query{Filter: filter}
	if wan {
		q = q.With("wan", "1")
	}
	if segment != "" {
		q = q.With("segment", segment)
	}
	var members []Member
	_, err := a.c.Do(ctx, http.MethodGet, "/v1/agent/members", q, nil, &members)
	return members, err
}

// Join makes the agent join the cluster of the agent at address.
func (a Agent) Join(ctx context.Context, address string, wan bool) error {
	q := Query{}
	if wan {
		q = q.With("wan", "1")
	}
	return a.put(ctx, Path("agent", "join", address), q)
}

// Leave makes the agent leave its cluster and stop.
func (a Agent) Leave(ctx context.Context) error { return a.put(ctx, "/v1/agent/leave", Query{}) }

// ForceLeave makes the cluster take a failed node for one that left; prune forgets it at once.
func (a Agent) ForceLeave(ctx context.Context, node string, prune, wan bool) error {
	q := Query{}
	if prune {
		q = q.With("prune", "1")
	}
	if wan {
		q = q.With("wan", "1")
	}
	return a.put(ctx, Path("agent", "force-leave", node), q)
}

// Reload makes the agent read its configuration again.
func (a Agent) Reload(ctx context.Context) error { return a.put(ctx, "/v1/agent/reload", Query{}) }

// Maintenance takes the node out of service, or back into it. A service's id in place of "" does so with
// that service alone.
func (a Agent) Maintenance(ctx context.Context, service string, enable bool, reason string) error {
	q := Query{}.With("enable", strconv.FormatBool(enable))
	if reason != "" {
		q = q.With("reason", reason)
	}
	if service != "" {
		return a.put(ctx, Path("agent", "service", "maintenance", service), q)
	}
	return a.put(ctx, "/v1/agent/maintenance", q)
}

// RegisterService registers a service on the agent's node, with the definition's own token if it has one.
func (a Agent) RegisterService(ctx context.Context, d *catalog.ServiceDefinition) error {
	sent := *d
	sent.Token = ""
	_, err := a.c.Do(ctx, http.MethodPut, "/v1/agent/service/register", Query{Token: d.Token}, &sent, nil)
	return err
}

// DeregisterService removes a service by its id.
func (a Agent) DeregisterService(ctx context.Context, id string) error {
	return a.put(ctx, Path("agent", "service", "deregister", id), Query{})
}

// Checks returns the checks of the agent's node by their ids.
func (a Agent) Checks(ctx context.Context) (map[string]*catalog.Check, error) {
	var checks map[string]*catalog.Check
	_, err := a.c.Do(ctx, http.MethodGet, "/v1/agent/checks", Query{}, nil, &checks)
	return checks, err
}

// Report returns one of the agent's own reports as it is: "self", "host", "metrics", "members" and so on.
func (a Agent) Report(ctx context.Context, name string) (json.RawMessage, error) {
	var raw json.RawMessage
	_, err := a.c.Do(ctx, http.MethodGet, Path("agent", name), Query{}, nil, &raw)
	return raw, err
}

// Monitor follows the agent's log until ctx ends or the caller closes it.
func (a Agent) Monitor(ctx context.Context, level string, asJSON bool) (io.ReadCloser, error) {
	q := Query{}
	if level != "" {
		q = q.With("loglevel", level)
	}
	if asJSON {
		q = q.With("logjson", "true")
	}
	r, _, err := a.c.Open(ctx, Stream{Method: http.MethodGet, Path: "/v1/agent/monitor", Query: q})
	return r, err
}

// Profile returns one of the agent's profiles: "heap", "goroutine", or "profile" and "trace" over so many
// seconds.
func (a Agent) Profile(ctx context.Context, name string, seconds int) (io.ReadCloser, error) {
	q := Query{}
	if seconds > 0 {
		q = q.With("seconds", strconv.Itoa(seconds))
	}
	idle := DefaultTimeout
	if seconds > 0 {
		idle += time.Duration(seconds) * time.Second
	}
	path := "/debug/pprof/" + name
	r, _, err := a.c.Open(ctx, Stream{Method: http.MethodGet, Path: path, Query: q, Idle: idle})
	return r, err
}

func (a Agent) put(ctx context.Context, path string, q Query) error {
	_, err := a.c.Do(ctx, http.MethodPut, path, q, nil, nil)
	return err
}

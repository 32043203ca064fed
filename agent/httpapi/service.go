package httpapi

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/mitchellh/hashstructure"

	"github.com/curia-mesh/curia/agent/local"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/filter"
)

// AgentService is a service as its own agent shows it.
//
// Its content hash is that of mitchellh/hashstructure over the fields, in which their names, their set and
// the name of this type count: clients compare it with what they have seen before. A new field carries
// the tag hash:"ignore".
type AgentService struct {
	Kind              catalog.Kind `json:",omitempty"`
	ID                string
	Service           string
	Tags              []string
	Meta              map[string]string
	Port              int
	Address           string
	SocketPath        string                            `json:",omitempty"`
	TaggedAddresses   map[string]catalog.ServiceAddress `json:",omitempty"`
	Weights           AgentWeights
	EnableTagOverride bool
	CreateIndex       uint64                `json:",omitempty" bexpr:"-"`
	ModifyIndex       uint64                `json:",omitempty" bexpr:"-"`
	ContentHash       string                `json:",omitempty" bexpr:"-"`
	Proxy             *catalog.Proxy        `json:",omitempty"`
	Connect           *catalog.Connect      `json:",omitempty"`
	PeerName          string                `json:",omitempty"`
	Ports             []catalog.ServicePort `json:",omitempty" hash:"ignore"`
	Namespace         string                `json:",omitempty" bexpr:"-" hash:"ignore"`
	Partition         string                `json:",omitempty" bexpr:"-" hash:"ignore"`
	Datacenter        string                `json:",omitempty" bexpr:"-" hash:"ignore"`
	Locality          *catalog.Locality     `json:",omitempty" bexpr:"-" hash:"ignore"`
}

// AgentWeights are catalog.Weights under the name that the content hash knows.
type AgentWeights struct {
	Passing int
	Warning int
}

// agentService is the service as the agent shows it, without a content hash.
func agentService(s *catalog.Service, datacenter string) *AgentService {
	out := &AgentService{
		Kind: s.Kind, ID: s.ID, Service: s.Service, Tags: s.Tags, Meta: s.Meta, Port: s.Port, Address: s.Address,
		SocketPath: s.SocketPath, TaggedAddresses: s.TaggedAddresses, Weights: AgentWeights(*s.Weights),
		EnableTagOverride: s.EnableTagOverride, PeerName: s.PeerName, Ports: s.Ports, Datacenter: datacenter, Locality: s.Locality,
	}
	if out.Meta == nil {
		out.Meta = map[string]string{}
	}
	if s.Kind != catalog.KindTypical {
		out.Proxy = s.Proxy
	}
	if s.Connect.Native {
		out.Connect = s.Connect
	}
	return out
}

// MarshalJSON leaves out what upstreams do not say, as Consul's agent does and its catalog does not.
func (s *AgentService) MarshalJSON() ([]byte, error) {
	type plain AgentService
	if s.Proxy == nil || len(s.Proxy.Upstreams) == 0 {
		return json.Marshal((*plain)(s))
	}
	type upstream struct {
		DestinationType string `json:",omitempty"`
		catalog.Upstream
		Datacenter string `json:",omitempty"`
	}
	type proxy struct {
		*catalog.Proxy
		Upstreams []upstream
	}
	shown := proxy{Proxy: s.Proxy}
	for _, u := range s.Proxy.Upstreams {
		shown.Upstreams = append(shown.Upstreams, upstream{u.DestinationType, u, u.Datacenter})
	}
	return json.Marshal(struct {
		*plain
		Proxy proxy
	}{(*plain)(s), shown})
}

// hash returns the content hash of a service that has none yet.
func (s *AgentService) hash() (string, error) {
	n, err := hashstructure.Hash(s, nil)
	if err != nil {
		return "", err
	}
	return strconv.FormatUint(n, 16), nil
}

// Watch implements watch.Services.
func (a *API) Watch(id string) (service any, changed <-chan struct{}) {
	changed = a.Local.Changed(id)
	s, ok := a.Local.Service(id)
	if !ok {
		return nil, changed
	}
	return agentService(s, a.config.Load().Datacenter), changed
}

func agentServices(c *call) error {
	all := map[string]*AgentService{}
	keep, err := filter.Compile(c.param("filter"))
	if err != nil {
		return err
	}
	sees, err := c.visible(acl.Service)
	if err != nil {
		return err
	}
	fewer := false
	for id, s := range c.api.Local.Services() {
		if !sees(s.Service) {
			fewer = true
			continue
		}
		shown := agentService(s, c.api.config.Load().Datacenter)
		ok, err := keep.Accepts(shown)
		if err != nil {
			return err
		}
		if ok {
			all[id] = shown
		}
	}
	c.filtered(fewer)
	return c.json(all)
}

// agentServiceOne answers with one service. It blocks while the service is as the given hash says.
func agentServiceOne(c *call) error {
	id, err := c.path("id", "service id")
	if err != nil {
		return err
	}
	wait, err := c.duration("wait")
	if err != nil {
		return err
	}
	over := time.NewTimer(waitSpan(wait))
	defer over.Stop()
	for {
		changed := c.api.Local.Changed(id)
		s, ok := c.api.Local.Proxied(id)
		if !ok {
			return notFound("unknown service ID %q: this agent has no such service", id)
		}
		if err := c.needService(s.Service, acl.Read); err != nil { // each time: it may wait long
			return err
		}
		shown := agentService(s, c.api.config.Load().Datacenter)
		if shown.ContentHash, err = shown.hash(); err != nil {
			return err
		}
		if shown.ContentHash == c.param("hash") {
			select {
			case <-changed:
				continue
			case <-over.C:
			case <-c.ctx().Done():
			}
		}
		c.w.Header().Set(headerContentHash, shown.ContentHash)
		return c.json(shown)
	}
}

// healthInfo is a local service with its checks and their aggregate.
type healthInfo struct {
	AggregatedStatus catalog.Status
	Service          *AgentService
	Checks           []shownCheck
}

// shownCheck is a check as the health endpoints of the agent show it: with its whole definition.
type shownCheck struct {
	Node, CheckID, Name      string
	Status                   catalog.Status
	Notes, Output            string
	ServiceID, ServiceName   string
	ServiceTags              []string
	Type                     string
	ExposedPort              int
	Definition               shownDefinition
	CreateIndex, ModifyIndex uint64
}

type shownDefinition struct {
	HTTP                           string
	Header                         map[string][]string
	Method, Body                   string
	TLSServerName                  string
	TLSSkipVerify                  bool
	TCP                            string
	TCPUseTLS                      bool
	UDP, GRPC                      string
	OSService                      string
	GRPCUseTLS                     bool
	Interval, Timeout              catalog.Duration
	DeregisterCriticalServiceAfter catalog.Duration
}

// shown is the health of one local service as the API shows it.
func (c *call) shown(h local.Health) healthInfo {
	info := healthInfo{AggregatedStatus: h.Status, Service: agentService(h.Service, c.api.config.Load().Datacenter), Checks: []shownCheck{}}
	for _, k := range h.Checks {
		info.Checks = append(info.Checks, shownCheck{
			Node: k.Node, CheckID: k.CheckID, Name: k.Name, Status: k.Status, Notes: k.Notes, Output: k.Output,
			ServiceID: k.ServiceID, ServiceName: k.ServiceName, ExposedPort: k.ExposedPort,
		})
	}
	return info
}

// statusCode is the HTTP status that stands for the health of a service.
// Source: https://developer.hashicorp.com/consul/api-docs/agent/service#get-local-service-health
func statusCode(s catalog.Status) int {
	switch s {
	case catalog.Passing:
		return http.StatusOK
	case catalog.Warning:
		return http.StatusTooManyRequests
	}
	return http.StatusServiceUnavailable
}

func agentHealthByID(c *call) error {
	id, err := c.path("id", "service id")
	if err != nil {
		return err
	}
	h, ok := c.api.Local.Health(id)
	if !ok {
		return c.healthAnswer(http.StatusNotFound, "ServiceId "+id+" not found", healthInfo{AggregatedStatus: catalog.Critical})
	}
	if err := c.needService(h.Service.Service, acl.Read); err != nil {
		return err
	}
	return c.healthAnswer(statusCode(h.Status), string(h.Status), c.shown(h))
}

func agentHealthByName(c *call) error {
	name, err := c.path("name", "service name")
	if err != nil {
		return err
	}
	if err := c.needService(name, acl.Read); err != nil {
		return err
	}
	found, worst := c.api.Local.HealthByName(name)
	all := []healthInfo{}
	for _, h := range found {
		all = append(all, c.shown(h))
	}
	if len(all) == 0 {
		return c.healthAnswer(http.StatusNotFound, "ServiceName "+name+" Not Found", all)
	}
	return c.healthAnswer(statusCode(worst), string(worst), all)
}

func (c *call) healthAnswer(status int, reason string, body any) error {
	c.w.Header().Set(headerReason, reason)
	if c.param("format") == "text" {
		return c.text(status, "text/plain", reason)
	}
	return c.jsonWith(status, body)
}

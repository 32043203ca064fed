package httpapi

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/mitchellh/hashstructure"

	"github.com/curia-mesh/curia/catalog"
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

// hash returns the content hash of a service that has none yet.
func (s *AgentService) hash() (string, error) {
	n, err := hashstructure.Hash(s, nil)
	if err != nil {
		return "", err
	}
	return strconv.FormatUint(n, 16), nil
}

func agentServices(c *call) error {
	all := map[string]*AgentService{}
	keep, err := filter.Compile(c.param("filter"))
	if err != nil {
		return err
	}
	for id, s := range c.api.Local.Services() {
		shown := agentService(s, c.api.config.Load().Datacenter)
		ok, err := keep.Accepts(shown)
		if err != nil {
			return err
		}
		if ok {
			all[id] = shown
		}
	}
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
		s, changed := c.api.Local.Service(id)
		if s == nil {
			return notFound("unknown service ID %q: this agent has no such service", id)
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

// health is the health of one local service. A node in maintenance takes all of its services with it.
func (c *call) localHealth(s *catalog.Service) healthInfo {
	info := healthInfo{Service: agentService(s, c.api.config.Load().Datacenter), Checks: []shownCheck{}}
	checks := c.api.Local.ChecksOf(s.ID)
	slices.SortFunc(checks, func(a, b *catalog.Check) int { return compare(a.CheckID, b.CheckID) })
	for _, k := range checks {
		info.Checks = append(info.Checks, shownCheck{
			Node: k.Node, CheckID: k.CheckID, Name: k.Name, Status: k.Status, Notes: k.Notes, Output: k.Output,
			ServiceID: k.ServiceID, ServiceName: k.ServiceName, ExposedPort: k.ExposedPort,
		})
	}
	info.AggregatedStatus = catalog.Aggregate(checks)
	return info
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
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
	s, _ := c.api.Local.Service(id)
	if s == nil {
		return c.healthAnswer(http.StatusNotFound, "ServiceId "+id+" not found", healthAbsent{AggregatedStatus: catalog.Critical})
	}
	info := c.localHealth(s)
	return c.healthAnswer(statusCode(info.AggregatedStatus), string(info.AggregatedStatus), info)
}

// healthAbsent is the answer about a service that is not there.
type healthAbsent struct {
	AggregatedStatus catalog.Status
	Service          *AgentService
	Checks           []shownCheck
}

func agentHealthByName(c *call) error {
	name, err := c.path("name", "service name")
	if err != nil {
		return err
	}
	all := []healthInfo{}
	worst := catalog.Passing
	for _, s := range c.api.Local.Services() {
		if s.Service != name {
			continue
		}
		info := c.localHealth(s)
		all = append(all, info)
		worst = worse(worst, info.AggregatedStatus)
	}
	if len(all) == 0 {
		return c.healthAnswer(http.StatusNotFound, "ServiceName "+name+" Not Found", all)
	}
	slices.SortFunc(all, func(a, b healthInfo) int { return compare(a.Service.ID, b.Service.ID) })
	return c.healthAnswer(statusCode(worst), string(worst), all)
}

// worse returns the state that is further from passing.
func worse(a, b catalog.Status) catalog.Status {
	order := []catalog.Status{catalog.Passing, catalog.Warning, catalog.Critical, catalog.Maintenance}
	if slices.Index(order, b) > slices.Index(order, a) {
		return b
	}
	return a
}

func (c *call) healthAnswer(status int, reason string, body any) error {
	c.w.Header().Set(headerReason, reason)
	if c.param("format") == "text" {
		return c.text(status, "text/plain", reason)
	}
	return c.jsonWith(status, body)
}

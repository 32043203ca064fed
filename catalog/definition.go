package catalog

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// ServiceDefinition is a service as a definition file or an agent registration gives it.
// Source: https://developer.hashicorp.com/consul/docs/reference/service
type ServiceDefinition struct {
	Kind              Kind                      `json:",omitempty"`
	ID                string                    `json:",omitempty"`
	Name              string                    `json:",omitempty"`
	Tags              []string                  `json:",omitempty"`
	Address           string                    `json:",omitempty"`
	TaggedAddresses   map[string]ServiceAddress `json:",omitempty"`
	Meta              map[string]string         `json:",omitempty"`
	Port              int                       `json:",omitempty"`
	Ports             []ServicePort             `json:",omitempty"`
	SocketPath        string                    `json:",omitempty"`
	Check             *AgentCheck               `json:",omitempty"`
	Checks            []*AgentCheck             `json:",omitempty"`
	Weights           *Weights                  `json:",omitempty"`
	Token             string                    `json:",omitempty"`
	EnableTagOverride bool                      `json:",omitempty"`
	Proxy             *Proxy                    `json:",omitempty"`
	Connect           *ServiceConnect           `json:",omitempty"`
	Locality          *Locality                 `json:",omitempty"`
}

// ServiceConnect is the connect block of a definition.
type ServiceConnect struct {
	Native         bool               `json:",omitempty"`
	SidecarService *ServiceDefinition `json:",omitempty"`
}

// Service returns the definition's service, normalized.
func (d *ServiceDefinition) Service() *Service {
	s := &Service{
		Kind: d.Kind, ID: d.ID, Service: d.Name, Tags: d.Tags, Address: d.Address, TaggedAddresses: d.TaggedAddresses,
		Meta: d.Meta, Port: d.Port, Ports: d.Ports, SocketPath: d.SocketPath, Weights: d.Weights,
		EnableTagOverride: d.EnableTagOverride, Proxy: d.Proxy, Locality: d.Locality,
	}
	if d.Connect != nil && d.Connect.Native {
		s.Connect = &Connect{Native: true}
	}
	s.Normalize()
	return s
}

// AllChecks returns the definition's checks in the order they were written, each with an id and a name:
// "service:<id>" and, where there are several, ":<number>" behind it. Those that are null are none.
func (d *ServiceDefinition) AllChecks() []*AgentCheck {
	given := slices.DeleteFunc(append([]*AgentCheck{d.Check}, d.Checks...), func(c *AgentCheck) bool { return c == nil })
	id := d.ID
	if id == "" {
		id = d.Name
	}
	checks := make([]*AgentCheck, len(given))
	for i, g := range given {
		c := *g
		c.ServiceID = id
		if c.CheckID == "" {
			c.CheckID = "service:" + id
			if len(given) > 1 {
				c.CheckID = fmt.Sprintf("service:%s:%d", id, i+1)
			}
		}
		if c.Name == "" {
			c.Name = fmt.Sprintf("Service '%s' check", d.Name)
		}
		checks[i] = &c
	}
	return checks
}

// AgentCheck is a check that an agent makes: what to do, how often, and how many results make a change.
// Source: https://developer.hashicorp.com/consul/docs/reference/service/health-check
type AgentCheck struct {
	CheckID   string `json:",omitempty"`
	Name      string `json:",omitempty"`
	Notes     string `json:",omitempty"`
	ServiceID string `json:",omitempty"`
	Token     string `json:",omitempty"`
	Status    Status `json:",omitempty"`

	CheckDefinition `mapstructure:",squash"`

	SuccessBeforePassing   int `json:",omitempty"`
	FailuresBeforeWarning  int `json:",omitempty"`
	FailuresBeforeCritical int `json:",omitempty"`
}

// MinDeregisterAfter is the shortest time after which a critical service can be removed.
const MinDeregisterAfter = time.Minute

// Validate checks that c defines exactly one way to check, with what that way needs.
func (c *AgentCheck) Validate() error {
	what := "check " + c.label()
	kinds := c.kinds()
	interval, ttl := time.Duration(c.Interval), time.Duration(c.TTL)
	switch {
	case len(kinds) == 0:
		return Errorf(Invalid, "%s does nothing: set one of http, tcp, udp, grpc, h2ping, ttl, args, os_service, alias_service, alias_node", what)
	case len(kinds) > 1:
		return Errorf(Invalid, "%s is of %d kinds (%s): set only one", what, len(kinds), strings.Join(kinds, ", "))
	case kinds[0] == "ttl" && ttl <= 0:
		return Errorf(Invalid, "%s: ttl %s must be more than 0", what, ttl)
	case kinds[0] == "docker" && len(c.ScriptArgs) == 0:
		return Errorf(Invalid, "%s: docker_container_id needs args to run in the container", what)
	case kinds[0] != "ttl" && kinds[0] != "alias" && interval <= 0:
		return Errorf(Invalid, "%s: a %s check needs an interval such as 10s", what, kinds[0])
	case c.Timeout < 0:
		return Errorf(Invalid, "%s: timeout %s is negative", what, c.Timeout)
	case c.Status != "" && !c.Status.Valid():
		return Errorf(Invalid, "%s: status %q is not passing, warning or critical", what, c.Status)
	case c.OutputMaxSize < 0:
		return Errorf(Invalid, "%s: output_max_size %d must be at least 1", what, c.OutputMaxSize)
	case c.SuccessBeforePassing < 0 || c.FailuresBeforeWarning < 0 || c.FailuresBeforeCritical < 0:
		return Errorf(Invalid, "%s: the counts before a change must not be negative", what)
	case c.FailuresBeforeCritical > 0 && c.FailuresBeforeWarning > c.FailuresBeforeCritical:
		return Errorf(Invalid, "%s: failures_before_warning %d must not be above failures_before_critical %d", what, c.FailuresBeforeWarning, c.FailuresBeforeCritical)
	}
	return nil
}

func (c *AgentCheck) label() string {
	if c.CheckID != "" {
		return fmt.Sprintf("%q", c.CheckID)
	}
	return fmt.Sprintf("%q", c.Name)
}

func (c *AgentCheck) kinds() []string {
	var kinds []string
	add := func(kind string, set bool) {
		if set {
			kinds = append(kinds, kind)
		}
	}
	add("http", c.HTTP != "")
	add("tcp", c.TCP != "")
	add("udp", c.UDP != "")
	add("grpc", c.GRPC != "")
	add("h2ping", c.H2PING != "")
	add("ttl", c.TTL != 0)
	add("os_service", c.OSService != "")
	add("docker", c.DockerContainerID != "")
	add("script", c.DockerContainerID == "" && len(c.ScriptArgs) > 0)
	add("alias", c.AliasNode != "" || c.AliasService != "")
	return kinds
}

// Kind is the way c checks: "http", "ttl", "script" and so on, "" when it defines none.
func (c *AgentCheck) Kind() string {
	if kinds := c.kinds(); len(kinds) > 0 {
		return kinds[0]
	}
	return ""
}

// Check returns the check's first state in the catalog, normalized. Type is the kind of check, the
// definition itself stays with the agent.
func (c *AgentCheck) Check(node string) *Check {
	check := &Check{
		Node: node, CheckID: c.CheckID, Name: c.Name, Status: c.Status, Notes: c.Notes, ServiceID: c.ServiceID, Type: c.Kind(),
	}
	if c.Interval != 0 {
		check.Interval = c.Interval.String()
	}
	if c.Timeout != 0 {
		check.Timeout = c.Timeout.String()
	}
	check.Normalize()
	return check
}

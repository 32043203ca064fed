package catalog

import (
	"maps"
	"reflect"
	"slices"
)

// Status is the state of a check.
type Status string

// The states a check can be in; Any is for queries only.
const (
	Passing     Status = "passing"
	Warning     Status = "warning"
	Critical    Status = "critical"
	Maintenance Status = "maintenance" // only as the aggregate of several checks
	Any         Status = "any"
)

// Valid reports whether a check may be in state s.
func (s Status) Valid() bool { return s == Passing || s == Warning || s == Critical }

// Checks that the product makes itself.
const (
	SerfHealth         = "serfHealth"
	SerfHealthName     = "Serf Health Status"
	NodeMaintenance    = "_node_maintenance"
	ServiceMaintenance = "_service_maintenance:" // followed by the service's ID
)

// MaxCheckOutput is how many bytes of a check's output are kept.
const MaxCheckOutput = 4096

// Check is the result of a health check of a node or of one of its services.
type Check struct {
	Node        string
	CheckID     string
	Name        string
	Status      Status
	Notes       string
	Output      string
	ServiceID   string
	ServiceName string
	ServiceTags []string
	Type        string
	Interval    string
	Timeout     string
	ExposedPort int
	Definition  *CheckDefinition
	PeerName    string `json:",omitempty"`
	CreateIndex uint64
	ModifyIndex uint64
}

// CheckDefinition says how a registered check is made, for those who make checks of others' nodes.
type CheckDefinition struct {
	HTTP                           string              `json:",omitempty"`
	TLSServerName                  string              `json:",omitempty"`
	TLSSkipVerify                  bool                `json:",omitempty"`
	Header                         map[string][]string `json:",omitempty"`
	Method                         string              `json:",omitempty"`
	Body                           string              `json:",omitempty"`
	DisableRedirects               bool                `json:",omitempty"`
	TCP                            string              `json:",omitempty"`
	TCPUseTLS                      bool                `json:",omitempty"`
	UDP                            string              `json:",omitempty"`
	H2PING                         string              `json:",omitempty"`
	H2PingUseTLS                   *bool               `json:",omitempty"` // nil is true
	GRPC                           string              `json:",omitempty"`
	GRPCUseTLS                     bool                `json:",omitempty"`
	OSService                      string              `json:",omitempty"`
	ScriptArgs                     []string            `json:",omitempty"`
	DockerContainerID              string              `json:",omitempty"`
	Shell                          string              `json:",omitempty"`
	AliasNode                      string              `json:",omitempty"`
	AliasService                   string              `json:",omitempty"`
	Interval                       Duration            `json:",omitempty"`
	Timeout                        Duration            `json:",omitempty"`
	TTL                            Duration            `json:",omitempty"`
	DeregisterCriticalServiceAfter Duration            `json:",omitempty"`
	OutputMaxSize                  int                 `json:",omitempty"`
}

var plainDefinition = &CheckDefinition{}

// Normalize fills what a registration may leave out. It does not change what c points to.
func (c *Check) Normalize() {
	if c.CheckID == "" {
		c.CheckID = c.Name
	}
	if c.Status == "" {
		c.Status = Critical
	}
	if c.Definition == nil || reflect.ValueOf(c.Definition).Elem().IsZero() {
		c.Definition = plainDefinition
	}
	if c.Type == "" {
		c.Type = c.Definition.Type()
	}
	if c.ServiceTags == nil {
		c.ServiceTags = []string{}
	}
}

// Type names the kind of check that d defines: "http", "tcp", "ttl" and so on, "" when it defines none.
func (d *CheckDefinition) Type() string {
	switch {
	case d.HTTP != "":
		return "http"
	case d.TCP != "":
		return "tcp"
	case d.UDP != "":
		return "udp"
	case d.GRPC != "":
		return "grpc"
	case d.H2PING != "":
		return "h2ping"
	case d.OSService != "":
		return "os_service"
	case d.DockerContainerID != "" && len(d.ScriptArgs) > 0:
		return "docker"
	case len(d.ScriptArgs) > 0:
		return "script"
	case d.AliasNode != "" || d.AliasService != "":
		return "alias"
	case d.TTL != 0:
		return "ttl"
	}
	return ""
}

// Validate checks a normalized check.
func (c *Check) Validate() error {
	if c.CheckID == "" {
		return Errorf(Invalid, "check has no id: set CheckID or Name")
	}
	if !c.Status.Valid() {
		return Errorf(Invalid, "check %q: status %q is not passing, warning or critical", c.CheckID, c.Status)
	}
	return nil
}

// Same reports whether two normalized checks say the same, their indexes left aside.
func (c *Check) Same(o *Check) bool {
	return c.Node == o.Node && c.CheckID == o.CheckID && c.Name == o.Name && c.Status == o.Status && c.Notes == o.Notes &&
		c.Output == o.Output && c.ServiceID == o.ServiceID && c.ServiceName == o.ServiceName && slices.Equal(c.ServiceTags, o.ServiceTags) &&
		c.Type == o.Type && c.Interval == o.Interval && c.Timeout == o.Timeout && c.ExposedPort == o.ExposedPort &&
		c.PeerName == o.PeerName && c.Definition.Same(o.Definition)
}

// Same reports whether two definitions define the same check.
func (d *CheckDefinition) Same(o *CheckDefinition) bool {
	if d == o {
		return true
	}
	a, b := *d, *o
	same := maps.EqualFunc(a.Header, b.Header, slices.Equal[[]string]) && slices.Equal(a.ScriptArgs, b.ScriptArgs)
	a.Header, b.Header, a.ScriptArgs, b.ScriptArgs = nil, nil, nil, nil
	return same && reflect.DeepEqual(a, b)
}

// Aggregate is the state of a whole that has these checks: the worst of them, Maintenance before all.
func Aggregate(checks []*Check) Status {
	worst := Passing
	for _, c := range checks {
		if c.CheckID == NodeMaintenance || len(c.CheckID) >= len(ServiceMaintenance) && c.CheckID[:len(ServiceMaintenance)] == ServiceMaintenance {
			return Maintenance
		}
		switch {
		case c.Status == Critical:
			worst = Critical
		case c.Status == Warning && worst == Passing:
			worst = Warning
		}
	}
	return worst
}

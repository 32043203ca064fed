package catalog

import (
	"regexp"
	"slices"
	"strings"
	"time"
)

// PreparedQuery is a stored question for the instances of a service, asked by its id or its name. It ends
// with its session, if it has one.
// Source: https://developer.hashicorp.com/consul/api-docs/query
type PreparedQuery struct {
	ID      string
	Name    string
	Session string
	// Token is the ACL token that it is run with, empty for that of whoever runs it.
	Token       string
	Template    QueryTemplate
	Service     QueryService
	DNS         QueryDNS
	CreateIndex uint64
	ModifyIndex uint64
}

// QueryTemplate makes a query serve every name that begins with its own.
type QueryTemplate struct {
	Type            string // NamePrefixMatch, or empty for a query that serves its own name only
	Regexp          string // RE2, for what ${match(N)} stands for
	RemoveEmptyTags bool
}

// NamePrefixMatch is the one type of template.
const NamePrefixMatch = "name_prefix_match"

// QueryService selects instances.
type QueryService struct {
	Service        string
	Namespace      string `json:",omitempty"` // "default", which is the only one, or empty
	Partition      string `json:",omitempty"` // the same
	SamenessGroup  string
	Failover       QueryFailover
	OnlyPassing    bool // without those that have a warning
	IgnoreCheckIDs []string
	Near           string   // sort by round-trip time from this node, NearAgent or NearIP
	Tags           []string // all of which an instance must have, and none of those that begin with "!"
	NodeMeta       map[string]string
	ServiceMeta    map[string]string
	Connect        bool // what mesh connections to the service reach, not the service itself
	Peer           string
}

// Places to be near to that are no names of nodes.
const (
	NearAgent = "_agent" // the agent that runs the query
	NearIP    = "_ip"    // the node with the address of who asks that agent
)

// QueryFailover says where else to look when there is no healthy instance.
type QueryFailover struct {
	NearestN    int      // so many datacenters, the nearest first
	Datacenters []string // then these
	Targets     []QueryTarget
}

// Elsewhere lists where a query fails over to that is run in the datacenter own, each datacenter once. abroad are the others,
// the nearest first.
func (f *QueryFailover) Elsewhere(own string, abroad []string) []QueryTarget {
	if len(f.Targets) > 0 {
		return f.Targets
	}
	var all []QueryTarget
	for _, dc := range slices.Concat(abroad[:min(f.NearestN, len(abroad))], f.Datacenters) {
		t := QueryTarget{Datacenter: dc}
		if dc != own && !slices.Contains(all, t) {
			all = append(all, t)
		}
	}
	return all
}

// QueryTarget is a datacenter or a cluster peer.
type QueryTarget struct {
	Peer       string `json:",omitempty"`
	PeerName   string `json:",omitempty"` // the same, as the documentation calls it
	Datacenter string `json:",omitempty"`
	Namespace  string `json:",omitempty"`
	Partition  string `json:",omitempty"`
}

// QueryDNS configures answers over DNS.
type QueryDNS struct {
	TTL string // takes precedence over the agent's; empty for that
}

// maxQueryName is the longest name in bytes: longer ones cannot be asked for over DNS.
const maxQueryName = 255

// Templated reports whether q serves every name that begins with its own.
func (q *PreparedQuery) Templated() bool { return q.Template.Type != "" }

// Lifetime is the TTL of answers over DNS; false when it is the agent's to say.
func (d QueryDNS) Lifetime() (time.Duration, bool) {
	ttl, err := time.ParseDuration(d.TTL)
	return ttl, d.TTL != "" && err == nil
}

// Normalize makes one of the ways to say the same. It changes neither lists nor maps that q points to.
func (q *PreparedQuery) Normalize() {
	plain := func(tenancy *string) {
		if *tenancy == "default" {
			*tenancy = ""
		}
	}
	plain(&q.Service.Namespace)
	plain(&q.Service.Partition)
	targets := q.Service.Failover.Targets
	if len(targets) == 0 {
		return
	}
	q.Service.Failover.Targets = make([]QueryTarget, len(targets))
	for i, t := range targets {
		if t.Peer == "" {
			t.Peer = t.PeerName
		}
		if t.PeerName == t.Peer {
			t.PeerName = ""
		}
		plain(&t.Namespace)
		plain(&t.Partition)
		q.Service.Failover.Targets[i] = t
	}
}

// Validate checks a normalized query.
func (q *PreparedQuery) Validate() error {
	switch {
	case q.Name == "" && q.Session == "" && !q.Templated():
		return Errorf(Invalid, "prepared query has neither a name nor a session: nobody would find it again")
	case len(q.Name) > maxQueryName:
		return Errorf(Invalid, "prepared query: name %.20q… has %d bytes: at most %d are allowed", q.Name, len(q.Name), maxQueryName)
	case strings.ContainsFunc(q.Name, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd }):
		return Errorf(Invalid, "prepared query: name %q holds characters that cannot be shown", q.Name)
	case IsUUID(q.Name):
		return Errorf(Invalid, "prepared query: name %q looks like an id: it could be taken for that of another query", q.Name)
	case q.Service.Service == "":
		return Errorf(Invalid, "prepared query %q: missing service name: set Service.Service", q.Name)
	}
	if err := q.Service.validate(); err != nil {
		return Errorf(Invalid, "prepared query %q: %w", q.Name, err)
	}
	if err := q.DNS.validate(); err != nil {
		return Errorf(Invalid, "prepared query %q: %w", q.Name, err)
	}
	if err := q.validateTemplate(); err != nil {
		return Errorf(Invalid, "prepared query %q: %w", q.Name, err)
	}
	return nil
}

// maxTTL is the longest time that a record may be kept. Source: RFC 2181, section 8.
const maxTTL = (1<<31 - 1) * time.Second

func (d QueryDNS) validate() error {
	if d.TTL == "" {
		return nil
	}
	ttl, err := time.ParseDuration(d.TTL)
	if err != nil {
		return Errorf(Invalid, "DNS.TTL %q is no duration: want a number with a unit, such as 10s", d.TTL)
	}
	if ttl < 0 {
		return Errorf(Invalid, "DNS.TTL %s is below zero", d.TTL)
	}
	if ttl > maxTTL {
		return Errorf(Invalid, "DNS.TTL %s is above %s, the longest that DNS has", d.TTL, maxTTL)
	}
	return nil
}

func (s *QueryService) validate() error {
	if err := onlyTenancy(s.Namespace, s.Partition); err != nil {
		return err
	}
	f := &s.Failover
	switch {
	case slices.Contains(f.Datacenters, ""):
		return Errorf(Invalid, "Failover.Datacenters holds an empty name")
	case f.NearestN < 0:
		return Errorf(Invalid, "Failover.NearestN is %d: it cannot be below zero", f.NearestN)
	case len(f.Targets) > 0 && (f.NearestN > 0 || len(f.Datacenters) > 0):
		return Errorf(Invalid, "Failover.Targets cannot be combined with Failover.NearestN or Failover.Datacenters: write the datacenters as targets")
	case s.SamenessGroup != "" && (f.NearestN > 0 || len(f.Datacenters)+len(f.Targets) > 0):
		return Errorf(Invalid, "SamenessGroup cannot be combined with Failover: the group says where to fail over to")
	case s.SamenessGroup != "" && s.Peer != "":
		return Errorf(Invalid, "SamenessGroup cannot be combined with Peer")
	}
	for i, t := range f.Targets {
		switch {
		case t.PeerName != "":
			return Errorf(Invalid, "Failover.Targets[%d] names two peers, %q and %q", i, t.Peer, t.PeerName)
		case t.Peer == "" && t.Datacenter == "":
			return Errorf(Invalid, "Failover.Targets[%d] has neither Peer nor Datacenter", i)
		case t.Peer != "" && t.Datacenter != "":
			return Errorf(Invalid, "Failover.Targets[%d] has both Peer %q and Datacenter %q", i, t.Peer, t.Datacenter)
		}
		if err := onlyTenancy(t.Namespace, t.Partition); err != nil {
			return Errorf(Invalid, "Failover.Targets[%d]: %w", i, err)
		}
	}
	return nil
}

// onlyTenancy refuses other tenancies than the one there is.
func onlyTenancy(namespace, partition string) error {
	if namespace != "" || partition != "" {
		return Errorf(Invalid, "namespace %q, partition %q: there is only \"default\"", namespace, partition)
	}
	return nil
}

func (q *PreparedQuery) validateTemplate() error {
	t := &q.Template
	switch {
	case t.Type == "" && t.Regexp != "":
		return Errorf(Invalid, "Template.Regexp needs Template.Type %q", NamePrefixMatch)
	case t.Type == "":
		return nil
	case t.Type != NamePrefixMatch:
		return Errorf(Invalid, "Template.Type %q is unknown: want %q", t.Type, NamePrefixMatch)
	}
	if _, err := regexp.Compile(t.Regexp); err != nil {
		return Errorf(Invalid, "Template.Regexp: %w", err)
	}
	_, err := q.Render(q.Name, "")
	return err
}

// Selects reports whether a query chooses an instance of its service. A check that it ignores does not
// count, whatever it says.
func (s *QueryService) Selects(i *Instance) bool {
	for _, tag := range s.Tags {
		unwanted, not := strings.CutPrefix(tag, "!")
		if not && i.Service.HasTag(unwanted) || !not && !i.Service.HasTag(tag) {
			return false
		}
	}
	if !HasPairs(i.Node.Meta, s.NodeMeta) || !HasPairs(i.Service.Meta, s.ServiceMeta) {
		return false
	}
	switch i.StatusWithout(s.IgnoreCheckIDs) {
	case Passing:
		return true
	case Warning:
		return !s.OnlyPassing
	}
	return false
}

package sidecar

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect/proxy"
)

// Views of a proxy, by which Show answers.
const (
	ViewStatus    = "status"
	ViewConfig    = "config"
	ViewClusters  = "clusters"
	ViewEndpoints = "endpoints"
)

// Status is how a proxy does.
type Status struct {
	// Version is that of the snapshot in use, since Since, and Wanted the newest that the agent has made: they differ
	// while the proxy is behind. Wanted is 0 where no agent says.
	Version uint64
	Wanted  uint64 `json:",omitempty"`
	Synced  bool
	Since   time.Time
	Process *Process `json:",omitempty"` // nil where the proxy runs in the agent
	// Waiting are the sidecars that the proxy has not been told of, and what the agent waits for, by id.
	Waiting   map[string][]string `json:",omitempty"`
	Sidecars  []SidecarStatus
	Listeners []ListenerStatus
}

// Process is the process that a proxy runs in.
type Process struct {
	Pid      int
	Build    string
	Started  time.Time
	Attached bool // an agent is there
}

// SidecarStatus is what a sidecar shows to others.
type SidecarStatus struct {
	ID, Service string
	Serial      string
	ValidBefore time.Time
	Expired     bool
}

// ListenerStatus is a listener, open or not.
type ListenerStatus struct {
	Name, Network, Address string
	Protocol               string
	Open                   bool
	Error                  string `json:",omitempty"`
}

// ClusterStatus is a target of a listener, with what has passed to it.
type ClusterStatus struct {
	Listener, Target  string
	Identities        []string `json:",omitempty"` // one of which its endpoints have to prove to be
	Endpoints, Usable int
	Error             string `json:",omitempty"` // why nothing is known of its endpoints
	Panics            bool   // so few are in service that all get traffic
	BreakerOpen       bool
	BreakerReason     string `json:",omitempty"`
	Connections       int    // at present, as Requests and Pending
	Requests, Pending int
	Total, Failures   uint64 // exchanges and connections; requests with status 500 and above, or without one
	Ejections         uint64 // of endpoints that were taken out of service
	Overflows         uint64 // requests above a limit
}

// EndpointStatus is an endpoint of a target.
type EndpointStatus struct {
	Listener, Target string
	Address          string
	Node, ID         string         `json:",omitempty"`
	Status           catalog.Status `json:",omitempty"` // of its checks
	State            string         // in service, silent, ejected, unhealthy or on trial
	Reason           string         `json:",omitempty"`
	Left             catalog.Duration
	Weight           uint32
	Level            uint8 // how far away: 0 in the same zone or unknown, 1 in the same region, 2 elsewhere
	Active           int64
	Latency          catalog.Duration
}

// Show answers with a view of the proxy and the index to wait for another with: it blocks while the index is the one
// given, no longer than wait.
func (r *Runner) Show(ctx context.Context, view string, index uint64, wait time.Duration) (any, uint64, error) {
	over := time.NewTimer(wait)
	defer over.Stop()
	for index > 0 {
		r.mu.Lock()
		at, changed := r.turn, r.changed
		r.mu.Unlock()
		if at != index {
			break
		}
		select {
		case <-changed:
		case <-over.C:
			index = 0
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch view {
	case ViewStatus:
		return r.status(), r.turn, nil
	case ViewConfig:
		s, err := r.snapshot()
		if s == nil {
			return &Snapshot{Sidecars: []*Sidecar{}}, r.turn, err
		}
		return s.Public(), r.turn, nil
	case ViewClusters:
		all, err := r.clusters()
		return all, r.turn, err
	case ViewEndpoints:
		all, err := r.endpoints()
		return all, r.turn, err
	}
	return nil, 0, catalog.Errorf(catalog.NotFound, "no view %q of the proxy: want status, config, clusters or endpoints", view)
}

func (r *Runner) status() *Status {
	s := &Status{Synced: true, Since: r.since, Sidecars: []SidecarStatus{}, Listeners: []ListenerStatus{}}
	s.Version = r.version
	for _, side := range r.sides {
		s.Sidecars = append(s.Sidecars, SidecarStatus{
			ID: side.id, Service: side.service, Serial: side.serial, ValidBefore: side.until, Expired: time.Now().After(side.until),
		})
	}
	for _, l := range r.opened {
		s.Listeners = append(s.Listeners, ListenerStatus{Name: l.Name, Network: l.Network, Address: l.Address, Protocol: protocolName(l.Protocol), Open: true})
	}
	for _, name := range slices.Sorted(maps.Keys(r.problems)) {
		s.Listeners = append(s.Listeners, ListenerStatus{Name: name, Error: r.problems[name].Error()})
	}
	return s
}

func protocolName(p proxy.Protocol) string {
	switch p {
	case proxy.HTTP:
		return "http"
	case proxy.SNI:
		return "sni"
	}
	return "tcp"
}

// known are the targets of the snapshot by listener and name, as the proxy names them.
func (r *Runner) known() (map[[2]string]*Target, error) {
	s, err := r.snapshot()
	if s == nil {
		return nil, err
	}
	all := map[[2]string]*Target{}
	for _, side := range s.Sidecars {
		for i := range side.Service.Proxy.Upstreams {
			u := &side.Service.Proxy.Upstreams[i]
			if known := side.Upstreams[wantOf(side.Service.Proxy, u, side.Defaults).Key()]; known != nil {
				for id, t := range known.Targets {
					all[[2]string{upstreamName(side, u), cmp.Or(id, u.DestinationName)}] = t
				}
			}
		}
	}
	return all, nil
}

// pools are the targets of the proxy, by listener and name.
func (r *Runner) pools() []proxy.Cluster {
	all := r.proxy.Clusters()
	slices.SortFunc(all, func(a, b proxy.Cluster) int {
		return cmp.Or(cmp.Compare(a.Listener, b.Listener), cmp.Compare(a.Name, b.Name))
	})
	return all
}

func (r *Runner) clusters() ([]ClusterStatus, error) {
	known, err := r.known()
	if err != nil {
		return nil, err
	}
	edges := map[[2]string]proxy.Edge{}
	for _, e := range r.proxy.Edges() {
		edges[[2]string{e.Listener, e.Target}] = e
	}
	all := []ClusterStatus{}
	for _, p := range r.pools() {
		e := edges[[2]string{p.Listener, p.Name}]
		c := ClusterStatus{
			Listener: p.Listener, Target: p.Name, Endpoints: len(p.Endpoints), Panics: p.Panics, BreakerOpen: p.BreakerOpen, BreakerReason: p.BreakerReason,
			Connections: p.Connections, Requests: p.Requests, Pending: p.Pending, Ejections: p.Ejections, Overflows: p.Overflows,
			Total: e.Requests + e.Conns, Failures: e.Classes[5] + e.Classes[0],
		}
		for _, s := range p.Endpoints {
			if s.State == inService {
				c.Usable++
			}
		}
		if t := known[[2]string{p.Listener, p.Name}]; t != nil {
			if c.Error = t.Error; t.Gateways != nil {
				c.Error = cmp.Or(c.Error, t.Gateways.Error)
			}
			for _, id := range t.Identities {
				id.TrustDomain = cmp.Or(id.TrustDomain, r.mesh.roots.TrustDomain)
				c.Identities = append(c.Identities, id.String())
			}
		}
		all = append(all, c)
	}
	return all, nil
}

// inService is the state of an endpoint that gets traffic.
const inService = "in service"

func (r *Runner) endpoints() ([]EndpointStatus, error) {
	known, err := r.known()
	if err != nil {
		return nil, err
	}
	all := []EndpointStatus{}
	for _, p := range r.pools() {
		for _, s := range p.Endpoints {
			e := EndpointStatus{
				Listener: p.Listener, Target: p.Name, Address: s.Key, State: s.State, Reason: s.Reason, Left: catalog.Duration(s.Left),
				Weight: s.Weight, Level: s.Level, Active: s.Active, Latency: catalog.Duration(s.Latency),
			}
			if t := known[[2]string{p.Listener, p.Name}]; t != nil {
				for _, k := range t.Reached() {
					if k.Address == strings.TrimPrefix(s.Key, "unix:") {
						e.Node, e.ID, e.Status = k.Node, k.ID, k.Status
					}
				}
			}
			all = append(all, e)
		}
	}
	return all, nil
}

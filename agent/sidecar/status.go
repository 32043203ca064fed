package sidecar

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect"
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
	Version   uint64
	Wanted    uint64 `json:",omitempty"`
	Synced    bool
	Since     time.Time
	Process   *Process `json:",omitempty"` // nil where the proxy runs in the agent
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
	Identities        []string `json:",omitempty"`
	Endpoints, Usable int
	Error             string `json:",omitempty"`
	Requests, Conns   uint64
	Failures          uint64 // requests with status 500 and above, or without one
	Active            int64
}

// EndpointStatus is an endpoint of a target.
type EndpointStatus struct {
	Listener, Target string
	Address          string
	Node, ID         string
	Status           catalog.Status
	Weight           int
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
		if r.snapshot == nil {
			return &Snapshot{Sidecars: []*Sidecar{}}, r.turn, nil
		}
		return r.snapshot.Public(), r.turn, nil
	case ViewClusters:
		return r.clusters(), r.turn, nil
	case ViewEndpoints:
		return r.endpoints(), r.turn, nil
	}
	return nil, 0, catalog.Errorf(catalog.NotFound, "no view %q of the proxy: want status, config, clusters or endpoints", view)
}

func (r *Runner) status() *Status {
	s := &Status{Synced: true, Since: r.since, Sidecars: []SidecarStatus{}, Listeners: []ListenerStatus{}}
	if r.snapshot != nil {
		s.Version = r.snapshot.Version
		for _, side := range r.snapshot.Sidecars {
			s.Sidecars = append(s.Sidecars, SidecarStatus{
				ID: side.Service.ID, Service: side.Service.Proxy.DestinationServiceName, Serial: side.Leaf.SerialNumber,
				ValidBefore: side.Leaf.ValidBefore, Expired: time.Now().After(side.Leaf.ValidBefore),
			})
		}
	}
	for _, l := range r.opened {
		s.Listeners = append(s.Listeners, ListenerStatus{Name: l.Name, Network: l.Network, Address: l.Address, Protocol: protocolName(l.Protocol), Open: true})
	}
	for _, name := range slices.Sorted(maps.Keys(r.problems)) {
		s.Listeners = append(s.Listeners, ListenerStatus{Name: name, Error: r.problems[name]})
	}
	return s
}

func protocolName(p proxy.Protocol) string {
	if p == proxy.HTTP {
		return "http"
	}
	return "tcp"
}

// shownTarget is a target of a listener that is open.
type shownTarget struct {
	listener, name string
	*Target
}

// targets are those of all upstreams.
func (r *Runner) targets() []shownTarget {
	var all []shownTarget
	if r.snapshot == nil {
		return nil
	}
	for _, side := range r.snapshot.Sidecars {
		for i := range side.Service.Proxy.Upstreams {
			u := &side.Service.Proxy.Upstreams[i]
			known := side.Upstreams[wantOf(u, side.Defaults).Key()]
			if known == nil {
				continue
			}
			for _, id := range slices.Sorted(maps.Keys(known.Targets)) {
				all = append(all, shownTarget{upstreamName(side, u), cmp.Or(id, u.DestinationName), known.Targets[id]})
			}
		}
	}
	return all
}

func (r *Runner) clusters() []ClusterStatus {
	all := []ClusterStatus{}
	edges := map[[2]string]proxy.Edge{}
	for _, e := range r.proxy.Edges() {
		edges[[2]string{e.Listener, e.Target}] = e
	}
	add := func(c ClusterStatus) {
		e := edges[[2]string{c.Listener, c.Target}]
		c.Requests, c.Conns, c.Active, c.Failures = e.Requests, e.Conns, e.Active, e.Classes[5]+e.Classes[0]
		all = append(all, c)
	}
	if r.snapshot != nil {
		for _, side := range r.snapshot.Sidecars {
			add(ClusterStatus{Listener: inboundName(side), Target: "local", Endpoints: 1, Usable: 1})
		}
	}
	for _, t := range r.targets() {
		c := ClusterStatus{Listener: t.listener, Target: t.name, Endpoints: len(t.Endpoints), Usable: len(t.Endpoints), Error: t.Error}
		for _, id := range t.Identities {
			c.Identities = append(c.Identities, r.full(id))
		}
		add(c)
	}
	return all
}

// full is an identity with the trust domain.
func (r *Runner) full(id connect.ID) string {
	id.TrustDomain = r.snapshot.Roots.TrustDomain
	return id.String()
}

func (r *Runner) endpoints() []EndpointStatus {
	all := []EndpointStatus{}
	for _, t := range r.targets() {
		for _, e := range t.Endpoints {
			all = append(all, EndpointStatus{
				Listener: t.listener, Target: t.name, Address: e.Address, Node: e.Node, ID: e.ID, Status: e.Status, Weight: e.Weight,
			})
		}
	}
	return all
}

// Package event carries user events over gossip: it sends them, decides which concern this node, and
// keeps the newest.
package event

import (
	"encoding/binary"
	"fmt"
	"regexp"
	"sync"

	"github.com/hashicorp/go-uuid"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
)

const (
	// kept is how many events are remembered.
	// Source: https://developer.hashicorp.com/consul/api-docs/event
	kept = 256
	// version of the encoding.
	version = 1
	// prefix tells user events from others on the same gossip.
	prefix = "curia:event:"
)

// Gossip spreads a message to all nodes.
type Gossip interface {
	UserEvent(name string, payload []byte, coalesce bool) error
}

// Local is what filters ask of the node.
type Local interface {
	NodeName() string
	// ServiceTags returns the tags of each local instance of a service whose name matches.
	ServiceTags(match func(service string) bool) [][]string
}

// wire is an event as it crosses gossip.
type wire struct {
	ID, Name                             string
	Payload                              []byte
	NodeFilter, ServiceFilter, TagFilter string
	Version                              int
}

// Validate checks what an event may say.
func Validate(e *catalog.Event) error {
	if e.Name == "" {
		return catalog.Errorf(catalog.Invalid, "event has no name")
	}
	if e.TagFilter != "" && e.ServiceFilter == "" {
		return catalog.Errorf(catalog.Invalid, "event %q: a tag filter needs a service filter", e.Name)
	}
	for what, filter := range map[string]string{"node": e.NodeFilter, "service": e.ServiceFilter, "tag": e.TagFilter} {
		if _, err := regexp.Compile(filter); err != nil {
			return catalog.Errorf(catalog.Invalid, "event %q: %s filter: %w", e.Name, what, err)
		}
	}
	return nil
}

// Fire gives the event an id and sends it to all nodes, this one included.
func Fire(g Gossip, e *catalog.Event) error {
	if err := Validate(e); err != nil {
		return err
	}
	id, err := uuid.GenerateUUID()
	if err != nil {
		return fmt.Errorf("event id: %w", err)
	}
	e.ID, e.Version = id, version
	payload, err := rpc.Encode(&wire{e.ID, e.Name, e.Payload, e.NodeFilter, e.ServiceFilter, e.TagFilter, e.Version})
	if err != nil {
		return fmt.Errorf("event %q: %w", e.Name, err)
	}
	if err := g.UserEvent(prefix+e.Name, payload, false); err != nil {
		return catalog.Errorf(catalog.Invalid, "event %q: %w", e.Name, err)
	}
	return nil
}

// Ring keeps the newest events that concern this node.
type Ring struct {
	local Local

	mu      sync.Mutex
	events  []*catalog.Event
	changed chan struct{}
}

// NewRing returns an empty ring.
func NewRing(local Local) *Ring { return &Ring{local: local, changed: make(chan struct{})} }

// Receive takes a message of gossip, and returns the event if it is one that concerns this node.
func (r *Ring) Receive(name string, ltime uint64, payload []byte) (*catalog.Event, error) {
	if len(name) < len(prefix) || name[:len(prefix)] != prefix {
		return nil, nil
	}
	var w wire
	if err := rpc.Decode(payload, &w); err != nil {
		return nil, fmt.Errorf("user event %q: %w", name, err)
	}
	e := &catalog.Event{
		ID: w.ID, Name: w.Name, Payload: w.Payload, NodeFilter: w.NodeFilter, ServiceFilter: w.ServiceFilter,
		TagFilter: w.TagFilter, Version: w.Version, LTime: ltime,
	}
	if e.Name != name[len(prefix):] || Validate(e) != nil { // it decides about who may read it
		return nil, fmt.Errorf("user event %q: it is malformed, or its sender is no agent of this kind", name)
	}
	concerns, err := r.concerns(e)
	if err != nil || !concerns {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.events) == kept {
		r.events = r.events[1:]
	}
	r.events = append(r.events[:len(r.events):len(r.events)], e)
	close(r.changed)
	r.changed = make(chan struct{})
	return e, nil
}

// concerns reports whether the event's filters select this node.
func (r *Ring) concerns(e *catalog.Event) (bool, error) {
	node, err := regexp.Compile(e.NodeFilter)
	if err != nil {
		return false, fmt.Errorf("user event %q: node filter: %w", e.Name, err)
	}
	if e.NodeFilter != "" && !node.MatchString(r.local.NodeName()) {
		return false, nil
	}
	if e.ServiceFilter == "" {
		return true, nil
	}
	service, err := regexp.Compile(e.ServiceFilter)
	if err != nil {
		return false, fmt.Errorf("user event %q: service filter: %w", e.Name, err)
	}
	tag, err := regexp.Compile(e.TagFilter)
	if err != nil {
		return false, fmt.Errorf("user event %q: tag filter: %w", e.Name, err)
	}
	for _, tags := range r.local.ServiceTags(service.MatchString) {
		if e.TagFilter == "" {
			return true, nil
		}
		for _, t := range tags {
			if tag.MatchString(t) {
				return true, nil
			}
		}
	}
	return false, nil
}

// List returns the events with a name, all for the empty one, oldest first; their index, which tells one
// newest event from another; and a channel that is closed with the next event.
func (r *Ring) List(name string) (events []*catalog.Event, index uint64, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	events = []*catalog.Event{}
	for _, e := range r.events {
		if name == "" || e.Name == name {
			events = append(events, e)
		}
	}
	if len(events) > 0 {
		index = indexOf(events[len(events)-1].ID)
	}
	return events, index, r.changed
}

// indexOf turns an event's id into the number that stands for it as an index. It says nothing about
// order.
func indexOf(id string) uint64 {
	b, err := uuid.ParseUUID(id)
	if err != nil {
		return 1
	}
	return max(1, binary.BigEndian.Uint64(b[:8])^binary.BigEndian.Uint64(b[8:]))
}

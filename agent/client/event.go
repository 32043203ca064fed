package client

import (
	"context"
	"net/http"

	"github.com/curia-mesh/curia/catalog"
)

// Event is the user events that gossip spreads.
// Source: https://developer.hashicorp.com/consul/api-docs/event
type Event struct{ c *Client }

// Event returns the calls of events.
func (c *Client) Event() Event { return Event{c} }

// Fire spreads an event to the nodes that match its filters and returns its id.
func (e Event) Fire(ctx context.Context, ev *catalog.Event, q Query) (string, error) {
	for _, p := range [][2]string{{"node", ev.NodeFilter}, {"service", ev.ServiceFilter}, {"tag", ev.TagFilter}} {
		if p[1] != "" {
			q = q.With(p[0], p[1])
		}
	}
	var fired catalog.Event
	_, err := e.c.Do(ctx, http.MethodPut, Path("event", "fire", ev.Name), q, ev.Payload, &fired)
	return fired.ID, err
}

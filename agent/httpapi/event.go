package httpapi

import (
	"slices"
	"strconv"
	"time"

	"github.com/curia-mesh/curia/agent/event"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/server/api"
)

func eventRoutes() []Route {
	return []Route{
		{Path: "/v1/event/fire/{name...}", Doc: "send a user event", ACL: "event:write", Methods: put(eventFire)},
		{Path: "/v1/event/list", Doc: "list the newest user events", ACL: "event:read", Methods: get(eventList)},
	}
}

// maxEvent bounds the body of an event before gossip has its say, which allows far less.
const maxEvent = 64 << 10

func eventFire(c *call) error {
	name, err := c.path("name", "event name")
	if err != nil {
		return err
	}
	payload, err := c.body(maxEvent)
	if err != nil {
		return err
	}
	if err := c.need(acl.Need{Resource: acl.Event, Name: name, Access: acl.Write}); err != nil {
		return err
	}
	e := &catalog.Event{Name: name, NodeFilter: c.param("node"), ServiceFilter: c.param("service"), TagFilter: c.param("tag")}
	if len(payload) > 0 {
		e.Payload = payload
	}
	if err := event.Validate(e); err != nil {
		return err
	}
	if dc := c.param("dc"); dc != "" && dc != c.api.config.Load().Datacenter {
		if _, _, err := send(c, api.EventFire, e); err != nil {
			return err
		}
		return c.json(e)
	}
	if err := c.api.Node.Fire(e); err != nil {
		return err
	}
	return c.json(e)
}

func eventList(c *call) error {
	h, err := c.header()
	if err != nil {
		return err
	}
	name := c.param("name")
	found, index, changed := c.api.Events.List(name)
	if h.MinIndex != 0 {
		over := time.NewTimer(waitSpan(h.MaxWait))
		defer over.Stop()
		ctx := c.untilEnd()
		for max(index, 1) == h.MinIndex {
			select {
			case <-changed:
				found, index, changed = c.api.Events.List(name)
				continue
			case <-over.C:
			case <-ctx.Done():
				return ctx.Err()
			}
			break
		}
	}
	sees, err := c.visible(acl.Event)
	if err != nil {
		return err
	}
	shown := slices.DeleteFunc(slices.Clone(found), func(e *catalog.Event) bool { return !sees(e.Name) })
	c.filtered(len(shown) < len(found))
	if shown == nil {
		shown = []*catalog.Event{}
	}
	c.w.Header()[headerIndex] = []string{strconv.FormatUint(max(index, 1), 10)}
	return c.json(shown)
}

// Bounds of a blocking request that the agent answers itself.
const (
	defaultWait = 5 * time.Minute
	maxWait     = 10 * time.Minute
)

func waitSpan(asked time.Duration) time.Duration {
	if asked <= 0 {
		return defaultWait
	}
	return min(asked, maxWait)
}

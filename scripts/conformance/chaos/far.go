//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/curia-mesh/curia/scripts/conformance/lab"
)

// roundTrip is how far datacenters are from one another.
const roundTrip = 50 * time.Millisecond

// world is datacenters that know one another, the primary one first. Tokens of each are checked, and whoever has none may do
// everything but look at tokens.
type world struct{ dcs []*cluster }

// management is the token that may do everything.
const management = "5ecfa1de-0000-4000-8000-000000000001"

// join makes the clusters one world.
func join(all []*cluster) *world {
	w := &world{all}
	var primary []string
	for _, s := range all[0].servers {
		primary = append(primary, s.host.Addr.String())
	}
	for i, c := range all {
		tokens := map[string]any{"replication": management, "agent": management}
		if i == 0 {
			tokens = map[string]any{"initial_management": management, "agent": management}
		}
		c.world, c.more = w, map[string]any{
			"datacenter": c.dc.Name, "primary_datacenter": all[0].dc.Name,
			"acl":       map[string]any{"enabled": true, "default_policy": "allow", "enable_token_replication": true, "tokens": tokens},
			"connect":   map[string]any{"enabled": true, "proxy": "agent"},
			"telemetry": map[string]any{"prometheus_retention_time": "1h"},
			// Nine servers share the machine, and no leader is to lose its place for that.
			"performance": map[string]any{"raft_multiplier": 5},
		}
		if i > 0 {
			c.more["retry_join_wan"] = primary
		}
	}
	return w
}

// begin starts the client agents and waits until every datacenter can be asked from every other one.
func (w *world) begin(ctx context.Context, binary string) error {
	for _, c := range w.dcs {
		more := c.more
		c.more = maps.Clone(more)
		delete(c.more, "retry_join_wan")
		if err := c.launch(c.agent, binary); err != nil {
			return err
		}
		c.more = more
	}
	return w.ready(ctx)
}

// ready waits until every datacenter can be asked from every other one, and has what the primary one has.
func (w *world) ready(ctx context.Context) error {
	mark := fmt.Sprint(time.Now().UnixNano())
	for _, c := range w.dcs {
		for _, other := range w.dcs {
			err := eventually(ctx, 2*settled, func(ctx context.Context) error {
				_, err := c.api.ask(ctx, c.agent, "PUT", fmt.Sprintf("/v1/kv/met/%s?dc=%s", c.dc.Name, other.dc.Name), []byte(mark))
				return err
			})
			if err != nil {
				return fmt.Errorf("%s is asked from %s: %w", other.dc.Name, c.dc.Name, err)
			}
		}
	}
	return eventually(ctx, 2*settled, w.copies)
}

// eventually does something again and again until it succeeds.
func eventually(ctx context.Context, limit time.Duration, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		once, stop := context.WithTimeout(ctx, patience)
		err := do(once)
		if stop(); err == nil {
			return nil
		}
		if pause(ctx, beat); ctx.Err() != nil {
			return fmt.Errorf("not within %s: %w", limit, err)
		}
	}
}

// others are all datacenters but one.
func (w *world) others(than *cluster) (list []*cluster) {
	return slices.DeleteFunc(slices.Clone(w.dcs), func(c *cluster) bool { return c == than })
}

// cutOff cuts a datacenter off from all others.
func (w *world) cutOff(c *cluster) error { return w.links(c, lab.Cut) }

// mend is the end of cutOff.
func (w *world) mend(c *cluster) error { return w.links(c, lab.Mend) }

func (w *world) links(c *cluster, change func(*lab.Link)) error {
	for _, other := range w.others(c) {
		if err := c.lab.SetSites(c.dc, other.dc, change); err != nil {
			return err
		}
	}
	return nil
}

// copied is what secondary datacenters have of the primary one, by the path that lists it.
var copied = []string{"/v1/acl/policies", "/v1/acl/tokens", "/v1/acl/roles", "/v1/config/service-defaults", "/v1/config/service-intentions", "/v1/config/service-resolver"}

// copies says whether all datacenters have the same of what is copied, each once.
func (w *world) copies(ctx context.Context) error {
	for _, path := range copied {
		var first map[string]string
		for i, c := range w.dcs {
			got, err := c.list(ctx, path)
			if err != nil {
				return err
			}
			if i == 0 {
				first = got
				continue
			}
			for id, text := range got {
				if was, ok := first[id]; !ok || was != text {
					return fmt.Errorf("%s: %s has %s, dc1 %q", path, c.dc.Name, text, was)
				}
			}
			for id := range first {
				if _, ok := got[id]; !ok {
					return fmt.Errorf("%s: %s lacks %s", path, c.dc.Name, id)
				}
			}
		}
	}
	return nil
}

// list is what a path lists, by what identifies each, without indexes, which are those of a datacenter. What is listed twice
// is an error.
func (c *cluster) list(ctx context.Context, path string) (map[string]string, error) {
	var rows []map[string]any
	if err := c.api.json(ctx, c.agent, "GET", path+"?token="+management, nil, &rows); err != nil {
		return nil, err
	}
	all := map[string]string{}
	for _, row := range rows {
		if local, _ := row["Local"].(bool); local {
			continue
		}
		id := ""
		for _, key := range []string{"AccessorID", "ID", "Name"} {
			if text, ok := row[key].(string); ok && id == "" {
				id = text
			}
		}
		delete(row, "CreateIndex")
		delete(row, "ModifyIndex")
		text, err := json.Marshal(row) // maps are written in the order of their keys
		if err != nil {
			return nil, err
		}
		if _, twice := all[id]; twice || id == "" {
			return nil, fmt.Errorf("%s at %s lists %q twice", path, c.dc.Name, id)
		}
		all[id] = string(text)
	}
	return all, nil
}

// lag is the longest time for which a copy of a datacenter may not be as the primary one is, as its leader says.
func (c *cluster) lag(ctx context.Context) (seconds float64, err error) {
	kinds := 0
	for _, s := range c.servers {
		all, err := c.metrics(ctx, s)
		if err != nil {
			return 0, err
		}
		for name, value := range all {
			if strings.HasPrefix(name, "consul_leader_replication_") && strings.HasSuffix(name, "_lag") {
				seconds, kinds = max(seconds, value), kinds+1
			}
		}
	}
	if kinds == 0 {
		return 0, fmt.Errorf("no server of %s tells how far its copies are", c.dc.Name)
	}
	return seconds, nil
}

// metrics are what an agent counts, by name and labels as Prometheus reads them.
func (c *cluster) metrics(ctx context.Context, s *server) (map[string]float64, error) {
	text, err := c.api.ask(ctx, s, "GET", "/v1/agent/metrics?format=prometheus&token="+management, nil)
	if err != nil {
		return nil, err
	}
	all := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		if at := strings.LastIndexByte(line, ' '); at > 0 && line[0] != '#' {
			if v, err := strconv.ParseFloat(strings.TrimSpace(line[at:]), 64); err == nil {
				all[line[:at]] = v
			}
		}
	}
	return all, nil
}

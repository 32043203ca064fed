package command

import (
	"context"
	"flag"
	"fmt"
	"strings"

	"github.com/curia-mesh/curia/catalog"
)

func rtt(f *flag.FlagSet) action {
	wan := f.Bool("wan", false, "Estimate between servers of any datacenters, named node.datacenter.")
	return func(ctx context.Context, c *call) error {
		a, b := c.args[0], ""
		if len(c.args) == 2 {
			b = c.args[1]
		} else {
			self, err := c.api.Agent().Self(ctx)
			if err != nil {
				return err
			}
			if b = self.Config.NodeName; *wan {
				b += "." + self.Config.Datacenter
			}
		}
		if *wan && (!strings.Contains(a, ".") || !strings.Contains(b, ".")) {
			return usage("-wan needs names of the form node.datacenter")
		}
		from, to, err := c.coordinates(ctx, *wan, a, b)
		if err != nil {
			return err
		}
		which := "LAN"
		if *wan {
			which = "WAN"
		}
		c.say("Estimated %s <-> %s rtt: %.3f ms (using %s coordinates)", a, b, from.Distance(to).Seconds()*1000, which)
		return nil
	}
}

// coordinates returns those of two nodes in the same segment or area.
func (c *call) coordinates(ctx context.Context, wan bool, a, b string) (from, to *catalog.Coordinate, err error) {
	places := map[string]map[string]*catalog.Coordinate{}
	put := func(where, node string, at *catalog.Coordinate) {
		if places[where] == nil {
			places[where] = map[string]*catalog.Coordinate{}
		}
		places[where][node] = at
	}
	if wan {
		dcs, err := c.api.Coordinates().Datacenters(ctx)
		if err != nil {
			return nil, nil, err
		}
		for _, dc := range dcs {
			for _, n := range dc.Coordinates {
				put(dc.AreaID, n.Node+"."+dc.Datacenter, n.Coord)
			}
		}
	} else {
		nodes, err := c.api.Coordinates().Nodes(ctx, c.q)
		if err != nil {
			return nil, nil, err
		}
		for _, n := range nodes {
			put(n.Segment, n.Node, n.Coord)
		}
	}
	known := map[string]bool{}
	for _, nodes := range places {
		if nodes[a] != nil && nodes[b] != nil {
			return nodes[a], nodes[b], nil
		}
		known[a], known[b] = known[a] || nodes[a] != nil, known[b] || nodes[b] != nil
	}
	for _, name := range []string{a, b} {
		if !known[name] {
			return nil, nil, fmt.Errorf("no coordinate is known of node %q: it does not exist, or joined less than a minute ago", name)
		}
	}
	return nil, nil, fmt.Errorf("nodes %q and %q share no network segment", a, b)
}

package command

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/curia-mesh/curia/agent/client"
	"github.com/curia-mesh/curia/catalog"
)

func catalogDatacenters(*flag.FlagSet) action {
	return func(ctx context.Context, c *call) error {
		names, err := c.api.Catalog().Datacenters(ctx)
		if err != nil {
			return err
		}
		for _, name := range names {
			c.say("%s", clean(name))
		}
		return nil
	}
}

func catalogNodes(f *flag.FlagSet) action {
	detailed := f.Bool("detailed", false, "Show the whole id, all addresses and the metadata.")
	near := f.String("near", "", "Sort by the round-trip time to this `node`; \"_agent\" is the agent's own.")
	meta := pairsVar(f, "node-meta", "Show only nodes with this `key=value` in their metadata. It can be given several times.")
	service := f.String("service", "", "Show only nodes that have this `service`.")
	filter := f.String("filter", "", "Show only nodes that this `expression` selects.")
	return func(ctx context.Context, c *call) error {
		q := c.q
		q.Near, q.Filter, q.NodeMeta = *near, *filter, meta
		nodes, err := nodesOf(ctx, c.api, *service, q)
		if err != nil {
			return err
		}
		if len(nodes) == 0 {
			c.note("No nodes match the given query - try expanding your search.")
			return nil
		}
		if *near == "" {
			slices.SortStableFunc(nodes, func(a, b *catalog.Node) int { return strings.Compare(a.Node, b.Node) })
		}
		rows := [][]string{{"Node", "ID", "Address", "DC"}}
		if *detailed {
			rows[0] = append(rows[0], "TaggedAddresses", "Meta")
		}
		for _, n := range nodes {
			id := n.ID
			if !*detailed {
				id, _, _ = strings.Cut(id, "-")
			}
			cells := []string{n.Node, id, n.Address, n.Datacenter}
			if *detailed {
				cells = append(cells, joinPairs(n.TaggedAddresses, ", "), joinPairs(n.Meta, ", "))
			}
			rows = append(rows, cells)
		}
		c.table(rows)
		return nil
	}
}

// nodesOf returns all nodes, or those that have a service, each once.
func nodesOf(ctx context.Context, api *client.Client, service string, q client.Query) ([]*catalog.Node, error) {
	if service == "" {
		nodes, _, err := api.Catalog().Nodes(ctx, q)
		return nodes, err
	}
	instances, _, err := api.Catalog().Service(ctx, service, nil, q)
	if err != nil {
		return nil, err
	}
	var nodes []*catalog.Node
	seen := map[string]bool{}
	for _, i := range instances {
		if !seen[i.Node] {
			seen[i.Node] = true
			nodes = append(nodes, &catalog.Node{
				ID: i.ID, Node: i.Node, Address: i.Address, Datacenter: i.Datacenter, TaggedAddresses: i.TaggedAddresses, Meta: i.NodeMeta,
			})
		}
	}
	return nodes, nil
}

func catalogServices(f *flag.FlagSet) action {
	node := f.String("node", "", "Show only services of this `node`, by its name or id.")
	meta := pairsVar(f, "node-meta", "Show only services on nodes with this `key=value` in their metadata. It can be given several times.")
	tags := f.Bool("tags", false, "Show the services' tags too.")
	return func(ctx context.Context, c *call) error {
		q := c.q
		q.NodeMeta = meta
		services, err := servicesOf(ctx, c.api, *node, q)
		if err != nil {
			return err
		}
		if len(services) == 0 {
			c.note("No services match the given query - try expanding your search.")
			return nil
		}
		names := slices.Sorted(maps.Keys(services))
		if !*tags {
			for _, name := range names {
				c.say("%s", clean(name))
			}
			return nil
		}
		w := tabwriter.NewWriter(c.Out, 0, 2, 6, ' ', 0)
		for _, name := range names {
			fmt.Fprintf(w, "%s\t%s\n", clean(name), clean(strings.Join(slices.Sorted(slices.Values(services[name])), ",")))
		}
		return w.Flush()
	}
}

// servicesOf returns the tags of all services, or of one node's.
func servicesOf(ctx context.Context, api *client.Client, node string, q client.Query) (map[string][]string, error) {
	if node == "" {
		services, _, err := api.Catalog().Services(ctx, q)
		return services, err
	}
	n, _, err := api.Catalog().Node(ctx, node, q)
	if err != nil || n == nil {
		return nil, err
	}
	services := map[string][]string{}
	for _, s := range n.Services {
		tags := append(services[s.Service], s.Tags...)
		slices.Sort(tags)
		services[s.Service] = slices.Compact(tags)
	}
	return services, nil
}

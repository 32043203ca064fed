package command

import (
	"context"
	"flag"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/curia-mesh/curia/agent/client"
	"github.com/curia-mesh/curia/server"
)

func members(f *flag.FlagSet) action {
	detailed := f.Bool("detailed", false, "Show all tags of the members.")
	wan := f.Bool("wan", false, "List the servers of all datacenters in place of this datacenter's members.")
	status := f.String("status", ".*", "Show only members whose status matches this `regexp`.")
	segment := f.String("segment", client.AllSegments, "Show only members of this network `segment`.")
	filter := f.String("filter", "", "Show only members that this `expression` selects.")
	return func(ctx context.Context, c *call) error {
		matches, err := regexp.Compile(*status)
		if err != nil {
			return usage("-status: %v", err)
		}
		in := *segment
		if *wan && !given(f, "segment") {
			in = ""
		}
		all, err := c.api.Agent().Members(ctx, *wan, in, *filter)
		if err != nil {
			return err
		}
		all = slices.DeleteFunc(all, func(m client.Member) bool { return !matches.MatchString(m.Status.String()) })
		if len(all) == 0 {
			return &exit{code: 2}
		}
		slices.SortFunc(all, func(a, b client.Member) int {
			return strings.Compare(a.Tags["ap"]+cell+segmentOf(a)+cell+a.Name, b.Tags["ap"]+cell+segmentOf(b)+cell+b.Name)
		})
		rows := [][]string{{"Node", "Address", "Status", "Type", "Build", "Protocol", "DC", "Partition", "Segment"}}
		if *detailed {
			rows = [][]string{{"Node", "Address", "Status", "Tags"}}
		}
		for _, m := range all {
			rows = append(rows, memberRow(m, *detailed))
		}
		c.table(rows)
		return nil
	}
}

func memberRow(m client.Member, detailed bool) []string {
	start := []string{m.Name, net.JoinHostPort(m.Addr, strconv.Itoa(int(m.Port))), m.Status.String()}
	if detailed {
		return append(start, joinPairs(m.Tags, ","))
	}
	kind := "unknown"
	switch m.Tags["role"] {
	case "consul":
		kind = "server"
	case "node":
		kind = "client"
	}
	build, _, _ := strings.Cut(m.Tags["build"], ":")
	partition := m.Tags["ap"]
	if partition == "" {
		partition = "default"
	}
	return append(start, kind, build, m.Tags["vsn"], m.Tags["dc"], partition, segmentOf(m))
}

func segmentOf(m client.Member) string {
	switch {
	case m.Tags["role"] == "consul":
		return "<all>"
	case m.Tags["segment"] == "":
		return "<default>"
	}
	return m.Tags["segment"]
}

func join(f *flag.FlagSet) action {
	wan := f.Bool("wan", false, "Join another datacenter over the WAN.")
	at := bindPlace(f)
	return func(ctx context.Context, c *call) error {
		if strings.HasPrefix(c.args[0], server.JoinPrefix) {
			if len(c.args) > 1 || *wan {
				return usage("a join token stands alone, behind -config-dir, -data-dir and -run")
			}
			return joinSecured(ctx, c, at, c.args[0])
		}
		joined := 0
		for _, address := range c.args {
			if err := c.api.Agent().Join(ctx, address, *wan); err != nil {
				c.note("Error joining address '%s': %s", clean(address), clean(err.Error()))
				continue
			}
			joined++
		}
		if joined > 0 {
			c.say("Successfully joined cluster by contacting %d nodes.", joined)
		}
		if joined < len(c.args) {
			return &exit{code: 1}
		}
		return nil
	}
}

func leave(*flag.FlagSet) action {
	return func(ctx context.Context, c *call) error {
		if err := c.api.Agent().Leave(ctx); err != nil {
			return err
		}
		c.say("Graceful leave complete")
		return nil
	}
}

func forceLeave(f *flag.FlagSet) action {
	prune := f.Bool("prune", false, "Forget the node at once.")
	wan := f.Bool("wan", false, "Make a server leave the WAN; its name is node.datacenter.")
	return func(ctx context.Context, c *call) error {
		return c.api.Agent().ForceLeave(ctx, c.args[0], *prune, *wan)
	}
}

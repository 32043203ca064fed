package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"strings"

	"github.com/curia-mesh/curia/agent/client"
	"github.com/curia-mesh/curia/catalog"
)

// garbage is a node in the catalog that nobody is any more.
type garbage struct {
	node  *catalog.Node
	check *catalog.Check // that says so
	why   string
}

// catalogGC lists, and on request removes, the nodes whose agents are gone. Whoever comes back registers anew.
func catalogGC(f *flag.FlagSet) action {
	apply := f.Bool("apply", false, "Remove the nodes. Without it they are listed only.")
	failed := f.Bool("failed", false, "Also those that have failed and that gossip still waits for.")
	force := f.Bool("force", false, "Remove them even if they are more than half of all nodes with an agent.")
	meta := pairsVar(f, "node-meta", "Only nodes with this `key=value` in their metadata. It can be given several times.")
	return func(ctx context.Context, c *call) error {
		if c.elsewhere {
			return errors.New("an agent knows the members of its own datacenter only: ask one of the other, without -datacenter")
		}
		q := c.q
		q.NodeMeta = meta
		nodes, _, err := c.api.Catalog().Nodes(ctx, q)
		if err != nil {
			return err
		}
		checks, _, err := c.api.Health().State(ctx, catalog.Any, client.Query{Filter: "CheckID == " + catalog.SerfHealth, Token: q.Token})
		if err != nil {
			return err
		}
		members, err := c.api.Agent().Members(ctx, false, client.AllSegments, "")
		if err != nil {
			return err
		}
		found := findGarbage(nodes, checks, members, *failed)
		if len(found) == 0 {
			c.note("No node is to be removed: every agent in the catalog is known to gossip.")
			return nil
		}
		rows := [][]string{{"Node", "Address", "Why"}}
		for _, g := range found {
			rows = append(rows, []string{g.node.Node, g.node.Address, g.why})
		}
		c.table(rows)
		switch {
		case !*apply:
			c.note("%d of %d nodes would be removed. Run again with -apply to do it.", len(found), len(nodes))
			return nil
		case 2*len(found) > len(checks) && !*force:
			return fmt.Errorf("%d of %d nodes with an agent would be removed, more than half: so many are gone by a fault of the network rather than for good; -force removes them", len(found), len(checks))
		}
		return c.removeNodes(ctx, found)
	}
}

// findGarbage returns the nodes whose agents have failed for good: gossip has forgotten them, or another node has
// their address. With failed it also returns those that gossip still waits for.
func findGarbage(nodes []*catalog.Node, checks []*catalog.Check, members []client.Member, failed bool) (found []garbage) {
	status := map[string]string{}
	for _, m := range members {
		status[strings.ToLower(m.Name)] = m.Status.String()
	}
	of, heir := map[string]*catalog.Check{}, map[string]string{}
	for _, check := range checks {
		of[strings.ToLower(check.Node)] = check
	}
	for _, n := range nodes {
		if check := of[strings.ToLower(n.Node)]; check != nil && check.Status == catalog.Passing {
			heir[n.Address] = n.Node
		}
	}
	for _, n := range nodes {
		check, now := of[strings.ToLower(n.Node)], status[strings.ToLower(n.Node)]
		if check == nil || check.Status != catalog.Critical || now == "alive" || now == "leaving" {
			continue // it has no agent, or one that lives
		}
		switch next := heir[n.Address]; {
		case next != "":
			found = append(found, garbage{n, check, "its agent has failed, and " + next + " has its address"})
		case now == "":
			found = append(found, garbage{n, check, "its agent has failed, and gossip has forgotten it"})
		case failed:
			found = append(found, garbage{n, check, "its agent has " + now + ", by gossip"})
		}
	}
	return found
}

// removeNodes removes each node if its agent has not come back in between.
func (c *call) removeNodes(ctx context.Context, found []garbage) error {
	left := 0
	for _, g := range found {
		err := c.api.Txn(ctx, c.q,
			map[string]any{"Check": map[string]any{"Verb": "delete-cas", "Check": map[string]any{"Node": g.node.Node, "CheckID": g.check.CheckID, "ModifyIndex": g.check.ModifyIndex}}},
			map[string]any{"Node": map[string]any{"Verb": "delete", "Node": map[string]any{"Node": g.node.Node}}})
		switch {
		case client.IsStatus(err, http.StatusConflict):
			c.note("%s has changed in between: it stays.", clean(g.node.Node))
			left++
		case err != nil:
			return err
		}
	}
	c.note("%d nodes removed.", len(found)-left)
	return nil
}

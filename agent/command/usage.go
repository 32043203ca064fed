package command

import (
	"context"
	"flag"
	"maps"
	"slices"
	"strconv"

	"github.com/curia-mesh/curia/agent/client"
)

func usageInstances(f *flag.FlagSet) action {
	billable := f.Bool("onlybillable", false, "Show only instances that count for billing elsewhere: those outside the mesh.")
	connect := f.Bool("onlyconnect", false, "Show only instances of the mesh.")
	all := f.Bool("all-datacenters", false, "Count in all datacenters.")
	return func(ctx context.Context, c *call) error {
		if *billable && *connect {
			return usage("-onlybillable and -onlyconnect exclude each other")
		}
		counts, err := c.api.Operator().Usage(ctx, *all, c.q)
		if err != nil {
			return err
		}
		if !*connect {
			c.billable(counts, *all)
		}
		if !*billable {
			c.mesh(counts, *all)
		}
		return nil
	}
}

func (c *call) billable(counts map[string]client.Usage, all bool) {
	rows := [][]string{row3(all, "Datacenter", "Services", "Service instances")}
	var services, instances int
	for _, dc := range slices.Sorted(maps.Keys(counts)) {
		u := counts[dc]
		services, instances = services+u.Services, instances+u.BillableServiceInstances
		rows = append(rows, row3(all, dc, strconv.Itoa(u.Services), strconv.Itoa(u.BillableServiceInstances)))
	}
	if all {
		rows = append(rows, row3(all, "Total", strconv.Itoa(services), strconv.Itoa(instances)))
	}
	c.say("Billable Service Instances Total: %d\n\nBillable Services", instances)
	c.table(rows)
}

func (c *call) mesh(counts map[string]client.Usage, all bool) {
	rows := [][]string{row3(all, "Datacenter", "Type", "Service instances")}
	total := 0
	for _, dc := range slices.Sorted(maps.Keys(counts)) {
		kinds := counts[dc].ConnectServiceInstances
		for _, kind := range slices.Sorted(maps.Keys(kinds)) {
			total += kinds[kind]
			rows = append(rows, row3(all, dc, kind, strconv.Itoa(kinds[kind])))
		}
	}
	if all {
		rows = append(rows, row3(all, "Total", "", strconv.Itoa(total)))
	}
	c.say("\nConnect Services")
	c.table(rows)
}

// row3 is a row that begins with the datacenter only when there may be several.
func row3(all bool, dc, second, third string) []string {
	if all {
		return []string{dc, second, third}
	}
	return []string{second, third}
}

package command

import (
	"context"
	"flag"

	"github.com/curia-mesh/curia/agent"
)

func raftRecover(f *flag.FlagSet) action {
	dir := f.String("data-dir", "", "The data `directory` of a server that has been stopped.")
	var keep list
	f.Var(&keep, "peer", "A server that the cluster is to have, by `id` or id=address:port. May be given more than once. The default is the server of the data directory alone.")
	yes := f.Bool("yes", false, "Do it, and do not only show what would be done.")
	return func(ctx context.Context, c *call) error {
		if *dir == "" {
			return usage("whose cluster? set -data-dir to the data directory of a server that has been stopped")
		}
		plan, err := agent.PlanRecovery(*dir, keep)
		if err != nil {
			return err
		}
		c.say("The log in %s ends with entry %d of term %d.", plan.DataDir, plan.Past.LastIndex, plan.Past.LastTerm)
		rows := [][]string{{"ID", "Address", "Voter", "After the recovery"}}
		for _, m := range plan.Past.Members {
			rows = append(rows, recoverRow(m.ID, m.Address, m.NonVoter, after(plan, m.ID)))
		}
		for _, m := range plan.Keep {
			if after(plan, m.ID) == "new" {
				rows = append(rows, recoverRow(m.ID, m.Address, m.NonVoter, "new"))
			}
		}
		c.table(rows)
		if !*yes {
			c.say("Nothing was changed. Writes that only the removed servers have are lost for good. Take the data directory whose log ends last, see that none of the removed servers runs or comes back with its data, and add -yes.")
			return nil
		}
		path, err := plan.Do(ctx)
		if err != nil {
			return err
		}
		c.say("Wrote %s. Start the server now: it reads and removes that file. Then start the others that are kept, each with the same file in place, and empty ones to join.", path)
		return nil
	}
}

func recoverRow(id, address string, nonVoter bool, after string) []string {
	voter := "true"
	if nonVoter {
		voter = "false"
	}
	return []string{id, address, voter, after}
}

// after says what becomes of a server.
func after(plan *agent.Recovery, id string) string {
	kept, known := false, false
	for _, m := range plan.Keep {
		kept = kept || m.ID == id
	}
	for _, m := range plan.Past.Members {
		known = known || m.ID == id
	}
	switch {
	case kept && known && id == plan.ID:
		return "stays (this one)"
	case kept && known:
		return "stays"
	case kept:
		return "new"
	}
	return "removed"
}

package command

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/curia-mesh/curia/agent/client"
	"github.com/curia-mesh/curia/catalog"
)

func raftListPeers(f *flag.FlagSet) action {
	return func(ctx context.Context, c *call) error {
		cfg, err := c.api.Operator().RaftConfiguration(ctx, c.q)
		if err != nil {
			return err
		}
		var leader uint64
		for _, s := range cfg.Servers {
			if s.Leader {
				leader = s.LastIndex
			}
		}
		rows := [][]string{{"Node", "ID", "Address", "State", "Voter", "RaftProtocol", "Commit Index", "Trails Leader By"}}
		for _, s := range cfg.Servers {
			protocol := s.ProtocolVersion
			if protocol == "" {
				protocol = "<=1"
			}
			state, trails := "follower", "-"
			if s.Leader {
				state = "leader"
			} else if leader >= s.LastIndex {
				trails = fmt.Sprintf("%d commits", leader-s.LastIndex)
			}
			rows = append(rows, []string{s.Node, s.ID, s.Address, state, strconv.FormatBool(s.Voter), protocol, strconv.FormatUint(s.LastIndex, 10), trails})
		}
		c.table(rows)
		return nil
	}
}

func raftRemovePeer(f *flag.FlagSet) action {
	id := f.String("id", "", "The `id` of the server.")
	address := f.String("address", "", "The `address:port` of the server, in place of its id.")
	return func(ctx context.Context, c *call) error {
		if (*id == "") == (*address == "") {
			return usage("which server? set -id or -address")
		}
		if err := c.api.Operator().RaftRemovePeer(ctx, *id, *address, c.q); err != nil {
			return err
		}
		if *id != "" {
			c.say("Removed peer with id %q", *id)
		} else {
			c.say("Removed peer with address %q", *address)
		}
		return nil
	}
}

func raftTransferLeader(f *flag.FlagSet) action {
	id := f.String("id", "", "The `id` of the server that is to lead. The default is any.")
	return func(ctx context.Context, c *call) error {
		done, err := c.api.Operator().RaftTransferLeader(ctx, *id, c.q)
		if err != nil {
			return err
		}
		if !done {
			return errors.New("the leadership was not transferred")
		}
		c.say("Success")
		return nil
	}
}

func autopilotGet(f *flag.FlagSet) action {
	return func(ctx context.Context, c *call) error {
		cfg, err := c.api.Operator().Autopilot(ctx, c.q)
		if err != nil {
			return err
		}
		c.say("CleanupDeadServers = %v\nLastContactThreshold = %v\nMaxTrailingLogs = %d\nMinQuorum = %d\nServerStabilizationTime = %v\nRedundancyZoneTag = %q\nDisableUpgradeMigration = %v\nUpgradeVersionTag = %q",
			cfg.CleanupDeadServers, cfg.LastContactThreshold, cfg.MaxTrailingLogs, cfg.MinQuorum, cfg.ServerStabilizationTime,
			cfg.RedundancyZoneTag, cfg.DisableUpgradeMigration, cfg.UpgradeVersionTag)
		return nil
	}
}

func autopilotSet(f *flag.FlagSet) action {
	cleanup := f.Bool("cleanup-dead-servers", false, "Whether dead servers are removed when a new one joins.")
	contact := f.Duration("last-contact-threshold", 0, "How `long` a server may be out of touch with the leader and count as healthy.")
	trailing := f.Uint64("max-trailing-logs", 0, "How `many` log entries a server may trail the leader by and count as healthy.")
	quorum := f.Uint("min-quorum", 0, "How `many` voters there must be before dead servers are removed.")
	stable := f.Duration("server-stabilization-time", 0, "How `long` a new server must be healthy before it votes.")
	zone := f.String("redundancy-zone-tag", "", "The `key` of the node metadata that names a server's redundancy zone.")
	migration := f.Bool("disable-upgrade-migration", false, "Whether servers of a newer version wait for nothing before they vote.")
	upgrade := f.String("upgrade-version-tag", "", "The `key` of the node metadata that names a server's version for upgrades.")
	return func(ctx context.Context, c *call) error {
		cfg, err := c.api.Operator().Autopilot(ctx, c.q)
		if err != nil {
			return err
		}
		f.Visit(func(fl *flag.Flag) {
			switch fl.Name {
			case "cleanup-dead-servers":
				cfg.CleanupDeadServers = *cleanup
			case "last-contact-threshold":
				cfg.LastContactThreshold = catalog.Duration(*contact)
			case "max-trailing-logs":
				cfg.MaxTrailingLogs = *trailing
			case "min-quorum":
				cfg.MinQuorum = *quorum
			case "server-stabilization-time":
				cfg.ServerStabilizationTime = catalog.Duration(*stable)
			case "redundancy-zone-tag":
				cfg.RedundancyZoneTag = *zone
			case "disable-upgrade-migration":
				cfg.DisableUpgradeMigration = *migration
			case "upgrade-version-tag":
				cfg.UpgradeVersionTag = *upgrade
			}
		})
		done, err := c.api.Operator().SetAutopilot(ctx, cfg, client.Query{})
		if err != nil {
			return err
		}
		if !done {
			return errors.New("the configuration was changed by another at the same time: try again")
		}
		c.say("Configuration updated!")
		return nil
	}
}

func autopilotState(f *flag.FlagSet) action {
	format := formatVar(f)
	return func(ctx context.Context, c *call) error {
		if err := checkFormat(*format); err != nil {
			return err
		}
		raw, err := c.api.Operator().AutopilotState(ctx, c.q)
		if err != nil {
			return err
		}
		if *format == "json" {
			return c.json(raw, "    ")
		}
		var s client.AutopilotState
		if err := json.Unmarshal(raw, &s); err != nil {
			return fmt.Errorf("read the state: %w", err)
		}
		c.say("Healthy:                      %v\nFailure Tolerance:            %d\nOptimistic Failure Tolerance: %d\nLeader:                       %s\nVoters:",
			s.Healthy, s.FailureTolerance, s.OptimisticFailureTolerance, clean(s.Leader))
		for _, id := range s.Voters {
			c.say("   %s", clean(id))
		}
		c.say("Servers:")
		for _, id := range slices.Sorted(maps.Keys(s.Servers)) {
			c.server(id, s.Servers[id])
		}
		return nil
	}
}

func (c *call) server(id string, s *client.AutopilotServer) {
	c.say("   %s", clean(id))
	line := func(what string, value any) { c.say("      %-18s %s", what+":", clean(fmt.Sprint(value))) }
	line("Name", s.Name)
	line("Address", s.Address)
	line("Version", s.Version)
	line("Status", s.Status)
	line("Node Type", s.NodeType)
	line("Node Status", s.NodeStatus)
	line("Healthy", s.Healthy)
	line("Last Contact", s.LastContact)
	line("Last Term", s.LastTerm)
	line("Last Index", s.LastIndex)
	if s.RedundancyZone != "" {
		line("Redundancy Zone", s.RedundancyZone)
	}
	if s.UpgradeVersion != "" {
		line("Upgrade Version", s.UpgradeVersion)
	}
	if len(s.Meta) > 0 {
		c.say("      Meta")
		for _, key := range slices.Sorted(maps.Keys(s.Meta)) {
			c.say("         %q: %q", key, s.Meta[key])
		}
	}
}

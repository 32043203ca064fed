package command

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"flag"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/curia-mesh/curia/catalog"
)

func info(*flag.FlagSet) action {
	return func(ctx context.Context, c *call) error {
		self, err := c.api.Agent().Self(ctx)
		if err != nil {
			return err
		}
		for _, section := range slices.Sorted(maps.Keys(self.Stats)) {
			c.say("%s:", clean(section))
			for _, key := range slices.Sorted(maps.Keys(self.Stats[section])) {
				c.say("\t%s = %s", clean(key), clean(self.Stats[section][key]))
			}
		}
		return nil
	}
}

func reload(*flag.FlagSet) action {
	return func(ctx context.Context, c *call) error {
		if err := c.api.Agent().Reload(ctx); err != nil {
			return err
		}
		c.say("Configuration reload triggered")
		return nil
	}
}

// maxLogLine is how long a line of the agent's log is before it is cut in two.
const maxLogLine = 1 << 20

func monitor(f *flag.FlagSet) action {
	level := f.String("log-level", "INFO", "Show lines of this `level` and worse: trace, debug, info, warn or error.")
	asJSON := f.Bool("log-json", false, "Show the log as JSON.")
	return func(ctx context.Context, c *call) error {
		log, err := c.api.Agent().Monitor(ctx, *level, *asJSON)
		if ctx.Err() != nil {
			return nil // stopping is how this command ends
		}
		if err != nil {
			return err
		}
		defer log.Close()
		lines := bufio.NewReaderSize(log, maxLogLine)
		for {
			line, err := lines.ReadSlice('\n')
			if _, failed := c.Out.Write(line); failed != nil {
				return failed
			}
			switch {
			case err == nil || errors.Is(err, bufio.ErrBufferFull):
			case ctx.Err() != nil:
				return nil
			case err == io.EOF:
				c.note("The agent ended the log: it was stopped or restarted.")
				return nil
			default:
				return err
			}
		}
	}
}

func keygen(*flag.FlagSet) action {
	return func(_ context.Context, c *call) error {
		key := make([]byte, 32)
		rand.Read(key)
		c.say("%s", base64.StdEncoding.EncodeToString(key))
		return nil
	}
}

func event(f *flag.FlagSet) action {
	name := f.String("name", "", "The `name` of the event; it must be given.")
	node := f.String("node", "", "Spread it to nodes whose name matches this `regexp`.")
	service := f.String("service", "", "Spread it to nodes with a service whose name matches this `regexp`.")
	tag := f.String("tag", "", "Spread it to nodes with a service that has a tag matching this `regexp`; needs -service.")
	return func(ctx context.Context, c *call) error {
		if *name == "" {
			return usage("the event needs a name: set -name")
		}
		if *tag != "" && *service == "" {
			return usage("-tag needs -service")
		}
		ev := &catalog.Event{Name: *name, NodeFilter: *node, ServiceFilter: *service, TagFilter: *tag}
		if len(c.args) == 1 {
			ev.Payload = []byte(c.args[0])
		}
		id, err := c.api.Event().Fire(ctx, ev, c.q)
		if err != nil {
			return err
		}
		c.say("Event ID: %s", id)
		return nil
	}
}

func maint(f *flag.FlagSet) action {
	enable := f.Bool("enable", false, "Take the node or service out of service.")
	disable := f.Bool("disable", false, "Take it back into service.")
	reason := f.String("reason", "", "A `text` that says why.")
	service := f.String("service", "", "The `id` of a service of this agent, in place of its node.")
	return func(ctx context.Context, c *call) error {
		switch {
		case *enable && *disable:
			return usage("-enable and -disable exclude each other")
		case !*enable && !*disable && (*reason != "" || *service != ""):
			return usage("-reason and -service need -enable or -disable")
		case *reason != "" && *disable:
			return usage("-reason needs -enable")
		case !*enable && !*disable:
			return maintained(ctx, c)
		}
		if err := c.api.Agent().Maintenance(ctx, *service, *enable, *reason); err != nil {
			return err
		}
		now := "enabled"
		if *disable {
			now = "disabled"
		}
		if *service != "" {
			c.say("Service maintenance is now %s for %q", now, *service)
		} else {
			c.say("Node maintenance is now %s", now)
		}
		return nil
	}
}

// maintained lists what is out of service.
func maintained(ctx context.Context, c *call) error {
	checks, err := c.api.Agent().Checks(ctx)
	if err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(checks)) {
		check := checks[id]
		switch {
		case id == catalog.NodeMaintenance:
			c.say("Node:\n  Name:   %s", clean(check.Node))
		case strings.HasPrefix(id, catalog.ServiceMaintenance):
			c.say("Service:\n  ID:     %s", clean(check.ServiceID))
		default:
			continue
		}
		c.say("  Reason: %s\n", clean(check.Notes))
	}
	return nil
}

package command

import (
	"context"
	"flag"
	"strconv"
	"strings"
	"time"

	"github.com/curia-mesh/curia/agent/client"
)

func federationStatus(*flag.FlagSet) action {
	return func(ctx context.Context, c *call) error {
		v, err := c.api.Operator().Federation(ctx, c.q)
		if err != nil {
			return err
		}
		if v.Primary == v.Datacenter {
			c.say("%s is the primary datacenter", v.Datacenter)
		} else {
			c.say("%s copies from the primary datacenter %s", v.Datacenter, v.Primary)
		}
		if v.Primary != v.Configured {
			c.say("%s was promoted: set primary_datacenter to it, which is %s here", v.Primary, v.Configured)
		}
		if v.Refusal != "" {
			c.say("%s", v.Refusal)
		}
		if len(v.Copies) == 0 {
			return nil
		}
		rows := [][]string{{"Copy", "Rows", "Index", "Last success", "Last error"}}
		for _, p := range v.Copies {
			rows = append(rows, []string{p.Kind, strconv.Itoa(p.Rows), strconv.FormatUint(p.Index, 10), ago(p.LastSuccess), failure(&p.CopyProgress)})
		}
		c.table(rows)
		return nil
	}
}

func kvReplication(*flag.FlagSet) action {
	return func(ctx context.Context, c *call) error {
		v, err := c.api.Operator().KVReplication(ctx, c.q)
		if err != nil {
			return err
		}
		if len(v.Copies) == 0 {
			c.say("%s copies no keys from other datacenters: no kv-replication entry that it has asks for any. Without a primary_datacenter one is written in each target: curia config write -datacenter=%[1]s", v.Datacenter)
			return nil
		}
		rows := [][]string{{"Entry", "Source", "Prefixes", "Keys", "Kept", "Last success", "Last error"}}
		for _, p := range v.Copies {
			rows = append(rows, []string{p.Entry, p.Source, strings.Join(p.Prefixes, ","), strconv.Itoa(p.Rows), strconv.Itoa(p.Kept), ago(p.LastSuccess), failure(&p.CopyProgress)})
		}
		c.table(rows)
		return nil
	}
}

// failure is what is wrong since something was right for the last time.
func failure(p *client.CopyProgress) string {
	if p.LastError.After(p.LastSuccess) {
		return p.LastErrorMessage
	}
	return "-"
}

// ago is how long ago something was, in words.
func ago(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return time.Since(t).Round(time.Second).String() + " ago"
}

func federationAccept(*flag.FlagSet) action {
	return func(ctx context.Context, c *call) error {
		loss, err := c.api.Operator().AcceptFederation(ctx, c.q)
		if err != nil {
			return err
		}
		for _, key := range loss.Dropped {
			c.say("deleted: %s", key)
		}
		for _, key := range loss.Replaced {
			c.say("replaced: %s", key)
		}
		c.say("The primary datacenter is copied from now on")
		return nil
	}
}

func federationPromote(f *flag.FlagSet) action {
	force := f.Bool("force", false, "Do without the primary before, which is lost for good, with what was not copied from it.")
	return func(ctx context.Context, c *call) error {
		p, err := c.api.Operator().Promote(ctx, *force, c.q)
		if err != nil {
			return err
		}
		c.say("%s is the primary datacenter now: set primary_datacenter to it on the servers of all datacenters", p.Datacenter)
		return nil
	}
}

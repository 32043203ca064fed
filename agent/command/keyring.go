package command

import (
	"context"
	"flag"
	"maps"
	"slices"

	"github.com/curia-mesh/curia/agent/client"
)

func keyring(f *flag.FlagSet) action {
	install := f.String("install", "", "Give every node this `key`. It is not used to encrypt yet.")
	use := f.String("use", "", "Make this installed `key` the one to encrypt with.")
	remove := f.String("remove", "", "Take this `key` away from every node. It must not be in use.")
	listed := f.Bool("list", false, "List the keys, each with how many nodes have it.")
	primary := f.Bool("list-primary", false, "List the keys in use, each with how many nodes use it.")
	relay := f.Int("relay-factor", 0, "How `many` further nodes answers are relayed through, 0 to 5.")
	local := f.Bool("local-only", false, "List only this agent's datacenter, not the WAN.")
	return func(ctx context.Context, c *call) error {
		chosen := 0
		for _, on := range []bool{*install != "", *use != "", *remove != "", *listed, *primary} {
			if on {
				chosen++
			}
		}
		reads := *listed || *primary
		switch {
		case chosen != 1:
			return usage("set one of -install, -use, -remove, -list and -list-primary")
		case *relay < 0 || *relay > 5:
			return usage("-relay-factor %d: want 0 to 5", *relay)
		case *local && !reads:
			return usage("-local-only needs -list or -list-primary")
		}
		k := client.KeyringQuery{RelayFactor: *relay, LocalOnly: *local}
		op := c.api.Operator()
		switch {
		case *install != "":
			c.note("==> Installing new gossip encryption key...")
			return op.InstallKey(ctx, *install, k)
		case *use != "":
			c.note("==> Changing primary gossip encryption key...")
			return op.UseKey(ctx, *use, k)
		case *remove != "":
			c.note("==> Removing gossip encryption key...")
			return op.RemoveKey(ctx, *remove, k)
		}
		c.note("==> Gathering installed encryption keys...")
		rings, err := op.Keyrings(ctx, k)
		if err != nil {
			return err
		}
		c.keyrings(rings, *primary)
		return nil
	}
}

func (c *call) keyrings(rings []*client.Keyring, primary bool) {
	for _, r := range rings {
		c.say("\n%s:", clean(poolName(r)))
		for _, node := range slices.Sorted(maps.Keys(r.Messages)) {
			c.say("  ===> %s: %s", clean(node), clean(r.Messages[node]))
		}
		keys := r.Keys
		if primary {
			keys = r.PrimaryKeys
		}
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			c.say("  %s [%d/%d]", clean(key), keys[key], r.NumNodes)
		}
	}
}

func poolName(r *client.Keyring) string {
	switch {
	case r.WAN:
		return "WAN"
	case r.Segment != "":
		return r.Datacenter + " (LAN) [" + r.Segment + "]"
	}
	return r.Datacenter + " (LAN)"
}

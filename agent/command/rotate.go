package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/curia-mesh/curia/agent/client"
	"github.com/curia-mesh/curia/rpc/gossip"
)

// keyringRotate replaces the key of gossip step by step, each verified on all members before the next.
func keyringRotate(f *flag.FlagSet) action {
	given := f.String("key", "", "Change to this `key` in place of a new random one.")
	relay := f.Int("relay-factor", 0, "How `many` further nodes answers are relayed through, 0 to 5.")
	return func(ctx context.Context, c *call) error {
		if *relay < 0 || *relay > gossip.MaxRelayFactor {
			return usage("-relay-factor %d: want 0 to %d", *relay, gossip.MaxRelayFactor)
		}
		key := gossip.NewKey()
		if *given != "" {
			var err error
			if key, err = gossip.ParseKey(*given); err != nil {
				return usage("-key: %v", err)
			}
		}
		r := &rotation{call: c, op: c.api.Operator(), query: client.KeyringQuery{RelayFactor: *relay}, next: key.Base64()}
		return r.run(ctx)
	}
}

// rotation is one change of the key.
type rotation struct {
	*call
	op    client.Operator
	query client.KeyringQuery
	old   string   // the primary key at first
	next  string   // the one to change to
	rest  []string // to be removed at the end, old among them
}

func (r *rotation) run(ctx context.Context) error {
	if err := r.begin(ctx); err != nil {
		return err
	}
	back := context.WithoutCancel(ctx) // what has begun is undone whole
	r.note("==> Installing the new key...")
	if err := r.step(ctx, r.op.InstallKey, r.next, "has", func(k *client.Keyring) int { return k.Keys[r.next] }); err != nil {
		return r.undone(err, r.op.RemoveKey(back, r.next, r.query))
	}
	r.note("==> All members have it. Using it...")
	if err := r.step(ctx, r.op.UseKey, r.next, "uses", func(k *client.Keyring) int { return k.PrimaryKeys[r.next] }); err != nil {
		return r.undone(err, errors.Join(r.op.UseKey(back, r.old, r.query), r.op.RemoveKey(back, r.next, r.query)))
	}
	r.note("==> All members use it. Removing the old one...")
	for _, old := range r.rest {
		if err := r.firmly(ctx, func() error { return r.op.RemoveKey(ctx, old, r.query) }); err != nil {
			return fmt.Errorf("all members use the new key, and some keep an old one, which is read and not used: %w; repeat the command when they are well", err)
		}
	}
	rings, err := r.rings(ctx)
	if err != nil {
		return err
	}
	for _, k := range rings {
		if len(k.Keys) != 1 || k.PrimaryKeys[r.next] != k.NumNodes {
			return fmt.Errorf("after the rotation members of %s have %d keys: did one come back in the meantime? repeat the command", poolName(k), len(k.Keys))
		}
	}
	r.say("The key of gossip has been rotated on all members. Members that are away get it when they come back, over RPC with TLS.")
	return nil
}

// begin looks whether a rotation may begin: all members use one key, and most of those that are known are there. A
// minority that changes its key could not be joined again by the others.
func (r *rotation) begin(ctx context.Context) error {
	rings, err := r.op.Keyrings(ctx, r.query)
	if err != nil {
		return fmt.Errorf("nothing was changed: %w", err)
	}
	all := map[string]bool{}
	for _, k := range rings {
		for _, key := range slices.Sorted(maps.Keys(k.PrimaryKeys)) {
			if r.old != "" && r.old != key {
				return errors.New("nothing was changed: members use different keys, from a change that did not end: finish it with keyring -use KEY, or for one member at a time with -local-only and -list")
			}
			r.old = key
		}
		for key := range k.Keys {
			all[key] = true
		}
	}
	if r.old == "" {
		return errors.New("nothing was changed: no member uses a key")
	}
	delete(all, r.next)
	r.rest = slices.Sorted(maps.Keys(all))
	for _, wan := range []bool{false, true} {
		if wan && !slices.ContainsFunc(rings, func(k *client.Keyring) bool { return k.WAN }) {
			return nil // it is for servers
		}
		if err := r.most(ctx, wan); err != nil {
			return fmt.Errorf("nothing was changed: %w", err)
		}
	}
	return nil
}

// most refuses to go on while most of a pool's members are away.
func (r *rotation) most(ctx context.Context, wan bool) error {
	members, err := r.api.Agent().Members(ctx, wan, client.AllSegments, "")
	if err != nil {
		return err
	}
	var alive int
	var away []string
	for _, m := range members {
		switch m.Status.String() {
		case "alive":
			alive++
		case "failed":
			away = append(away, m.Name)
		}
	}
	names := clean(strings.Join(away[:min(len(away), 10)], ", "))
	if alive <= len(away) {
		return fmt.Errorf("%d of %d members are away (%s), so this may be the smaller part of a network that is cut: mend it, or make those that are gone for good leave",
			len(away), alive+len(away), names)
	}
	if len(away) > 0 {
		r.note("==> Away, and to get the key when they come back: %s", names)
	}
	return nil
}

// step does something on all members and verifies that all have followed.
func (r *rotation) step(ctx context.Context, do func(context.Context, string, client.KeyringQuery) error, key, what string, count func(*client.Keyring) int) error {
	if err := r.firmly(ctx, func() error { return do(ctx, key, r.query) }); err != nil {
		return err
	}
	rings, err := r.rings(ctx)
	if err != nil {
		return err
	}
	for _, k := range rings {
		if n := count(k); n != k.NumNodes {
			return fmt.Errorf("only %d of %d members of %s %s the new key", n, k.NumNodes, poolName(k), what)
		}
	}
	return nil
}

// rotateTries is how often members are asked: what they are asked is the same when it is done twice, and an answer is a
// packet, which may be lost.
const rotateTries = 3

// firmly does something until it has succeeded, or has been tried often enough.
func (r *rotation) firmly(ctx context.Context, do func() error) error {
	for try := 1; ; try++ {
		err := do()
		if err == nil || try == rotateTries || ctx.Err() != nil {
			return err
		}
		r.note("==> Once more: %s", clean(err.Error()))
	}
}

// rings asks all members for their keys.
func (r *rotation) rings(ctx context.Context) (rings []*client.Keyring, err error) {
	err = r.firmly(ctx, func() (err error) {
		rings, err = r.op.Keyrings(ctx, r.query)
		return err
	})
	return rings, err
}

// undone is the error of a rotation that was given up, and whether the members are as they were.
func (r *rotation) undone(why, undo error) error {
	if undo != nil {
		return fmt.Errorf("%w; going back failed too, the old key is still read by all: %w; see keyring -list", why, undo)
	}
	return fmt.Errorf("%w; the rotation was taken back, all members use the old key", why)
}

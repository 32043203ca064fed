//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// changes is what happens around the traffic.
type changes struct {
	*mesh
	size
	changed, joined, restarted int
	turned                     int             // rotations
	leaves                     map[string]bool // serial numbers of web's certificates
	soaked                     []*process
}

var subsets = map[string]any{"v1": map[string]any{"Filter": "Service.Meta.v == 1"}, "v2": map[string]any{"Filter": "Service.Meta.v == 2"}}

// allow lets web reach a service: whole, or what it asks for.
func allow(to string, paths bool) map[string]any {
	source := map[string]any{"Name": "web", "Action": "allow"}
	if paths {
		delete(source, "Action")
		source["Permissions"] = []any{map[string]any{"Action": "allow", "HTTP": map[string]any{"PathPrefix": "/"}}}
	}
	return map[string]any{"Kind": "service-intentions", "Name": to, "Sources": []any{source, map[string]any{"Name": fmt.Sprint("guest-", rand.IntN(9)), "Action": "deny"}}}
}

// run makes what goes on at once happen, then what needs the stage alone.
func (c *changes) run(ctx context.Context) error {
	c.leaves = map[string]bool{}
	all, meanwhile := errgroup.WithContext(ctx)
	all.Go(func() error { return c.entries(meanwhile) })
	all.Go(func() error { return c.rotate(meanwhile) })
	all.Go(func() error { return c.roll(meanwhile) })
	if err := all.Wait(); err != nil {
		return err
	}
	if err := c.restartAgent(ctx); err != nil {
		return err
	}
	if err := c.soak(ctx); err != nil {
		return fmt.Errorf("soak: %w", err)
	}
	return c.serversAway(ctx)
}

// entries changes config entries and intentions, one after the other.
func (c *changes) entries(ctx context.Context) error {
	for c.changed < c.size.changes && ctx.Err() == nil {
		if err := c.entry(ctx); err != nil {
			return err
		}
		pause(ctx, 50*time.Millisecond)
	}
	return ctx.Err()
}

var policies = []string{"random", "round_robin", "least_request", "maglev", "ring_hash"}

// entry changes how requests are routed, balanced or allowed, in a way that none may notice.
func (c *changes) entry(ctx context.Context) error {
	n := c.changed
	c.changed++
	var e map[string]any
	switch n % 7 {
	case 0:
		e = map[string]any{"Kind": "service-router", "Name": "api", "Routes": []any{map[string]any{
			"Match":       map[string]any{"HTTP": map[string]any{"PathPrefix": "/stream"}},
			"Destination": map[string]any{"Service": "api", "RequestHeaders": map[string]any{"Set": map[string]string{"X-Change": fmt.Sprint(n)}}},
		}}}
	case 1:
		e = map[string]any{"Kind": "service-splitter", "Name": "api", "Splits": []any{
			map[string]any{"Weight": 10 + n%80, "ServiceSubset": "v1"}, map[string]any{"Weight": 90 - n%80, "ServiceSubset": "v2"},
		}}
	case 2:
		e = map[string]any{"Kind": "service-resolver", "Name": "api", "Subsets": subsets, "LoadBalancer": map[string]any{"Policy": policies[n/7%len(policies)]}}
	case 3:
		e = allow("api", n%2 == 0)
	case 4:
		e = allow("echo", false)
	case 5:
		e = map[string]any{"Kind": "service-defaults", "Name": "api", "Protocol": "http", "LocalRequestTimeoutMs": 60000 + n, "MaxInboundConnections": 1000 + n}
	case 6:
		_, err := c.ask(ctx, "DELETE", c.server, "/v1/config/service-splitter/api", nil)
		return err
	}
	return c.put(ctx, c.server, "/v1/config", e)
}

// authority has the CA sign with a key of so many bits, another root if it is another key, and for as long as is wanted.
func (m *mesh) authority(ctx context.Context, bits int) error {
	return m.put(ctx, m.server, "/v1/connect/ca/configuration", map[string]any{"Provider": "consul", "Config": map[string]any{
		"PrivateKeyType": "ec", "PrivateKeyBits": bits, "LeafCertTTL": m.proofs.ttl.String(),
	}})
}

// rotate has another root sign, again and again.
func (c *changes) rotate(ctx context.Context) error {
	if err := c.leaf(ctx); err != nil {
		return err
	}
	for n := range c.rotations {
		if err := c.rotation(ctx); err != nil {
			return err
		}
		if n%10 == 9 {
			progress("%d rotations, %d changes, %d instances restarted", n+1, c.changed, c.joined)
		}
	}
	return nil
}

// rotation has another root sign, and waits until the certificate of web is one of its.
func (c *changes) rotation(ctx context.Context) error {
	if err := c.authority(ctx, []int{384, 256}[c.turned%2]); err != nil {
		return err
	}
	c.turned++
	before := len(c.leaves)
	return until(ctx, fmt.Sprintf("another certificate after rotation %d", c.turned), func() error {
		if err := c.leaf(ctx); err != nil || len(c.leaves) > before {
			return err
		}
		return errors.New("still the same")
	})
}

// leaf notes the certificate that web has.
func (c *changes) leaf(ctx context.Context) error {
	var leaf struct{ SerialNumber string }
	err := c.get(ctx, c.client, "/v1/agent/connect/ca/leaf/web", &leaf)
	if err == nil {
		c.leaves[leaf.SerialNumber] = true
	}
	return err
}

// roll restarts one instance after the other.
func (c *changes) roll(ctx context.Context) error {
	for range c.restarts {
		for _, a := range c.apps {
			if err := c.restart(ctx, a); err != nil {
				return err
			}
			pause(ctx, 500*time.Millisecond)
		}
	}
	return ctx.Err()
}

// restart restarts an instance as a deployment does: it is taken out, ends what it does, and comes back.
func (c *changes) restart(ctx context.Context, a *app) error {
	if err := c.put(ctx, c.client, "/v1/agent/service/deregister/"+a.id, nil); err != nil {
		return err
	}
	if err := c.listed(ctx, a.name, a.id, false); err != nil {
		return err
	}
	pause(ctx, 3*time.Second) // what a deployment waits before it ends a process
	if err := a.stop(ctx); err != nil {
		return fmt.Errorf("stop %s: %w", a.id, err)
	}
	if err := errors.Join(a.start(), c.put(ctx, c.client, "/v1/agent/service/register", a.registration())); err != nil {
		return err
	}
	if err := c.listed(ctx, a.name, a.id, true); err != nil {
		return err
	}
	c.joined++
	return nil
}

// restartAgent restarts the node's agent, half of the times without notice.
func (c *changes) restartAgent(ctx context.Context) error {
	for n := range c.size.agents {
		s := []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM}[n%2]
		progress("the node's agent gets %s", s)
		if err := c.client.stop(s); err != nil {
			return err
		}
		pause(ctx, time.Second)
		if err := errors.Join(c.client.start(c.curia), c.leader(ctx, c.client)); err != nil {
			return err
		}
		c.restarted++
		pause(ctx, time.Second)
	}
	return ctx.Err()
}

// serversAway leaves the mesh without a server, restarts the node's agent meanwhile, and brings the server back.
func (c *changes) serversAway(ctx context.Context) error {
	progress("no server for %s", c.away)
	if err := c.server.stop(syscall.SIGKILL); err != nil {
		return err
	}
	pause(ctx, c.away)
	if err := errors.Join(c.server.start(c.curia), c.leader(ctx, c.client)); err != nil {
		return err
	}
	pause(ctx, 2*time.Second)
	return ctx.Err()
}

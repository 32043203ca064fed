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
	leaves                     map[string]bool // serial numbers of web's certificates
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
	return c.serversAway(ctx)
}

// entries changes how requests are routed, balanced and allowed, in ways that none may notice.
func (c *changes) entries(ctx context.Context) error {
	router := func(header string) map[string]any {
		return map[string]any{"Kind": "service-router", "Name": "api", "Routes": []any{map[string]any{
			"Match":       map[string]any{"HTTP": map[string]any{"PathPrefix": "/stream"}},
			"Destination": map[string]any{"Service": "api", "RequestHeaders": map[string]any{"Set": map[string]string{"X-Change": header}}},
		}}}
	}
	splitter := func(n int) map[string]any {
		return map[string]any{"Kind": "service-splitter", "Name": "api", "Splits": []any{
			map[string]any{"Weight": n, "ServiceSubset": "v1"}, map[string]any{"Weight": 100 - n, "ServiceSubset": "v2"},
		}}
	}
	resolver := func(policy string) map[string]any {
		return map[string]any{"Kind": "service-resolver", "Name": "api", "Subsets": subsets, "LoadBalancer": map[string]any{"Policy": policy}}
	}
	policies := []string{"random", "round_robin", "least_request", "maglev", "ring_hash"}
	for c.changed < c.size.changes && ctx.Err() == nil {
		n := c.changed
		var e map[string]any
		switch n % 7 {
		case 0:
			e = router(fmt.Sprint(n))
		case 1:
			e = splitter(10 + n%80)
		case 2:
			e = resolver(policies[n/7%len(policies)])
		case 3:
			e = allow("api", n%2 == 0)
		case 4:
			e = allow("echo", false)
		case 5:
			e = map[string]any{"Kind": "service-defaults", "Name": "api", "Protocol": "http", "LocalRequestTimeoutMs": 60000 + n, "MaxInboundConnections": 1000 + n}
		case 6:
			if _, err := c.ask(ctx, "DELETE", c.server, "/v1/config/service-splitter/api", nil); err != nil {
				return err
			}
		}
		if e != nil {
			if err := c.put(ctx, c.server, "/v1/config", e); err != nil {
				return err
			}
		}
		c.changed++
		pause(ctx, 50*time.Millisecond)
	}
	return ctx.Err()
}

// rotate has another root sign, again and again, and waits each time until the certificate of web is one of its.
func (c *changes) rotate(ctx context.Context) error {
	if err := c.leaf(ctx); err != nil {
		return err
	}
	for n := range c.rotations {
		bits := []int{384, 256}[n%2]
		ca := map[string]any{"Provider": "consul", "Config": map[string]any{"PrivateKeyType": "ec", "PrivateKeyBits": bits}}
		if err := c.put(ctx, c.server, "/v1/connect/ca/configuration", ca); err != nil {
			return err
		}
		before := len(c.leaves)
		if err := until(ctx, fmt.Sprintf("another certificate after rotation %d", n+1), func() error {
			if err := c.leaf(ctx); err != nil || len(c.leaves) > before {
				return err
			}
			return errors.New("still the same")
		}); err != nil {
			return err
		}
		if n%10 == 9 {
			progress("%d rotations, %d changes, %d instances restarted", n+1, c.changed, c.joined)
		}
	}
	return nil
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

// roll restarts one instance after the other, as a deployment does: it is taken out, ends what it does, and comes back.
func (c *changes) roll(ctx context.Context) error {
	for range c.restarts {
		for _, a := range c.apps {
			if err := c.put(ctx, c.client, "/v1/agent/service/deregister/"+a.id, nil); err != nil {
				return err
			}
			if err := c.listed(ctx, "api", a.id, false); err != nil {
				return err
			}
			pause(ctx, 3*time.Second) // what a deployment waits before it ends a process
			if err := a.stop(ctx); err != nil {
				return fmt.Errorf("stop %s: %w", a.id, err)
			}
			if err := errors.Join(a.start(), c.put(ctx, c.client, "/v1/agent/service/register", a.registration())); err != nil {
				return err
			}
			if err := c.listed(ctx, "api", a.id, true); err != nil {
				return err
			}
			c.joined++
			pause(ctx, 500*time.Millisecond)
		}
	}
	return ctx.Err()
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

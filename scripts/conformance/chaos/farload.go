//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"
)

// calls are those of one sort.
type calls struct {
	what string

	mu            sync.Mutex
	count, failed int
	first         error
	all           []call
}

// call is when one was sent, how long it took, and what came of it.
type call struct {
	sent time.Time
	took time.Duration
	err  error
	from string // what it says about who answered
}

// do makes a call, which has to be answered within limit.
func (k *calls) do(ctx context.Context, limit time.Duration, f func(context.Context) (from string, err error)) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	sent := time.Now()
	from, err := f(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.count++; err != nil {
		if k.failed++; k.first == nil {
			k.first = fmt.Errorf("%s at %s: %w", k.what, sent.Format("15:04:05.000"), err)
		}
	}
	k.all = append(k.all, call{sent, time.Since(sent), err, from})
}

// regular makes a call every span, whether those before are answered or not, until ctx ends.
func (k *calls) regular(ctx context.Context, wg *sync.WaitGroup, span, limit time.Duration, f func(context.Context, int) (string, error)) {
	wg.Go(func() {
		ticker := time.NewTicker(span)
		defer ticker.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			wg.Go(func() { k.do(ctx, limit, func(ctx context.Context) (string, error) { return f(ctx, n) }) })
		}
	})
}

// traffic is what goes on in a world while its links are cut.
type traffic struct {
	w      *world
	cut    *cluster // the datacenter whose links are
	stop   context.CancelFunc
	wg     sync.WaitGroup
	local  []*calls // of each datacenter at home
	leaves *calls   // certificates of the one that is cut off
	writes *calls   // what the primary one copies to others
	remote *calls   // into the one that is cut off, and out of it
	query  *calls   // a prepared query that another datacenter can answer too

	mu   sync.Mutex
	kept map[string]map[string]bool // by the path that lists it: what was acknowledged
	gone map[string]map[string]bool // and deleted
	last string                     // the policy that was acknowledged last
}

// patience is how long somebody waits who wants to know how long it takes.
const patience = 20 * time.Second

// startTraffic uses all datacenters until end. The service "far" has to be in the second and the third one.
func startTraffic(ctx context.Context, w *world, cut *cluster) *traffic {
	ctx, stop := context.WithCancel(ctx)
	t := &traffic{w: w, cut: cut, stop: stop, kept: map[string]map[string]bool{}, gone: map[string]map[string]bool{}}
	for _, c := range w.dcs {
		k := &calls{what: "in " + c.dc.Name}
		t.local = append(t.local, k)
		k.regular(ctx, &t.wg, 50*time.Millisecond, wait, func(ctx context.Context, n int) (string, error) { return "", c.atHome(ctx, n) })
	}
	t.leaves = &calls{what: "certificates"}
	t.leaves.regular(ctx, &t.wg, time.Second, wait, func(ctx context.Context, n int) (string, error) {
		var leaf struct{ SerialNumber string }
		err := cut.api.json(ctx, cut.agent, "GET", fmt.Sprintf("/v1/agent/connect/ca/leaf/job-%d?token=%s", n%200, management), nil, &leaf)
		return leaf.SerialNumber, err
	})
	t.writes = &calls{what: "what is copied"}
	t.wg.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			t.writes.do(ctx, wait, func(ctx context.Context) (string, error) { return "", t.write(ctx, n) })
			pause(ctx, 250*time.Millisecond)
		}
	})
	t.remote = &calls{what: "to another datacenter"}
	for _, c := range w.others(cut) {
		for _, way := range [][2]*cluster{{c, cut}, {cut, c}} {
			t.remote.regular(ctx, &t.wg, 200*time.Millisecond, patience, func(ctx context.Context, _ int) (string, error) {
				_, err := way[0].api.ask(ctx, way[0].servers[0], "GET", "/v1/catalog/nodes?dc="+way[1].dc.Name, nil)
				return way[1].dc.Name, err
			})
		}
	}
	t.query = &calls{what: "prepared query"}
	t.query.regular(ctx, &t.wg, 100*time.Millisecond, patience, func(ctx context.Context, _ int) (string, error) {
		var found struct {
			Datacenter string
			Nodes      []json.RawMessage
		}
		home := w.dcs[0]
		err := home.api.json(ctx, home.agent, "GET", "/v1/query/far/execute", nil, &found)
		if err == nil && len(found.Nodes) == 0 {
			err = fmt.Errorf("no instance, from %s", found.Datacenter)
		}
		return found.Datacenter, err
	})
	return t
}

// end stops everything and waits for what is under way.
func (t *traffic) end() {
	t.stop()
	t.wg.Wait()
}

// atHome is what those in a datacenter do who need no other: they write and read with a token of the primary one, look for
// services over HTTP and DNS, and ask a server what it has.
func (c *cluster) atHome(ctx context.Context, n int) error {
	s := c.servers[n%len(c.servers)]
	switch n % 4 {
	case 0:
		key := fmt.Sprintf("/v1/kv/home/%d?token=%s", n%500, management)
		if _, err := c.api.ask(ctx, s, "PUT", key, fmt.Append(nil, n)); err != nil {
			return err
		}
		got, err := c.api.ask(ctx, s, "GET", key+"&raw&consistent", nil)
		if err == nil && string(got) != fmt.Sprint(n) {
			err = fmt.Errorf("%s: wrote %d, read %.20q", key, n, got)
		}
		return err
	case 1:
		return c.finds(ctx, c.agent, "consul", len(c.servers))
	case 2:
		return c.question(ctx, c.agent, "consul.service."+c.dc.Name+".consul.")
	}
	_, err := c.api.ask(ctx, s, "GET", "/v1/catalog/nodes", nil)
	return err
}

// finds says whether there are as many healthy instances of a service.
func (c *cluster) finds(ctx context.Context, s *server, service string, n int) error {
	var found []json.RawMessage
	err := c.api.json(ctx, s, "GET", "/v1/health/service/"+service+"?passing", nil, &found)
	if err == nil && len(found) != n {
		err = fmt.Errorf("%d instances of %s at %s, not %d", len(found), service, s.host.Name, n)
	}
	return err
}

// write makes, changes and deletes what is copied from the primary datacenter to the others.
func (t *traffic) write(ctx context.Context, n int) error {
	home := t.w.dcs[0]
	ask := func(method, path string, body, into any) error {
		return home.api.json(ctx, home.agent, method, path+"?token="+management, body, into)
	}
	name := fmt.Sprintf("item-%d-%d", time.Now().UnixNano(), n)
	var policy struct{ ID string }
	if err := ask("PUT", "/v1/acl/policy", map[string]any{"Name": name, "Rules": `key_prefix "x" { policy = "read" }`}, &policy); err != nil {
		return err
	}
	t.note("/v1/acl/policies", policy.ID)
	t.mu.Lock()
	t.last = policy.ID
	t.mu.Unlock()
	var token struct{ AccessorID string }
	if err := ask("PUT", "/v1/acl/token", map[string]any{"Description": name, "Policies": []any{map[string]string{"ID": policy.ID}}}, &token); err != nil {
		return err
	}
	t.note("/v1/acl/tokens", token.AccessorID)
	var ok bool
	if err := ask("PUT", "/v1/config", map[string]any{"Kind": "service-defaults", "Name": name, "Protocol": "http"}, &ok); err != nil {
		return err
	}
	t.note("/v1/config/service-defaults", name)
	if n%3 != 0 {
		return nil
	}
	t.doubt("/v1/acl/tokens", token.AccessorID) // until it is acknowledged
	if err := ask("DELETE", "/v1/acl/token/"+token.AccessorID, nil, &ok); err != nil {
		return err
	}
	t.forget("/v1/acl/tokens", token.AccessorID)
	return ask("PUT", "/v1/config", map[string]any{"Kind": "service-defaults", "Name": name, "Protocol": "grpc"}, &ok)
}

// newest is the policy that was acknowledged last.
func (t *traffic) newest() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last
}

func (t *traffic) note(path, id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.kept[path] == nil {
		t.kept[path], t.gone[path] = map[string]bool{}, map[string]bool{}
	}
	t.kept[path][id] = true
}

// doubt is for what may be there, or not.
func (t *traffic) doubt(path, id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.kept[path], id)
}

func (t *traffic) forget(path, id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gone[path][id] = true
}

// lost counts what was acknowledged and is not there, or was deleted and is, in any datacenter, of how many.
func (t *traffic) lost(ctx context.Context) (bad []string, total int, err error) {
	for _, path := range slices.Sorted(maps.Keys(t.kept)) {
		total += len(t.kept[path]) + len(t.gone[path])
		for _, c := range t.w.dcs {
			there, err := c.list(ctx, path)
			if err != nil {
				return nil, 0, err
			}
			for id := range t.kept[path] {
				if _, ok := there[id]; !ok {
					bad = append(bad, c.dc.Name+" lacks "+id)
				}
			}
			for id := range t.gone[path] {
				if _, ok := there[id]; ok {
					bad = append(bad, c.dc.Name+" still has "+id)
				}
			}
		}
	}
	return bad, total, nil
}

// far registers the service "far" in the second and third datacenter and a prepared query for it in the first.
func (w *world) far(ctx context.Context) error {
	for _, c := range w.dcs[1:] {
		if r, err := c.api.do(ctx, c.agent, "PUT", "/v1/agent/service/register?token="+management, []byte(`{"Name": "far", "Port": 80}`)); err != nil || r.status != http.StatusOK {
			return fmt.Errorf("register far in %s: status %d: %s %w", c.dc.Name, r.status, r.body, err)
		}
		if err := eventually(ctx, settled, func(ctx context.Context) error { return c.finds(ctx, c.agent, "far", 1) }); err != nil {
			return err
		}
	}
	home := w.dcs[0]
	var names []struct{ Name string }
	if err := home.api.json(ctx, home.agent, "GET", "/v1/query?token="+management, nil, &names); err != nil || len(names) > 0 {
		return err
	}
	var made struct{ ID string }
	return home.api.json(ctx, home.agent, "POST", "/v1/query?token="+management, map[string]any{
		"Name": "far", "Service": map[string]any{"Service": "far", "Failover": map[string]any{"Datacenters": []string{"dc2", "dc3"}}},
	}, &made)
}

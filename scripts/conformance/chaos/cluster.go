//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/curia-mesh/curia/scripts/conformance/lab"
)

// cluster is servers on hosts of a lab, and a host of clients that no fault touches.
type cluster struct {
	lab     *lab.Lab
	servers []*server
	client  *lab.Host
	api     *api
	binary  string

	// The datacenter, where there are several of them, its client agent, which is on the host of clients, and what its
	// agents are configured with besides.
	dc    lab.Site
	world *world
	agent *server
	more  map[string]any
}

const (
	httpPort = 8500
	dnsPort  = 8600
	raftPort = 8300

	// mostConns is how many connections one client may have to an agent.
	mostConns = 12_000
)

// settled bounds how long a cluster without faults may take to be whole.
const settled = 60 * time.Second

// newCluster starts as many servers as a scenario wants and waits until they are a cluster. Of several datacenters it
// returns the primary one.
func newCluster(ctx context.Context, binary, dir string, o own) (*cluster, error) {
	l, err := lab.Open(lab.Options{Dir: dir, Sites: o.sites(), Power: o.power, Between: o.between()})
	if err != nil {
		return nil, err
	}
	var all []*cluster
	for _, site := range l.Sites() {
		c := &cluster{binary: binary, lab: l, dc: site}
		for _, name := range site.Hosts {
			h, err := l.Host(name)
			if err != nil {
				return nil, errors.Join(err, l.Close())
			}
			at := func(port int) string { return fmt.Sprintf("%s:%d", h.Addr, port) }
			c.servers = append(c.servers, &server{host: h, http: at(httpPort), dns: at(dnsPort), raft: at(raftPort)})
		}
		last := len(c.servers) - 1
		c.agent, c.servers = c.servers[last], c.servers[:last]
		c.client, c.api = c.agent.host, newAPI(c.agent.host)
		all = append(all, c)
	}
	c := all[0]
	if o.far {
		c.world = join(all)
	}
	if err = c.begin(ctx, binary); err != nil {
		c.dump()
		return nil, errors.Join(err, l.Close())
	}
	return c, nil
}

// begin starts all servers, and what else there is where there are several datacenters.
func (c *cluster) begin(ctx context.Context, binary string) error {
	for _, d := range c.all() {
		for _, s := range d.servers {
			if err := d.launch(s, binary); err != nil {
				return err
			}
		}
	}
	for _, d := range c.all() {
		if err := d.ready(ctx, settled); err != nil {
			return err
		}
	}
	if c.world == nil {
		return nil
	}
	return c.world.begin(ctx, binary)
}

// all are the clusters on the lab.
func (c *cluster) all() []*cluster {
	if c.world == nil {
		return []*cluster{c}
	}
	return c.world.dcs
}

// launch writes a server's configuration and starts it.
func (c *cluster) launch(s *server, binary string) error {
	var join []string
	for _, o := range c.servers {
		join = append(join, o.host.Addr.String())
	}
	config := map[string]any{
		"node_name": s.host.Name, "retry_join": join,
		"bind_addr": s.host.Addr.String(), "client_addr": s.host.Addr.String(), "log_level": "info",
		"data_dir": filepath.Join(s.host.Data, "data"), "retry_interval": "1s",
		"ports":       map[string]any{"http": httpPort, "dns": dnsPort, "server": raftPort, "grpc": -1, "grpc_tls": -1},
		"performance": map[string]any{},
		"limits":      map[string]any{"http_max_conns_per_client": mostConns},
	}
	if s != c.agent {
		config["server"], config["bootstrap_expect"] = true, len(c.servers)
	}
	maps.Copy(config, c.more)
	text, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return err
	}
	file := filepath.Join(s.host.Dir, "agent.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	return s.host.Start("/usr/bin/env", clockVariable+"="+s.clock(), binary, "agent", "-config-file="+file)
}

// leader asks all servers that run who leads, and returns who calls himself so and whom most others follow.
func (c *cluster) leader(ctx context.Context) (*server, error) {
	votes := map[string]int{}
	for _, s := range c.servers {
		if !s.host.Running() {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		var who string
		err := c.api.json(ctx, s, "GET", "/v1/status/leader", nil, &who)
		if cancel(); err == nil && who != "" {
			votes[who]++
		}
	}
	for _, s := range c.servers {
		if votes[s.raft] > len(c.servers)/2 {
			return s, nil
		}
	}
	return nil, fmt.Errorf("no leader that most servers name: %v", votes)
}

// others are all servers but one.
func (c *cluster) others(than *server) (list []*server) {
	for _, s := range c.servers {
		if s != than {
			list = append(list, s)
		}
	}
	return list
}

// ready waits until every server takes part: all name one leader, and a write at each is seen at all others.
func (c *cluster) ready(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var last error
	for try := 0; ctx.Err() == nil; try++ {
		if last = c.whole(ctx, try); last == nil {
			return nil
		}
		for _, s := range c.servers {
			if !s.host.Running() {
				return fmt.Errorf("%s does not run: %s", s.host.Name, c.tail(s))
			}
		}
		pause(ctx, 50*time.Millisecond)
	}
	return fmt.Errorf("the cluster is not whole after %s: %w", limit, last)
}

func (c *cluster) whole(ctx context.Context, try int) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := c.leader(ctx); err != nil {
		return err
	}
	value := fmt.Sprintf("%d-%d", time.Now().UnixNano(), try)
	for _, s := range c.servers {
		if _, err := c.api.ask(ctx, s, "PUT", "/v1/kv/ready/"+s.host.Name, []byte(value)); err != nil {
			return err
		}
	}
	// Followers learn with the next message that an entry is committed, which without more writes takes a while.
	for _, s := range c.servers {
		for {
			err := c.shows(ctx, s, value)
			if err == nil {
				break
			}
			if pause(ctx, 20*time.Millisecond); ctx.Err() != nil {
				return err
			}
		}
	}
	return nil
}

// shows says whether a server itself holds the value that was written at each.
func (c *cluster) shows(ctx context.Context, s *server, value string) error {
	got, err := c.api.pairs(ctx, s, "ready/", "stale")
	if err != nil {
		return err
	}
	for _, p := range got {
		if p.text() != value {
			return fmt.Errorf("%s has not seen the last write at %s", s.host.Name, strings.TrimPrefix(p.Key, "ready/"))
		}
	}
	if len(got) != len(c.servers) {
		return fmt.Errorf("%s shows %d of %d keys", s.host.Name, len(got), len(c.servers))
	}
	return nil
}

// tail is the end of a server's log.
func (c *cluster) tail(s *server) string {
	log, _ := os.ReadFile(s.host.Log())
	return string(log[max(0, len(log)-1500):])
}

// compared are the questions whose answers must be the same at every server.
var compared = []string{
	"/v1/kv/?recurse&stale", "/v1/catalog/nodes?stale", "/v1/catalog/services?stale", "/v1/session/list?stale",
	"/v1/health/state/any?stale", "/v1/config/proxy-defaults?stale", "/v1/coordinate/nodes?stale", "/v1/connect/ca/roots?stale",
}

// same compares what all servers hold, at one index each, once they have settled.
func (c *cluster) same(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var last error
	for ctx.Err() == nil {
		if last = c.compare(ctx); last == nil {
			return nil
		}
		pause(ctx, 200*time.Millisecond)
	}
	return fmt.Errorf("servers differ for %s: %w", limit, last)
}

func (c *cluster) compare(ctx context.Context) error {
	if err := c.digests(ctx); err != nil {
		return err
	}
	for _, path := range compared {
		var first answer
		for i, s := range c.servers {
			r, err := c.api.do(ctx, s, "GET", path, nil)
			switch {
			case err != nil:
				return err
			case r.status != 200 && r.status != 404:
				return fmt.Errorf("%s at %s: status %d: %.200s", path, s.host.Name, r.status, r.body)
			case i == 0:
				first = r
				continue
			}
			if at, was := r.header.Get("X-Consul-Index"), first.header.Get("X-Consul-Index"); at != was {
				return fmt.Errorf("%s: %s is at index %s, %s at %s", path, s.host.Name, at, c.servers[0].host.Name, was)
			}
			if a, b := sha256.Sum256(r.body), sha256.Sum256(first.body); a != b {
				return fmt.Errorf("%s: at index %s %s and %s show different things: %s", path, r.header.Get("X-Consul-Index"), s.host.Name,
					c.servers[0].host.Name, difference(r.body, first.body))
			}
		}
	}
	return nil
}

// digests compares all that the servers hold, at one index.
func (c *cluster) digests(ctx context.Context) error {
	type digest struct {
		Node   string
		Index  uint64
		Digest string
	}
	var first digest
	for i, s := range c.servers {
		var d digest
		if err := c.api.json(ctx, s, "GET", "/v1/operator/raft/digest?stale", nil, &d); err != nil {
			return err
		}
		switch {
		case d.Node != s.host.Name:
			return fmt.Errorf("%s has not caught up", s.host.Name)
		case i == 0:
			first = d
		case d.Index != first.Index:
			return fmt.Errorf("%s is at index %d, %s at %d", d.Node, d.Index, first.Node, first.Index)
		case d.Digest != first.Digest:
			return fmt.Errorf("at index %d %s holds %s and %s holds %s", d.Index, d.Node, d.Digest, first.Node, first.Digest)
		}
	}
	return nil
}

// difference shows two texts around where they part.
func difference(a, b []byte) string {
	i := 0
	for i < min(len(a), len(b)) && a[i] == b[i] {
		i++
	}
	from := max(0, i-80)
	return fmt.Sprintf("%q, %q", a[from:min(len(a), i+80)], b[from:min(len(b), i+80)])
}

// dump ends the servers and makes them tell in their logs what they were doing.
func (c *cluster) dump() {
	for _, h := range c.lab.Hosts() {
		if h.Running() {
			if err := h.Dump(); err != nil {
				progress("%v", err)
			}
		}
	}
}

func (c *cluster) close() error {
	for _, d := range c.all() {
		d.api.client.CloseIdleConnections()
	}
	return c.lab.Close()
}

// pause waits, at most until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/curia-mesh/curia/scripts/conformance/lab"
)

// control carries out commands on a lab.
type control struct{ lab *lab.Lab }

// plan is what "up" makes.
type plan struct {
	datacenters, servers, clients int
	rtt                           time.Duration // between two datacenters
}

// planOf reads the arguments of "up".
func planOf(args []string) (plan, error) {
	p := plan{servers: 3}
	flags := flag.NewFlagSet("up", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.IntVar(&p.datacenters, "dcs", 1, "")
	flags.IntVar(&p.clients, "clients", -1, "")
	flags.DurationVar(&p.rtt, "rtt", 50*time.Millisecond, "")
	if err := flags.Parse(args); err != nil {
		return p, fmt.Errorf("up: %w: see scripts/lab help", err)
	}
	if flags.NArg() > 0 {
		var err error
		if p.servers, err = strconv.Atoi(flags.Arg(0)); err != nil || p.servers < 1 || p.servers > 9 || flags.NArg() > 1 {
			return p, fmt.Errorf("up %s: give a number of servers from 1 to 9", strings.Join(flags.Args(), " "))
		}
	}
	if p.clients < 0 {
		p.clients = min(p.datacenters-1, 1)
	}
	switch {
	case p.datacenters < 1 || p.datacenters > 5:
		return p, fmt.Errorf("up -dcs %d: give a number of datacenters from 1 to 5", p.datacenters)
	case p.clients > 9:
		return p, fmt.Errorf("up -clients %d: give a number of client agents from 0 to 9", p.clients)
	case p.rtt < 0 || p.rtt > time.Minute:
		return p, fmt.Errorf("up -rtt %s: give a time as 50ms, up to 1m", p.rtt)
	case p.datacenters*(p.servers+p.clients) > 45:
		return p, fmt.Errorf("up: %d agents: at most 45 are possible", p.datacenters*(p.servers+p.clients))
	}
	return p, nil
}

// sites are the datacenters dc1, dc2, … with their hosts, and one more host in the first, on which nothing runs. Where
// there is one datacenter its hosts go without its name.
func (p plan) sites() (all []lab.Site) {
	for d := range p.datacenters {
		s := lab.Site{Name: fmt.Sprintf("dc%d", d+1)}
		prefix := s.Name + "-"
		if p.datacenters == 1 {
			prefix = ""
		}
		for i := range p.servers {
			s.Hosts = append(s.Hosts, fmt.Sprintf("%ss%d", prefix, i+1))
		}
		for i := range p.clients {
			s.Hosts = append(s.Hosts, fmt.Sprintf("%sc%d", prefix, i+1))
		}
		if d == 0 {
			s.Hosts = append(s.Hosts, "client")
		}
		all = append(all, s)
	}
	return all
}

// newControl makes a lab and starts the servers and client agents.
func newControl(dir, binary string, p plan) (*control, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	o := lab.Options{Dir: dir, Sites: p.sites()}
	if p.datacenters > 1 {
		o.Between.Delay = p.rtt / 2
	}
	l, err := lab.Open(o)
	if err != nil {
		return nil, err
	}
	var primary []string
	for d, site := range l.Sites() {
		var hosts []*lab.Host
		var join []string
		for i, name := range site.Hosts[:p.servers+p.clients] {
			h, err := l.Host(name)
			if err != nil {
				return nil, errors.Join(err, l.Close())
			}
			if hosts = append(hosts, h); i < p.servers {
				join = append(join, h.Addr.String())
			}
		}
		if d == 0 {
			primary = join
		}
		for i, h := range hosts {
			c := map[string]any{"datacenter": site.Name, "retry_join": join}
			if i < p.servers {
				c["server"], c["bootstrap_expect"], c["primary_datacenter"] = true, p.servers, l.Sites()[0].Name
				if d > 0 {
					c["retry_join_wan"] = primary
				}
			}
			if err := launch(h, binary, c); err != nil {
				return nil, errors.Join(err, l.Close())
			}
		}
	}
	return &control{l}, nil
}

// launch starts a host's agent with a configuration of its own.
func launch(h *lab.Host, binary string, c map[string]any) error {
	c["node_name"], c["bind_addr"], c["client_addr"], c["data_dir"] = h.Name, h.Addr.String(), h.Addr.String(), filepath.Join(h.Data, "data")
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	file := filepath.Join(h.Dir, "agent.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	return h.Start(binary, "agent", "-config-file="+file)
}

// pair is what A and B name: two hosts, or two datacenters. others is every datacenter but A.
type pair struct {
	hosts [2]*lab.Host
	sites [][2]lab.Site
}

func (c *control) pair(a, b string) (p pair, err error) {
	sites := c.lab.Sites()
	at := func(name string) int {
		return slices.IndexFunc(sites, func(s lab.Site) bool { return s.Name == name && len(sites) > 1 })
	}
	switch from, to := at(a), at(b); {
	case a == b:
		return p, fmt.Errorf("%s is one: name two", a)
	case from >= 0 && to >= 0:
		p.sites = [][2]lab.Site{{sites[from], sites[to]}}
	case from >= 0 && b == "others":
		for i, s := range sites {
			if i != from {
				p.sites = append(p.sites, [2]lab.Site{sites[from], s})
			}
		}
	case from >= 0 || to >= 0:
		return p, fmt.Errorf("%s and %s: name two hosts, or two datacenters, or a datacenter and others", a, b)
	default:
		if p.hosts[0], err = c.lab.Host(a); err == nil {
			p.hosts[1], err = c.lab.Host(b)
		}
	}
	return p, err
}

// set changes what is between the two, both ways or from the first to the second.
func (c *control) set(p pair, oneWay bool, change func(*lab.Link)) error {
	hosts, sites := c.lab.SetLinks, c.lab.SetSites
	if oneWay {
		hosts, sites = c.lab.SetLink, c.lab.SetSite
	}
	if p.sites == nil {
		return hosts(p.hosts[0], p.hosts[1], change)
	}
	var errs []error
	for _, s := range p.sites {
		errs = append(errs, sites(s[0], s[1], change))
	}
	return errors.Join(errs...)
}

// verb is a command: the words it takes, and what it does to the host, or the two of hosts and datacenters, that come first
// among them.
type verb struct {
	takes string
	host  func(c *control, h *lab.Host, rest []string) (string, error)
	pair  func(c *control, p pair, rest []string) error
	all   func(c *control) (string, error)
}

// verbs take HOST or A B first, or nothing, and then what is in brackets or not.
var verbs = map[string]verb{
	"status": {all: func(c *control) (string, error) { return c.lab.Status(), nil }},
	"heal":   {all: func(c *control) (string, error) { return "", c.lab.Heal() }},
	"where": {takes: "HOST", host: func(_ *control, h *lab.Host, _ []string) (string, error) {
		pid, tid := h.Thread()
		return fmt.Sprintln(pid, tid), nil
	}},
	"log":    {takes: "HOST", host: func(_ *control, h *lab.Host, _ []string) (string, error) { return h.Log() + "\n", nil }},
	"freeze": {takes: "HOST", host: func(_ *control, h *lab.Host, _ []string) (string, error) { return "", h.Freeze() }},
	"thaw":   {takes: "HOST", host: func(_ *control, h *lab.Host, _ []string) (string, error) { return "", h.Thaw() }},
	"kill":   {takes: "HOST", host: func(_ *control, h *lab.Host, _ []string) (string, error) { return "", h.Kill() }},
	"stop":   {takes: "HOST", host: func(_ *control, h *lab.Host, _ []string) (string, error) { return "", h.Stop(time.Minute) }},
	"start":  {takes: "HOST", host: func(_ *control, h *lab.Host, _ []string) (string, error) { return "", h.Start() }},
	"fill-disk": {takes: "HOST", host: func(_ *control, h *lab.Host, _ []string) (string, error) {
		return "", h.SetDisk(lab.Disk{Full: true})
	}},
	"fail-sync": {takes: "HOST", host: func(_ *control, h *lab.Host, _ []string) (string, error) {
		return "", h.SetDisk(lab.Disk{FailSync: true})
	}},
	"slow-disk": {takes: "HOST TIME", host: func(_ *control, h *lab.Host, rest []string) (string, error) {
		slow, err := duration(rest[0])
		if err != nil {
			return "", err
		}
		return "", h.SetDisk(lab.Disk{Slow: slow})
	}},
	"cut": {takes: "A B [one-way]", pair: func(c *control, p pair, rest []string) error {
		if len(rest) > 0 && rest[0] != "one-way" {
			return fmt.Errorf("what is %q? Say one-way or nothing", rest[0])
		}
		return c.set(p, len(rest) > 0, lab.Cut)
	}},
	"mend": {takes: "A B", pair: func(c *control, p pair, _ []string) error { return c.set(p, false, lab.Mend) }},
	"delay": {takes: "A B TIME [JITTER]", pair: func(c *control, p pair, rest []string) error {
		delay, err := duration(rest[0])
		var jitter time.Duration
		if err == nil && len(rest) > 1 {
			jitter, err = duration(rest[1])
		}
		if err != nil {
			return err
		}
		return c.set(p, false, func(l *lab.Link) { l.Delay, l.Jitter = delay, jitter })
	}},
	"lose": {takes: "A B PERCENT", pair: func(c *control, p pair, rest []string) error {
		part, err := strconv.ParseFloat(strings.TrimSuffix(rest[0], "%"), 64)
		if err != nil || part < 0 || part > 100 {
			return fmt.Errorf("%q is not a percentage: give a number from 0 to 100", rest[0])
		}
		return c.set(p, false, func(l *lab.Link) { l.Loss = part / 100 })
	}},
}

func duration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d > time.Minute {
		return 0, fmt.Errorf("%q is not a time: give one as 50ms, up to 1m", s)
	}
	return d, nil
}

// do carries out a command and returns what it prints.
func (c *control) do(name string, args []string) (string, error) {
	v, ok := verbs[name]
	if !ok {
		return "", fmt.Errorf("what is %q? See scripts/lab help", name)
	}
	words := strings.Fields(v.takes)
	least := len(words) - strings.Count(v.takes, "[")
	if len(args) < least || len(args) > len(words) {
		return "", fmt.Errorf("say scripts/lab %s", strings.TrimSpace(name+" "+v.takes))
	}
	switch {
	case v.host != nil:
		h, err := c.lab.Host(args[0])
		if err != nil {
			return "", err
		}
		return v.host(c, h, args[1:])
	case v.pair != nil:
		p, err := c.pair(args[0], args[1])
		if err != nil {
			return "", err
		}
		return "", v.pair(c, p, args[2:])
	}
	return v.all(c)
}

//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/curia-mesh/curia/scripts/conformance/lab"
)

// control carries out commands on a lab.
type control struct{ lab *lab.Lab }

// newControl makes a lab of n servers and a client, and starts the servers.
func newControl(dir, binary string, n int) (*control, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	var names, join []string
	for i := range n {
		names = append(names, fmt.Sprintf("s%d", i+1))
	}
	l, err := lab.Open(lab.Options{Dir: dir, Hosts: append(names, "client")})
	if err != nil {
		return nil, err
	}
	for _, h := range l.Hosts()[:n] {
		join = append(join, h.Addr.String())
	}
	for _, h := range l.Hosts()[:n] {
		if err := launch(h, binary, join); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	return &control{l}, nil
}

// launch starts a host's server with a configuration of its own.
func launch(h *lab.Host, binary string, join []string) error {
	text, err := json.MarshalIndent(map[string]any{
		"node_name": h.Name, "server": true, "bootstrap_expect": len(join), "retry_join": join, "bind_addr": h.Addr.String(),
		"client_addr": h.Addr.String(), "data_dir": filepath.Join(h.Data, "data"),
	}, "", "  ")
	if err != nil {
		return err
	}
	file := filepath.Join(h.Dir, "server.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	return h.Start(binary, "agent", "-config-file="+file)
}

// verb is a command: the words it takes, and what it does to the hosts that come first among them.
type verb struct {
	takes string
	do    func(c *control, hosts []*lab.Host, rest []string) (string, error)
}

// verbs take HOST or A B first, and then what is in brackets or not.
var verbs = map[string]verb{
	"status": {"", func(c *control, _ []*lab.Host, _ []string) (string, error) { return c.lab.Status(), nil }},
	"heal":   {"", func(c *control, _ []*lab.Host, _ []string) (string, error) { return "", c.lab.Heal() }},
	"where": {"HOST", func(_ *control, h []*lab.Host, _ []string) (string, error) {
		pid, tid := h[0].Thread()
		return fmt.Sprintln(pid, tid), nil
	}},
	"log":    {"HOST", func(_ *control, h []*lab.Host, _ []string) (string, error) { return h[0].Log() + "\n", nil }},
	"freeze": {"HOST", func(_ *control, h []*lab.Host, _ []string) (string, error) { return "", h[0].Freeze() }},
	"thaw":   {"HOST", func(_ *control, h []*lab.Host, _ []string) (string, error) { return "", h[0].Thaw() }},
	"kill":   {"HOST", func(_ *control, h []*lab.Host, _ []string) (string, error) { return "", h[0].Kill() }},
	"stop":   {"HOST", func(_ *control, h []*lab.Host, _ []string) (string, error) { return "", h[0].Stop(time.Minute) }},
	"start":  {"HOST", func(_ *control, h []*lab.Host, _ []string) (string, error) { return "", h[0].Start() }},
	"fill-disk": {"HOST", func(_ *control, h []*lab.Host, _ []string) (string, error) {
		return "", h[0].SetDisk(lab.Disk{Full: true})
	}},
	"fail-sync": {"HOST", func(_ *control, h []*lab.Host, _ []string) (string, error) {
		return "", h[0].SetDisk(lab.Disk{FailSync: true})
	}},
	"slow-disk": {"HOST TIME", func(_ *control, h []*lab.Host, rest []string) (string, error) {
		slow, err := duration(rest[0])
		if err != nil {
			return "", err
		}
		return "", h[0].SetDisk(lab.Disk{Slow: slow})
	}},
	"cut": {"A B [one-way]", func(c *control, h []*lab.Host, rest []string) (string, error) {
		if len(rest) == 0 {
			return "", c.lab.SetLinks(h[0], h[1], lab.Cut)
		}
		if rest[0] != "one-way" {
			return "", fmt.Errorf("what is %q? Say one-way or nothing", rest[0])
		}
		return "", c.lab.SetLink(h[0], h[1], lab.Cut)
	}},
	"delay": {"A B TIME [JITTER]", func(c *control, h []*lab.Host, rest []string) (string, error) {
		delay, err := duration(rest[0])
		var jitter time.Duration
		if err == nil && len(rest) > 1 {
			jitter, err = duration(rest[1])
		}
		if err != nil {
			return "", err
		}
		return "", c.lab.SetLinks(h[0], h[1], func(l *lab.Link) { l.Delay, l.Jitter = delay, jitter })
	}},
	"lose": {"A B PERCENT", func(c *control, h []*lab.Host, rest []string) (string, error) {
		part, err := strconv.ParseFloat(strings.TrimSuffix(rest[0], "%"), 64)
		if err != nil || part < 0 || part > 100 {
			return "", fmt.Errorf("%q is not a percentage: give a number from 0 to 100", rest[0])
		}
		return "", c.lab.SetLinks(h[0], h[1], func(l *lab.Link) { l.Loss = part / 100 })
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
		return "", fmt.Errorf("say scripts/lab %s %s", name, v.takes)
	}
	var hosts []*lab.Host
	for i, word := range words {
		if word != "HOST" && word != "A" && word != "B" {
			break
		}
		h, err := c.lab.Host(args[i])
		if err != nil {
			return "", err
		}
		hosts = append(hosts, h)
	}
	if len(hosts) == 2 && hosts[0] == hosts[1] {
		return "", fmt.Errorf("%s is one host: name two", hosts[0].Name)
	}
	return v.do(c, hosts, args[len(hosts):])
}

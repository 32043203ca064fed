//go:build linux

package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/scripts/conformance/lab"
)

// Commands do what they say, and tell what is wrong with those that are not understood.
func TestCommands(t *testing.T) {
	l, err := lab.Open(lab.Options{Dir: t.TempDir(), Sites: []lab.Site{{Name: "dc1", Hosts: []string{"a", "b"}}, {Name: "dc2", Hosts: []string{"c"}}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	c := &control{l}
	if err := l.Hosts()[0].Start("sleep", "600"); err != nil {
		t.Fatal(err)
	}
	f := func(line string, want string) {
		t.Helper()
		words := strings.Fields(line)
		got, err := c.do(words[0], words[1:])
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) || err == nil && want == "" && got != "" {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
	f("freeze a", "")
	f("status", "frozen")
	f("heal", "")
	f("kill a", "")
	f("status", "down (signal: killed)")
	f("start a", "")
	f("stop a", "")
	f("log b", "/b/log")
	f("freeze b", "host b: no process runs")
	f("freeze", "say scripts/lab freeze HOST")
	f("freeze a b", "say scripts/lab freeze HOST")
	f("freeze x", "there are a, b, c")
	f("cut a a", "name two")
	f("cut a b no-way", "one-way")
	f("delay a b", "say scripts/lab delay A B TIME [JITTER]")
	f("delay a b soon", "50ms")
	f("lose a b 101", "0 to 100")
	f("slow-disk a -1s", "50ms")
	f("explode", "scripts/lab help")
	if os.Geteuid() != 0 {
		f("cut a b", "needs root")
		return
	}
	f("cut a b one-way", "")
	f("cut a dc2", "two hosts, or two datacenters")
	f("cut dc1 dc1", "name two")
	f("cut dc1 others", "")
	f("status", "dc2 > dc1: cut")
	f("mend dc2 others", "")
	f("delay dc1 dc2 20ms", "")
	f("lose dc2 dc1 3%", "")
	f("status", "dc1 > dc2: 20ms+0s 3%")
	f("delay b a 10ms 1ms", "")
	f("lose a b 5%", "")
	f("fill-disk a", "")
	f("status", "a > b: cut")
	f("status", "b > a: 10ms+1ms")
	f("status", "disk {Slow:0s Full:true")
	f("heal", "")
	f("slow-disk a 1s", "")
	f("fail-sync a", "")
	f("heal", "")
	if s := l.Status(); strings.Contains(s, "disk") || strings.Contains(s, ">") {
		t.Errorf("not healed:\n%s", s)
	}
}

// What up is asked for becomes sites of hosts, or an error that says what may be asked for.
func TestPlan(t *testing.T) {
	f := func(line, want string) {
		t.Helper()
		p, err := planOf(strings.Fields(line))
		got := fmt.Sprint(p.rtt)
		for _, s := range p.sites() {
			got += fmt.Sprint(" ", s.Name, s.Hosts)
		}
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) {
			t.Errorf("up %s: %q, want %q", line, got, want)
		}
	}
	f("", "50ms dc1[s1 s2 s3 client]")
	f("-clients 1 1", "dc1[s1 c1 client]")
	f("-dcs 2 -rtt 80ms 1", "80ms dc1[dc1-s1 dc1-c1 client] dc2[dc2-s1 dc2-c1]")
	f("-dcs 2 -clients 0 1", "dc1[dc1-s1 client] dc2[dc2-s1]")
	f("-dcs 3", "dc3[dc3-s1 dc3-s2 dc3-s3 dc3-c1]")
	f("0", "from 1 to 9")
	f("3 -dcs 3", "from 1 to 9")
	f("-dcs 9", "from 1 to 5")
	f("-rtt 2m", "up to 1m")
	f("-dcs 5 -clients 9", "at most 45")
	f("-what", "scripts/lab help")
}

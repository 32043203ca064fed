//go:build linux

package main

import (
	"os"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/scripts/conformance/lab"
)

// Commands do what they say, and tell what is wrong with those that are not understood.
func TestCommands(t *testing.T) {
	l, err := lab.Open(lab.Options{Dir: t.TempDir(), Hosts: []string{"a", "b"}})
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
	f("freeze x", "there are a, b")
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

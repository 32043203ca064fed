package demo

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestShape(t *testing.T) {
	f := func(said, want Shape) {
		t.Helper()
		if err := said.fill(); err != nil || said != want {
			t.Errorf("%+v: %v, want %+v", said, err, want)
		}
	}
	f(Shape{}, Shape{1, 1, 1, false})
	f(Shape{Secure: true}, Shape{1, 3, 1, true})
	f(Shape{Datacenters: 3}, Shape{3, 1, 1, false})
	f(Shape{Servers: 5, Clients: 2}, Shape{1, 5, 2, false})
	for _, s := range []Shape{{Datacenters: 6}, {Datacenters: -1}, {Servers: 8}, {Servers: -1}, {Clients: 21}, {Clients: -1}, {Secure: true, Datacenters: 2}, {Datacenters: 5, Servers: 7, Clients: 2}} {
		if err := s.fill(); err == nil {
			t.Errorf("%+v is taken", s)
		}
	}
}

// TestPlan: a plan that was written is read again; one that was changed by hand, or does not fit to what is said, is refused.
func TestPlan(t *testing.T) {
	dir := t.TempDir()
	p, was, err := load(dir, Shape{Datacenters: 2})
	if err != nil || was || len(p.Agents) != 4 || p.Agents[3].Name != "dc2-c1" {
		t.Fatalf("%+v, %v", p, err)
	}
	if err := p.settle(dir, false); err != nil {
		t.Fatal(err)
	}
	defer p.free()
	if err := p.write(dir); err != nil {
		t.Fatal(err)
	}
	again, was, err := load(dir, Shape{})
	if err != nil || !was {
		t.Fatal(err)
	}
	for i, a := range again.Agents {
		if a.Name != p.Agents[i].Name || a.Slot != p.Agents[i].Slot {
			t.Errorf("%+v, want %+v", a, p.Agents[i])
		}
	}
	if err := again.settle(dir, true); err == nil || !strings.Contains(err.Error(), "agent dc1-s1") {
		t.Errorf("slots that others have: %v", err)
	}
	for _, said := range []Shape{{Datacenters: 3}, {Servers: 2}, {Clients: 2}, {Secure: true}} {
		if _, _, err := load(dir, said); err == nil || !strings.Contains(err.Error(), "take another directory") {
			t.Errorf("%+v: %v", said, err)
		}
	}
	path := filepath.Join(dir, planFile)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{
		`"dc1-s1"`: `"../../x"`, `"Servers": 1`: `"Servers": 2`, `"Datacenters": 2`: `"Datacenters": 0`, `"Agents": [`: `"Agents": [null, `,
		`"Slot": `: `"Slot": -`, `{`: `[`, `"Datacenter": "dc2"`: `"Datacenter": "dc1"`,
	} {
		changed := strings.Replace(string(text), from, to, 1)
		if from == `"Slot": ` {
			changed = strings.Replace(string(text), from, from+"100", 1)
		}
		if changed == string(text) {
			t.Fatalf("%s is not in the plan", from)
		}
		if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := load(dir, Shape{}); err == nil || !strings.Contains(err.Error(), planFile) {
			t.Errorf("%s in place of %s: %v", to, from, err)
		}
	}
}

// TestSlots: agents take slots of which nobody has a port.
func TestSlots(t *testing.T) {
	one, two := draw(Shape{1, 2, 1, false}), draw(Shape{1, 1, 1, false})
	defer one.free()
	defer two.free()
	for _, p := range []*plan{one, two} {
		if err := p.settle("d", false); err != nil {
			t.Fatal(err)
		}
	}
	taken := map[int]bool{}
	for _, a := range append(one.Agents, two.Agents...) {
		if taken[a.Slot] {
			t.Errorf("slot %d is taken twice", a.Slot)
		}
		taken[a.Slot] = true
	}
	last := one.Agents[2]
	last.guard.Close()
	l, err := net.Listen("tcp", last.address(apiSidecar+2*slots))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := last.take(); err == nil {
		t.Error("a slot was taken of which somebody has a port")
	}
}

func TestEmpty(t *testing.T) {
	dir := t.TempDir()
	if err := empty(dir); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := empty(dir); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("a directory of others: %v", err)
	}
}

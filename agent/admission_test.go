package agent

import (
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/rpc/gossip"
)

func TestAdmission(t *testing.T) {
	member := func(name, id, dc, addr string) gossip.Member {
		return gossip.Member{
			Name: name, Addr: netip.MustParseAddr(addr), Port: 8301, Status: gossip.StatusAlive, Tags: map[string]string{"id": id, "dc": dc, "role": "node"},
		}
	}
	var log strings.Builder
	a := newAdmission("dc1", "Me", "id-me", slog.New(slog.NewTextHandler(&log, nil)))
	f := func(m gossip.Member, says ...string) {
		t.Helper()
		err := a.admit(m)
		if (err == nil) != (says == nil) {
			t.Fatalf("%s at %s: %v, want %q", m.Name, m.Addr, err, says)
		}
		for _, s := range says {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%s at %s: %v, want that it says %q", m.Name, m.Addr, err, s)
			}
		}
	}
	one := member("one", "id-one", "dc1", "10.0.0.1")
	a.note(gossip.Event{Kind: gossip.Joined, Member: one})
	f(one)
	f(member("one", "id-one", "dc1", "10.0.0.9")) // with another address
	f(member("one", "id-new", "dc1", "10.0.0.1")) // with a new data directory
	f(member("two", "id-two", "dc1", "10.0.0.2"))
	f(member("two", "", "dc1", "10.0.0.2"))
	f(member("Me", "id-me", "dc1", "10.0.0.3"))

	f(member("two", "id-two", "dc2", "10.0.0.2"), `"dc2"`, `"dc1"`, "-wan")
	f(member("two", "id-one", "dc1", "10.0.0.2"), "id-one", `"one" at 10.0.0.1:8301`, `"two" at 10.0.0.2:8301`, "node-id")
	f(member("two", "id-me", "dc1", "10.0.0.2"), "id-me", `"two"`, `"Me"`, "node-id")
	f(member("ONE", "id-two", "dc1", "10.0.0.2"), `"ONE"`, `"one" at 10.0.0.1:8301`, "node_name")
	f(member("me", "id-two", "dc1", "10.0.0.2"), `"me"`, `"Me"`, "node_name")

	// Each is told once, and again after something has changed.
	if n := strings.Count(log.String(), "\n"); n != 5 {
		t.Errorf("%d lines, want 5:\n%s", n, &log)
	}
	clone := member("two", "id-one", "dc1", "10.0.0.7")
	for range 3 {
		f(clone, "id-one")
	}
	if n := strings.Count(log.String(), "\n"); n != 6 {
		t.Errorf("%d lines, want 6:\n%s", n, &log)
	}

	// Who is gone holds nothing.
	for _, kind := range []gossip.EventKind{gossip.Failed, gossip.Left, gossip.Reaped} {
		a.note(gossip.Event{Kind: gossip.Joined, Member: one})
		f(clone, "id-one")
		a.note(gossip.Event{Kind: kind, Member: one})
		f(clone)
	}
}

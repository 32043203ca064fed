package server

import (
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/curia-mesh/curia/rpc/gossip"
)

// wanMember is a server of dc1 in the WAN pool that says who is in its cluster.
func wanMember(name, id string, status gossip.Status, knows ...string) gossip.Member {
	return gossip.Member{
		Name: name + ".dc1", Addr: netip.MustParseAddr("10.0.0.5"), Port: 8302, Status: status,
		Tags: map[string]string{"role": "consul", "dc": "dc1", "id": id, "port": "8300", "cluster": gossip.ClusterTag(knows)},
	}
}

// Who says that he is of this datacenter is refused unless Raft, the LAN pool or he himself knows him to be of this cluster.
func TestStrangersAreAvoided(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		logger := slog.New(slog.NewTextHandler(&log, nil))
		var lan []gossip.Member
		var servers []raft.Server
		r := newRoster("dc1", raft.Server{ID: "id-me"}, func() []gossip.Member { return lan }, logger)
		s := newStrangers(&Config{NodeName: "me", NodeID: "id-me", Datacenter: "dc1", Log: logger}, r, func() []raft.Server { return servers })
		f := func(m gossip.Member, says ...string) {
			t.Helper()
			err := s.avoid(m)
			if (err == nil) != (says == nil) {
				t.Fatalf("%s: %v, want %q", m.Name, err, says)
			}
			for _, want := range says {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%s: %v, want that it says %q", m.Name, err, want)
				}
			}
		}
		stranger := wanMember("s1", "id-s1", gossip.StatusNone, "id-s1")
		f(stranger) // this server is in no cluster itself yet
		servers = []raft.Server{{ID: "id-me"}, {ID: "id-two"}}
		f(stranger, `server "s1" at 10.0.0.5:8302 says that it is of datacenter "dc1", as server "me" is`, "two datacenters have one name", "give one of them another datacenter", "join them by the LAN first")
		f(wanMember("two", "id-two", gossip.StatusNone))
		f(wanMember("three", "id-three", gossip.StatusNone, "id-three", "id-two", "id-me")) // taken in a moment ago
		far := wanMember("far", "id-far", gossip.StatusNone, "id-far")
		far.Tags["dc"] = "dc2"
		f(far)
		servers = servers[1:]
		f(stranger) // this server was removed, and cannot tell
		servers = append(servers, raft.Server{ID: "id-me"})
		for range 3 {
			f(stranger, "two datacenters")
		}
		if n := strings.Count(log.String(), "\n"); n != 2 { // it was let in between
			t.Errorf("%d lines, want 2:\n%s", n, &log)
		}

		// A new server may be in the WAN pool a moment before the LAN pool has it: nobody is told of that.
		log.Reset()
		fresh := wanMember("new", "id-new", gossip.StatusNone)
		f(fresh, "two datacenters")
		time.Sleep(newcomerGrace / 2)
		f(fresh, "two datacenters")
		lan = []gossip.Member{fresh}
		lan[0].Status = gossip.StatusFailed // which does not matter
		r.observe()
		f(fresh)
		if log.Len() != 0 {
			t.Error(log.String())
		}
		lan = nil
		r.observe()
		for range 3 { // it stays unknown
			f(fresh, "two datacenters")
			time.Sleep(newcomerGrace)
		}
		if n := strings.Count(log.String(), "\n"); n != 1 {
			t.Errorf("%d lines, want 1:\n%s", n, &log)
		}
	})
}

// Of two clusters with one name the one that was known first is asked, until it is known to be gone.
func TestFirstOfOneNameIsAsked(t *testing.T) {
	var log strings.Builder
	logger := slog.New(slog.NewTextHandler(&log, nil))
	var n namesake
	f := func(want, line string, members ...gossip.Member) {
		t.Helper()
		log.Reset()
		var servers []gossip.Server
		for _, m := range members {
			s, ok := m.Server()
			if !ok {
				t.Fatalf("%s is no server", m.Name)
			}
			servers = append(servers, s)
		}
		n.tell(logger, twiceAbroad, "dc1", servers, n.keep(servers))
		var asked []string
		for _, s := range servers {
			if s.Status == gossip.StatusAlive && n.asked(s) {
				asked = append(asked, s.Name)
			}
		}
		if got := strings.Join(asked, " "); got != want {
			t.Errorf("asked are %q, want %q", got, want)
		}
		if line == "" && log.Len() > 0 || !strings.Contains(log.String(), line) {
			t.Errorf("the log says %q, want %q", &log, line)
		}
	}
	alive, failed := gossip.StatusAlive, gossip.StatusFailed
	z1, z2 := wanMember("z1", "Z1", alive, "Z1", "Z2"), wanMember("z2", "Z2", alive, "Z1", "Z2")
	a1 := wanMember("a1", "A1", alive, "A1")
	f("z1 z2", "", z1, z2)
	f("z1 z2", `first="z1 at 10.0.0.5:8300, z2 at 10.0.0.5:8300" other="a1 at 10.0.0.5:8300"`, z1, z2, a1)
	f("z1 z2", "", z1, z2, a1)
	f("z1 z3", "", z1, wanMember("z3", "Z3", alive, "Z1", "Z3"), a1)
	f("z3", "", wanMember("z3", "Z3", alive, "Z4", "Z3"), a1) // all the others were replaced, one at a time
	f("", "", wanMember("z3", "Z3", failed, "Z4", "Z3"), a1)
	f("z3", "no two clusters", wanMember("z3", "Z3", alive, "Z4", "Z3"), wanMember("a1", "A1", alive)) // which has just been started
	f("z3", "two clusters", wanMember("z3", "Z3", alive, "Z4", "Z3"), a1)
	f("a1", "no two clusters", a1) // the others have left

	// A datacenter that is made anew after its servers have failed is no stranger.
	n = namesake{}
	f("z1", "", z1)
	f("a1", "", wanMember("z1", "Z1", failed, "Z1", "Z2"), a1)
	// Servers of an older version do not say anything.
	f("a1 old older", "", a1, wanMember("old", "O", alive), wanMember("older", "P", alive))
}

// wanOf is a WAN pool of these members.
type wanOf struct {
	WAN
	members []gossip.Member
}

func (w *wanOf) Members() []gossip.Member { return w.members }

// When the first of two clusters gets another name its former entries, which have failed, do not keep the second from being
// asked, and both are known.
func TestFirstOfOneNameIsRenamed(t *testing.T) {
	var log strings.Builder
	wan := &wanOf{}
	d := newDatacenters(&Config{Datacenter: "dc2", WAN: wan, Log: slog.New(slog.NewTextHandler(&log, nil))})
	f := func(datacenter, want string) {
		t.Helper()
		d.observe()
		other, err := d.remote(datacenter)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, s := range other.router.Servers() {
			names = append(names, s.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("in %s %q are asked, want %q", datacenter, got, want)
		}
	}
	z, a := wanMember("z", "Z", gossip.StatusAlive, "Z"), wanMember("a", "A", gossip.StatusAlive, "A")
	wan.members = []gossip.Member{z}
	f("dc1", "z")
	wan.members = []gossip.Member{a, z}
	f("dc1", "z")
	if names := d.twiceNamed(); len(names) != 1 || names[0] != "dc1" || !strings.Contains(log.String(), "two clusters") {
		t.Errorf("%q\n%s", names, &log)
	}
	z.Status = gossip.StatusFailed
	wan.members = []gossip.Member{a, z}
	f("dc1", "")
	other, _ := d.remote("dc1")
	if err := other.begin(); err == nil || !strings.Contains(err.Error(), "another cluster with the same name") {
		t.Error(err)
	}
	renamed := wanMember("z", "Z", gossip.StatusAlive, "Z")
	renamed.Name, renamed.Tags["dc"] = "z.dc3", "dc3"
	wan.members = []gossip.Member{a, z, renamed}
	f("dc1", "a")
	f("dc3", "z")
	if names := d.twiceNamed(); len(names) != 0 {
		t.Error(names)
	}
}

package autopilot_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/server/autopilot"
)

const stable = 10 * time.Second

var now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// parse reads servers such as "a:leader b:failed c:non d:new,young,v=1.2 e:non,zone=x".
func parse(text string) (servers []autopilot.Server) {
	for word := range strings.FieldsSeq(text) {
		id, rest, _ := strings.Cut(word, ":")
		s := autopilot.Server{ID: id, Name: id, Address: id, Member: true, Voter: true, Alive: true, Healthy: true, Since: now.Add(-time.Hour), Version: "1.0.0"}
		for trait := range strings.SplitSeq(rest, ",") {
			name, value, _ := strings.Cut(trait, "=")
			switch name {
			case "leader":
				s.Leader = true
			case "failed":
				s.Alive, s.Healthy = false, false
			case "left":
				s.Alive, s.Healthy, s.Left = false, false, true
			case "ill":
				s.Healthy = false
			case "non":
				s.Voter = false
			case "new":
				s.Member, s.Voter = false, false
			case "young":
				s.Since = now.Add(-time.Second)
			case "back":
				s.Since, s.Restored = now, true
			case "moved":
				s.Moved = true
			case "replica":
				s.Replica = true
			case "zone":
				s.Zone = value
			case "v":
				s.Version = value
			}
		}
		servers = append(servers, s)
	}
	return servers
}

func TestNext(t *testing.T) {
	c := &catalog.AutopilotConfig{CleanupDeadServers: true}
	f := func(servers, want string) {
		t.Helper()
		got := "nothing"
		if s, ok := autopilot.Next(c, parse(servers), now, stable); ok {
			got = fmt.Sprintf("%s %s", s.Kind, s.Server.ID)
		}
		if got != want {
			t.Errorf("%s: %s, want %s", servers, got, want)
		}
	}
	f("a:leader", "nothing")
	f("a:leader b: c:", "nothing")
	f("a:leader,moved", "nothing")
	f("a:leader,moved b:new", "move a")
	f("a:leader b:new", "add b")
	f("a:leader b:new,failed", "nothing")
	f("a:leader b:non,young", "nothing")
	f("a:leader b:non", "promote b")
	f("a:leader b:non,ill", "nothing")
	f("a:leader b:non,replica", "nothing")
	f("a:leader b:moved c:", "move b")
	f("a:leader b:left c:", "remove b")
	f("a:leader,left b: c:", "nothing")

	// A voter that has failed stays while one more failure would lose the quorum without it, too.
	f("a:leader b:failed c:", "nothing")
	f("a:leader b:failed c: d:non,young", "nothing")
	f("a:leader b:failed c: d:non", "promote d")
	f("a:leader b:failed c: d:", "remove b")
	f("a:leader b:failed c: d: e:", "remove b")
	f("a:leader b:failed c:failed d: e:", "remove b")
	f("a:leader c:failed d: e:", "remove c")
	f("a:leader b:failed c:failed d:failed e:", "nothing")
	f("a:leader b:failed", "nothing")
	f("a:leader b:failed,non c:failed d:", "remove b")
	f("a:leader b: d: c:back,non", "promote c")
	c.MinQuorum = 5
	f("a:leader b:failed c: d: e:", "nothing")
	c.MinQuorum = 4
	f("a:leader b:failed c: d: e:", "remove b")
	c.MinQuorum, c.CleanupDeadServers = 0, false
	f("a:leader b:failed c: d: e:", "nothing")
	c.CleanupDeadServers = true

	// Each zone has one vote.
	f("a:leader,zone=x b:zone=y c:zone=z d:non,zone=x", "nothing")
	f("a:leader,zone=x b:zone=y c:zone=z,failed d:non,zone=z", "promote d")
	f("a:leader,zone=x b:zone=y c:zone=z,failed d:zone=z", "demote c")
	f("a:leader,zone=x b:zone=x c:zone=y d:zone=z", "demote b")
	f("a:leader,zone=x b:zone=x c:zone=y", "nothing") // two voters would not survive a failure

	// A migration to a newer version begins when as many servers have it as voters do not.
	f("a:leader b: c: d:non,v=1.1.0", "nothing")
	f("a:leader b: c: d:non,v=1.1.0 e:non,v=1.1.0", "nothing")
	f("a:leader b: c: d:non,v=1.1.0 e:non,v=1.1.0 f:non,v=1.1.0", "promote d")
	f("a:leader b: c: d:v=1.1.0 e:v=1.1.0 f:v=1.1.0", "demote b")
	f("a:leader d:v=1.1.0 e:v=1.1.0 f:v=1.1.0", "transfer d")
	f("a: d:leader,v=1.1.0 e:v=1.1.0 f:v=1.1.0", "demote a")
	f("a:leader b:failed c: d:non,v=1.1.0", "promote d") // rather than to wait with no reserve
	f("a:leader,v=1.1.0 b:v=1.1.0 c:", "nothing")        // upgraded in place
	f("a:leader b: c:v=1.1.0", "nothing")
	c.DisableUpgradeMigration = true
	f("a:leader b: c: d:non,v=1.1.0", "promote d")
}

func TestOlder(t *testing.T) {
	f := func(a, b string) {
		t.Helper()
		if !autopilot.Older(a, b) || autopilot.Older(b, a) || autopilot.Older(a, a) {
			t.Errorf("%s is not before %s", a, b)
		}
	}
	f("1.9.0", "1.10.0")
	f("1.2", "1.2.1")
	f("1.2.0-beta1", "1.2.0")
	f("1.2.0-alpha", "1.2.0-beta")
}

// Whatever the cluster is: steps end, and no step of autopilot's own leaves a reserve of none where there was one,
// nor takes from a cluster the quorum that it has.
func TestStepsKeepTheQuorum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &catalog.AutopilotConfig{CleanupDeadServers: rapid.Bool().Draw(t, "cleanup"), DisableUpgradeMigration: rapid.Bool().Draw(t, "in place")}
		servers := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) autopilot.Server {
			alive := rapid.IntRange(0, 9).Draw(t, "alive") > 1
			member := rapid.IntRange(0, 9).Draw(t, "member") > 1
			return autopilot.Server{
				Member: member, Voter: member && rapid.IntRange(0, 9).Draw(t, "voter") > 2, Alive: alive, Healthy: alive && rapid.IntRange(0, 9).Draw(t, "healthy") > 0,
				Since: now.Add(-time.Duration(rapid.IntRange(0, 20).Draw(t, "since")) * time.Second), Replica: rapid.IntRange(0, 9).Draw(t, "replica") == 0,
				Zone: rapid.SampledFrom([]string{"", "", "x", "y", "z"}).Draw(t, "zone"), Version: rapid.SampledFrom([]string{"1.0.0", "1.1.0"}).Draw(t, "version"),
			}
		}), 1, 9).Draw(t, "servers")
		servers[0].Member, servers[0].Voter, servers[0].Alive, servers[0].Healthy, servers[0].Leader, servers[0].Replica = true, true, true, true, true, false
		for i := range servers {
			servers[i].ID = string(rune('a' + i))
		}
		for step := 0; ; step++ {
			if step > 50 {
				t.Fatalf("no end: %+v", servers)
			}
			before := reserve(servers)
			s, ok := autopilot.Next(c, servers, now, stable)
			if !ok {
				return
			}
			servers = take(t, servers, s)
			if after := reserve(servers); after < min(before, 1) && s.Kind != autopilot.Promote && !(s.Kind == autopilot.Demote && s.Server.Replica) {
				t.Fatalf("%s %s (%s): of %d in reserve, %d are left: %+v", s.Kind, s.Server.ID, s.Why, before, after, servers)
			} else if before >= 0 && after < 0 {
				t.Fatalf("%s %s loses the quorum: %+v", s.Kind, s.Server.ID, servers)
			}
		}
	})
}

// reserve is how many voters may still fail; negative is that the quorum is lost.
func reserve(servers []autopilot.Server) int {
	voters, alive := 0, 0
	for _, s := range servers {
		if s.Voter {
			voters++
			if s.Alive {
				alive++
			}
		}
	}
	return alive - (voters/2 + 1)
}

func take(t *rapid.T, servers []autopilot.Server, step autopilot.Step) (after []autopilot.Server) {
	for _, s := range servers {
		if s.ID != step.Server.ID {
			if step.Kind == autopilot.Transfer {
				s.Leader = false
			}
			after = append(after, s)
			continue
		}
		switch step.Kind {
		case autopilot.Add:
			s.Member = true
		case autopilot.Move:
			s.Moved = false
		case autopilot.Promote:
			s.Voter = true
		case autopilot.Demote:
			if s.Leader {
				t.Fatal("the leader is demoted")
			}
			s.Voter = false
		case autopilot.Transfer:
			s.Leader = true
		case autopilot.Remove:
			if s.Leader {
				t.Fatal("the leader is removed")
			}
			continue
		}
		after = append(after, s)
	}
	return after
}

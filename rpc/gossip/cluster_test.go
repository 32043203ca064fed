package gossip

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Servers are of one cluster as long as what they say overlaps, however many have come and gone between.
func TestClusters(t *testing.T) {
	server := func(name string, status Status, knows ...string) Server {
		return Server{Name: name, Addr: netip.MustParseAddrPort("10.0.0.1:8300"), Status: status, Cluster: ClusterTag(knows)}
	}
	f := func(want string, servers ...Server) {
		t.Helper()
		var got []string
		for _, c := range Clusters(servers) {
			var names []string
			for _, s := range c.Servers {
				names = append(names, s.Name)
			}
			got = append(got, strings.Join(names, " "))
		}
		if strings.Join(got, " | ") != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f("a b", server("a", StatusAlive, "A", "B"), server("b", StatusAlive, "b", "a"))
	f("a | b", server("b", StatusAlive, "B"), server("a", StatusAlive, "A"))
	f("a b | x y", server("y", StatusAlive, "X", "Y"), server("b", StatusAlive, "A", "B"), server("x", StatusAlive, "X"), server("a", StatusAlive, "A"))
	f("a b c", server("a", StatusAlive, "A"), server("c", StatusAlive, "C"), server("b", StatusAlive, "A", "C")) // b joins both
	f("a", server("a", StatusAlive, "A"), server("new", StatusAlive), server("old", StatusFailed, "O"))
	f("")

	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprint("server", i))
	}
	if tag := ClusterTag(many); len(tag) > MaxTagBytes/3 || !SameCluster(tag, ClusterTag(many[:99])) {
		t.Error(tag)
	}
	if SameCluster("", "") || SameCluster("", ClusterTag(many)) {
		t.Error("nothing is known of a server that does not say")
	}
}

// One who is avoided is refused alone: what the others tell is taken, from whoever also knows him.
func TestAvoid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fabric{}
		ca := f.config(t, "a", atA)
		ca.Avoid = func(m Member) error {
			if m.Name == "b" {
				return errors.New("is a stranger")
			}
			return nil
		}
		a, b, c := mustOpen(t, ca), mustOpen(t, f.config(t, "b", atB)), mustOpen(t, f.config(t, "c", atC))
		says := func(p *Pool, to, want string) {
			t.Helper()
			n, err := p.Join(t.Context(), []string{to})
			if want == "" && (n != 1 || err != nil) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("joined %d: %v, want %q", n, err, want)
			}
		}
		says(a, atB, "member b at "+atB+" is not taken into this pool: is a stranger") // he is alone
		mustJoin(t, b, c)
		says(a, atB, "is a stranger") // c is with him, and is taken
		says(a, atC, "")              // who knows b
		if err := b.TellCluster(ClusterTag([]string{"b"})); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		var names []string
		for _, m := range a.Members() {
			names = append(names, fmt.Sprint(m.Name, m.Status))
		}
		if got := strings.Join(names, " "); got != "aalive calive" {
			t.Error(got)
		}
		for _, m := range c.Members() {
			if m.Status != StatusAlive || m.Name == "b" && !SameCluster(m.Tags["cluster"], ClusterTag([]string{"b"})) {
				t.Errorf("c has %s %s %v", m.Name, m.Status, m.Tags)
			}
		}
		closeAll(t, a, b, c)
	})
}

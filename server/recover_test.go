package server_test

import (
	"strings"
	"testing"

	"github.com/curia-mesh/curia/server"
)

// Two of three servers are lost for good: the third goes on alone, and empty ones join it.
func TestRecovery(t *testing.T) {
	c, nodes := three(t, electing)
	l := leader(t, nodes...)
	put(t, l.Server, "k", "1")
	for _, n := range nodes {
		n.kill()
	}
	past, err := server.ReadPast(l.cfg.DataDir, "")
	if err != nil || len(past.Members) != 3 || past.LastIndex == 0 || past.LastTerm == 0 {
		t.Fatalf("%+v, %v", past, err)
	}
	if _, err := server.PlanRecovery(l.cfg.DataDir, []server.Member{{ID: idOf(7), Address: "127.0.0.1:1"}}); err != nil {
		t.Fatal(err)
	}
	if got := open(t, l.cfg); !strings.Contains(got, "peers.json") || !strings.Contains(got, l.cfg.NodeID) {
		t.Errorf("a plan without this server: %q", got)
	}
	for _, m := range past.Members {
		if m.ID == l.cfg.NodeID {
			if _, err := server.PlanRecovery(l.cfg.DataDir, []server.Member{m}); err != nil {
				t.Fatal(err)
			}
		}
	}
	l.run(t)
	l.WaitLeading(t.Context())
	if got, _ := get(t, l.Server, "k"); got != "1" {
		t.Errorf("k = %q", got)
	}
	put(t, l.Server, "k", "2")
	wantVotes(t, l, l.cfg.NodeName)
	c.start(t, 8, 0)
	l.log.wait(t, "step=promote server=s8")
	l.kill()
	l.run(t) // the plan is not read again
	l.WaitLeader(t.Context())
	wantVotes(t, l, l.cfg.NodeName+" s8")
}

package agent

import (
	"testing"
	"time"

	"github.com/curia-mesh/curia/agent/config"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc/gossip"
)

// TestReapAfter: how long a member is remembered goes by its node's metadata, once it has failed.
func TestReapAfter(t *testing.T) {
	store := state.New()
	tx := store.Write(1)
	for name, meta := range map[string]map[string]string{"spot": {"class": "spot", "rack": "r1"}, "slow": {"class": "slow"}, "none": nil} {
		if _, err := state.EnsureNode(tx, &catalog.Node{Node: name, Address: "10.0.0.1", Meta: meta}); err != nil {
			t.Fatal(err)
		}
	}
	tx.Commit()
	a := &Agent{config: newCurrent(&config.Config{ReapAfter: map[string]time.Duration{
		"class=spot": time.Hour, "rack=r1": 10 * time.Minute, "class=slow": 100 * time.Hour, "absent=": time.Minute,
	}})}
	f := func(name string, status gossip.Status, want time.Duration) {
		t.Helper()
		if got := a.reapAfter(gossip.Member{Name: name, Status: status}, 72*time.Hour); got != want {
			t.Errorf("%s, which has %s, is remembered for %v, want %v", name, status, got, want)
		}
	}
	f("spot", gossip.StatusFailed, 72*time.Hour) // before there is a store
	a.nodes.Store(store)
	f("spot", gossip.StatusFailed, 10*time.Minute)
	f("SPOT", gossip.StatusFailed, 10*time.Minute)
	f("spot", gossip.StatusLeft, 72*time.Hour)
	f("slow", gossip.StatusFailed, 100*time.Hour)
	f("none", gossip.StatusFailed, 72*time.Hour)
	f("stranger", gossip.StatusFailed, 72*time.Hour)
}

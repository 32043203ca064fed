package fleet_test

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/curia-mesh/curia/agent/testkit"
)

// TestSilentDatacenter: one whose servers hang is found out while somebody waits for it. All who do are told, those who
// wait for a change too, and it is found again.
func TestSilentDatacenter(t *testing.T) {
	one, two := datacenters(t, nil)
	two.Put(t, "/v1/kv/k", "v")
	r := one.Get(t, "/v1/kv/k?dc=dc2").Want(t, http.StatusOK)
	parked := make(chan testkit.Reply, 1)
	go func() { // ends with the answer
		got, err := one.Ask(t.Context(), "GET", fmt.Sprintf("/v1/kv/k?dc=dc2&wait=10m&index=%d", r.Index()), "")
		if err != nil {
			t.Error(err)
		}
		parked <- got
	}()
	two.Suspend(t)
	if r := one.Do(t, "GET", "/v1/kv/k?dc=dc2", ""); r.Status != http.StatusInternalServerError || !strings.Contains(r.Body, `No path to datacenter "dc2"`) || !strings.Contains(r.Body, "no answer within 10s") {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	if got := <-parked; got.Status != http.StatusInternalServerError || !strings.Contains(got.Body, "No path to datacenter") {
		t.Errorf("who waits for a change: %d %s", got.Status, got.Body)
	}
	two.Signal(t, syscall.SIGCONT)
	one.Log.Wait(t, "a datacenter can be reached again")
	if r := one.Get(t, "/v1/kv/k?dc=dc2&raw").Want(t, http.StatusOK); r.Body != "v" {
		t.Errorf("it has %q", r.Body)
	}
}

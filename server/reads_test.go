package server_test

import (
	"testing"

	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
)

// The table of verbs that may be asked again, which callers have, says what the servers say: every query is in
// it, no command, and of the actions those that only look.
func TestReadsAreQueries(t *testing.T) {
	looks := map[string]bool{
		api.AutopilotHealth.Name: true, api.CoordinateDatacenters.Name: true, api.Datacenters.Name: true, api.FederationStatus.Name: true,
		api.KVCopyStatus.Name: true, api.QueryAt.Name: true, api.QueryFailover.Name: true, api.RaftConfigurationRead.Name: true, api.StatusLeader.Name: true, api.StatusPeers.Name: true,
	}
	s, _ := start(t, "")
	registry := s.Caller().(*endpoint.Registry)
	for _, method := range registry.Methods() {
		if want := registry.Reads(method) || looks[method]; api.Reads(method) != want {
			t.Errorf("%s: it may be asked again: %v, want %v", method, api.Reads(method), want)
		}
	}
}

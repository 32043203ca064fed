package server

import (
	"context"
	"time"

	metrics "github.com/hashicorp/go-metrics"
	"github.com/hashicorp/raft"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/handler"
)

// gaugeInterval is how often the gauges of what the server holds are set.
const gaugeInterval = 10 * time.Second

// Names of the gauges, as Consul's dashboards know them.
// Source: https://developer.hashicorp.com/consul/docs/reference/agent/telemetry
var (
	gaugeLeader    = []string{"server", "isLeader"}
	gaugeHealthy   = []string{"autopilot", "healthy"}
	gaugeTolerance = []string{"autopilot", "failure_tolerance"}
	gaugeNodes     = []string{"state", "nodes"}
	gaugeServices  = []string{"state", "services"}
	gaugeInstances = []string{"state", "service_instances"}
	gaugeBillable  = []string{"state", "billable_service_instances"}
	gaugeConnect   = []string{"state", "connect_instances"}
	gaugeKeys      = []string{"state", "kv_entries"}
	gaugeServers   = []string{"members", "servers"}
	gaugeClients   = []string{"members", "clients"}
	gaugeTimers    = []string{"session_ttl", "active"}
	gaugeVersion   = []string{"version"}
	gaugeRoot      = []string{"mesh", "active-root-ca", "expiry"}
	gaugeSigner    = []string{"mesh", "active-signing-ca", "expiry"}
	gaugePeer      = []string{"peering", "healthy"}
	gaugeExports   = []string{"peering", "exported_services"}
	gaugeLogBytes  = []string{"raft", "wal", "size"}
)

// gauges tells what the server holds.
type gauges struct{ *Server }

// gauge sets what the server holds from time to time, until ctx ends.
func (s *gauges) gauge(ctx context.Context) error {
	tick := time.NewTicker(gaugeInterval)
	defer tick.Stop()
	for {
		s.setGauges(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (s *gauges) setGauges(ctx context.Context) {
	dc := []metrics.Label{{Name: "datacenter", Value: s.cfg.Datacenter}}
	metrics.SetGaugeWithLabels(gaugeVersion, 1, []metrics.Label{{Name: "version", Value: s.cfg.Version}})
	metrics.SetGauge(gaugeLeader, zeroOne(s.raft.State() == raft.Leader))
	metrics.SetGauge(gaugeTimers, float32(s.sessions.count()))
	if s.raft.disk != nil {
		metrics.SetGauge(gaugeLogBytes, float32(s.raft.disk.Size()))
	}
	s.gaugeMembers(dc)
	if usage, _, err := api.UsageRead.Call(ctx, s.registry, rpc.Header{Consistency: rpc.Stale}, &api.Nothing{}); err == nil {
		u := (*usage)[s.cfg.Datacenter]
		metrics.SetGaugeWithLabels(gaugeNodes, float32(u.Nodes), dc)
		metrics.SetGaugeWithLabels(gaugeServices, float32(u.Services), dc)
		metrics.SetGaugeWithLabels(gaugeInstances, float32(u.ServiceInstances), dc)
		metrics.SetGaugeWithLabels(gaugeBillable, float32(u.BillableServiceInstances), dc)
		for kind, n := range u.ConnectServiceInstances {
			metrics.SetGaugeWithLabels(gaugeConnect, float32(n), append([]metrics.Label{{Name: "kind", Value: kind}}, dc...))
		}
	}
	metrics.SetGaugeWithLabels(gaugeKeys, float32(state.KVCount(s.store.Read())), dc)
	if !s.host.Leading() {
		return
	}
	s.gaugeReplicas()
	if s.cfg.Mesh {
		root, signer := s.custody.Expiry()
		gaugeEnd(gaugeRoot, root)
		gaugeEnd(gaugeSigner, signer)
	}
	s.gaugePeers()
	if h, err := s.operator.health(); err == nil {
		metrics.SetGauge(gaugeHealthy, zeroOne(h.Healthy))
		metrics.SetGauge(gaugeTolerance, float32(h.FailureTolerance))
	}
}

// gaugeReplicas tells for how long the copies of the primary's data and the keys of others, have not been seen to be as there.
func (s *gauges) gaugeReplicas() {
	list, running := s.replica.Progress()
	for _, p := range list {
		if running {
			metrics.SetGauge([]string{"leader", "replication", string(p.Kind), "lag"}, float32(p.Lag.Seconds()))
		}
	}
	keys, running := s.keys.Progress()
	for _, p := range keys {
		if running {
			metrics.SetGaugeWithLabels([]string{"leader", "replication", string(p.Kind), "lag"}, float32(p.Lag.Seconds()), []metrics.Label{{Name: "entry", Value: p.Entry}})
		}
	}
}

// gaugePeers tells of each peering whether it is active, and how many services go out over it.
func (s *gauges) gaugePeers() {
	tx := s.store.Read()
	rows, _ := state.Peerings(tx, nil)
	for _, p := range rows {
		labels := []metrics.Label{{Name: "peer_name", Value: p.Name}, {Name: "peer_id", Value: p.ID}}
		metrics.SetGaugeWithLabels(gaugePeer, zeroOne(p.State == catalog.PeeringActive), labels)
		metrics.SetGaugeWithLabels(gaugeExports, float32(len(handler.ExportedTo(tx, nil, p.Name))), labels)
	}
}

// gaugeEnd sets a gauge to the seconds until a time; a time that is not known sets none.
func gaugeEnd(key []string, end time.Time) {
	if !end.IsZero() {
		metrics.SetGauge(key, float32(time.Until(end).Seconds()))
	}
}

func (s *gauges) gaugeMembers(dc []metrics.Label) {
	servers, clients := 0, 0
	for _, m := range s.cfg.Members() {
		if m.Tags["role"] == catalog.ServersService {
			servers++
		} else {
			clients++
		}
	}
	metrics.SetGaugeWithLabels(gaugeServers, float32(servers), dc)
	metrics.SetGaugeWithLabels(gaugeClients, float32(clients), dc)
}

func zeroOne(b bool) float32 {
	if b {
		return 1
	}
	return 0
}

package external

import (
	"context"
	"strings"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
)

const (
	// outputEvery is how often a mere change of output is written.
	outputEvery = 5 * time.Minute
	// writeTimeout bounds a write to the catalog.
	writeTimeout = 10 * time.Second
)

// Report implements check.Reporter.
func (m *Monitor) Report(key string, status catalog.Status, output string) {
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout) // results come from where no context goes
	defer cancel()
	m.report(ctx, key, status, output)
}

// report writes a result into the catalog when it is news. Whoever else changed or removed the check in the
// meantime wins: the next look at the catalog tells.
func (m *Monitor) report(ctx context.Context, key string, status catalog.Status, output string) {
	m.mu.Lock()
	r := m.rows[key]
	if r == nil || !r.absent && r.check.Status == status && (r.check.Output == output || time.Since(r.wrote) < outputEvery) {
		m.mu.Unlock()
		return
	}
	next, absent, was := r.check, r.absent, r.check.Status
	m.mu.Unlock()
	next.Status, next.Output = status, output
	stored, err := m.write(ctx, &next, absent)
	if err != nil {
		m.Log.Warn("the state of an external node's check could not be written", "node", next.Node, "check", next.CheckID, "err", err)
		return
	}
	if stored != nil && (absent || stored.Status != was) {
		m.Log.Info("health check of an external node changed", "node", next.Node, "check", next.CheckID, "service", next.ServiceID, "status", status)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := m.rows[key]; stored != nil && now != nil && now.check.ModifyIndex < stored.ModifyIndex {
		now.check, now.absent, now.wrote = *stored, false, time.Now()
	}
}

// write stores a check as long as it is what it was read as, and returns the stored row, nil when it was
// not.
func (m *Monitor) write(ctx context.Context, c *catalog.Check, absent bool) (*catalog.Check, error) {
	if absent {
		c.ModifyIndex = 0 // there must be none
	}
	rep, _, err := api.TxnApply.Call(ctx, m.Caller, rpc.Header{Token: m.Token()}, &api.TxnRequest{Ops: []api.TxnOp{{Check: &api.TxnCheck{Verb: api.TxnCAS, Check: *c}}}})
	if err != nil || len(rep.Errors) > 0 || len(rep.Results) == 0 {
		return nil, err
	}
	return rep.Results[0].Check, nil
}

// Reap implements check.Reaper: services of external nodes that stay critical are deregistered.
func (m *Monitor) Reap(ctx context.Context, service, _ string, critical time.Duration) {
	node, id, _ := strings.Cut(service, "\x00")
	_, _, err := api.Deregister.Call(ctx, m.Caller, rpc.Header{Token: m.Token()}, &api.DeregisterRequest{Node: node, ServiceID: id})
	if err != nil {
		m.Log.Warn("a service of an external node that stays critical could not be deregistered", "node", node, "service", id, "critical", critical, "err", err)
		return
	}
	m.Log.Info("a service of an external node that stayed critical is deregistered", "node", node, "service", id, "critical", critical)
}

package conformance

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"
)

// What an agent says of itself and its machine.
func TestAgentSelf(t *testing.T) {
	t.Parallel()
	a := start(t, settings{"node_name": "self", "node_meta": settings{"rack": "r1"}})
	self, err := a.Agent().Self()
	must(t, err)
	config := self["Config"]
	if config["NodeName"] != "self" || config["Datacenter"] != "dc1" || config["Server"] != true || config["Version"] == "" || len(config["NodeID"].(string)) != 36 {
		t.Errorf("Config: %s", asJSON(config))
	}
	if self["Member"]["Name"] != "self" || self["Member"]["Addr"] != a.host || self["Meta"]["rack"] != "r1" {
		t.Errorf("Member and Meta: %s %s", asJSON(self["Member"]), asJSON(self["Meta"]))
	}
	for group, key := range map[string]string{"Stats": "raft", "Coord": "Vec", "DebugConfig": "datacenter"} {
		if self[group][key] == nil {
			t.Errorf("%s has no %s", group, key)
		}
	}
	name, err := a.Agent().NodeName()
	must(t, err)
	equal(t, "node name", name, "self")
	gossip := self["DebugConfig"]["SerfAdvertiseAddrLAN"].(string)
	must(t, a.Agent().Join(strings.TrimPrefix(gossip, "tcp://"), false))

	version, err := a.Agent().Version()
	must(t, err)
	equal(t, "versions", version["HumanVersion"], config["Version"])
	host, err := a.Agent().Host()
	must(t, err)
	for _, key := range []string{"Memory", "CPU", "Host", "Disk", "CollectionTime"} {
		if host[key] == nil {
			t.Errorf("the host has no %s", key)
		}
	}
}

// Members of both pools; another datacenter joins over the WAN, leaves, and is forgotten.
func TestAgentMembers(t *testing.T) {
	t.Parallel()
	a, b := start(t, settings{"node_name": "a"}), start(t, settings{"node_name": "b", "datacenter": "dc2"})
	lan, err := a.Agent().Members(false)
	must(t, err)
	if len(lan) != 1 || lan[0].Name != "a" || lan[0].Status != 1 || lan[0].ACLMode() != api.ACLModeDisabled || !lan[0].IsConsulServer() || int(lan[0].Port) != a.port["serf_lan"] {
		t.Errorf("LAN members: %s", asJSON(lan))
	}
	all, err := a.Agent().MembersOpts(api.MembersOpts{Segment: api.AllSegments})
	must(t, err)
	equal(t, "members of all segments", all, lan)
	none, err := a.Agent().MembersOpts(api.MembersOpts{Filter: `Name == "nobody"`})
	must(t, err)
	equal(t, "filtered members", len(none), 0)

	refused(t, "join of nobody", a.Agent().Join(b.host+":1", false), 500)
	must(t, a.Agent().Join(fmt.Sprintf("%s:%d", b.host, b.port["serf_wan"]), true))
	both := map[string]int{"a.dc1": alive, "b.dc2": alive}
	a.waitMembers(both)
	b.waitMembers(both)
	refused(t, "force-leave of nobody", a.Agent().ForceLeave("nobody"), 500)
	refused(t, "prune of nobody", a.Agent().ForceLeavePrune("nobody"), 500)
	must(t, b.Agent().Leave())
	b.waitExit()
	a.waitMembers(map[string]int{"a.dc1": alive, "b.dc2": left})
	must(t, a.Agent().ForceLeaveOpts("b.dc2", api.ForceLeaveOpts{Prune: true, WAN: true}))
	a.waitMembers(map[string]int{"a.dc1": alive})
}

// The states of members. Source: https://developer.hashicorp.com/consul/api-docs/agent#list-members
const alive, left = 1, 3

// waitMembers waits until the WAN pool is as wanted. Nothing blocks on members, so that each line of the
// agent's log is the moment to look again.
func (a *agent) waitMembers(want map[string]int) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), patience)
	defer cancel()
	lines, err := a.Agent().Monitor("debug", ctx.Done(), nil)
	must(a.t, err)
	for {
		wan, err := a.Agent().Members(true)
		must(a.t, err)
		got := statuses(wan)
		if maps.Equal(got, want) {
			return
		}
		if _, ok := nextLine(ctx, lines); !ok {
			a.t.Fatalf("WAN members seen by %s are %v, want %v", a.name, got, want)
		}
	}
}

func statuses(members []*api.AgentMember) map[string]int {
	all := map[string]int{}
	for _, m := range members {
		all[m.Name] = m.Status
	}
	return all
}

// nextLine is the next line of a monitored log; false when none comes any more.
func nextLine(ctx context.Context, lines <-chan string) (string, bool) {
	select {
	case line, ok := <-lines:
		return line, ok
	case <-ctx.Done():
		return "", false
	}
}

// The log as text and as JSON, by level.
func TestAgentMonitor(t *testing.T) {
	t.Parallel()
	a := start(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	refusedLevel := a.ask("GET", "/v1/agent/monitor?loglevel=loud", "")
	equal(t, "status of an unknown level", refusedLevel.status, 400)
	text, err := a.Agent().Monitor("debug", ctx.Done(), nil)
	must(t, err)
	structured, err := a.Agent().MonitorJSON("debug", ctx.Done(), nil)
	must(t, err)
	a.status(404, "GET", "/v1/agent/service/looked-for-in-the-log", "")
	find := func(lines <-chan string) string {
		t.Helper()
		for {
			line, ok := nextLine(ctx, lines)
			if !ok {
				t.Fatal("the line did not come")
			}
			if strings.Contains(line, "looked-for-in-the-log") {
				return line
			}
		}
	}
	if line := find(text); !strings.Contains(line, "[DEBUG]") {
		t.Errorf("a line has no level: %s", line)
	}
	line, fields := find(structured), map[string]any{}
	must(t, json.Unmarshal([]byte(line), &fields))
	if fields["@level"] != "debug" || fields["@message"] == nil || fields["@timestamp"] == nil {
		t.Errorf("fields of a line: %s", line)
	}
}

// Metrics as JSON, as a stream, and for Prometheus once that is on.
func TestAgentMetrics(t *testing.T) {
	t.Parallel()
	a := start(t, settings{"telemetry": settings{"prometheus_retention_time": "1m"}})
	host, err := os.Hostname()
	must(t, err)
	wanted := "consul." + strings.ReplaceAll(host, ".", "_") + ".runtime.alloc_bytes"
	has := func(gauges []api.GaugeValue) bool {
		for _, g := range gauges {
			if g.Name == wanted && g.Value > 0 {
				return true
			}
		}
		return false
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stream, err := a.Agent().MetricsStream(ctx)
	must(t, err)
	defer stream.Close()
	for summaries := json.NewDecoder(stream); ; {
		var one api.MetricsInfo
		must(t, summaries.Decode(&one))
		if has(one.Gauges) {
			break
		}
	}
	now, err := a.Agent().Metrics()
	must(t, err)
	if now.Timestamp == "" || !has(now.Gauges) {
		t.Errorf("no gauge %s in %s", wanted, asJSON(now))
	}
	prometheus := a.status(200, "GET", "/v1/agent/metrics?format=prometheus", "")
	if !strings.Contains(prometheus.body, "consul_runtime_alloc_bytes") && !strings.Contains(prometheus.body, "runtime_alloc_bytes") {
		t.Errorf("metrics for Prometheus: %.2000s", prometheus.body)
	}
	for lines := bufio.NewScanner(strings.NewReader(prometheus.body)); lines.Scan(); {
		if line := lines.Text(); line != "" && line[0] != '#' && !strings.Contains(line, " ") {
			t.Errorf("a line for Prometheus is no sample: %q", line)
		}
	}
}

// Tokens can be replaced under their present and their old names, and are never shown.
func TestAgentTokens(t *testing.T) {
	t.Parallel()
	a := start(t, nil)
	const secret = "5a5a5a5a-0000-0000-0000-000000000001"
	ag := a.Agent()
	for name, update := range map[string]func(string, *api.WriteOptions) (*api.WriteMeta, error){
		"default": ag.UpdateDefaultACLToken, "agent": ag.UpdateAgentACLToken, "agent_recovery": ag.UpdateAgentRecoveryACLToken,
		"replication": ag.UpdateReplicationACLToken, "config_file_service_registration": ag.UpdateConfigFileRegistrationToken,
		"dns": ag.UpdateDNSToken, "agent_master": ag.UpdateAgentMasterACLToken,
	} {
		if _, err := update(secret, nil); err != nil {
			t.Errorf("token %s: %v", name, err)
		}
	}
	for _, name := range []string{"acl_token", "acl_agent_token", "acl_agent_master_token", "acl_replication_token"} {
		a.status(200, "PUT", "/v1/agent/token/"+name, `{"Token": "`+secret+`"}`)
	}
	a.status(404, "PUT", "/v1/agent/token/odd", `{"Token": "x"}`)
	a.status(404, "PUT", "/v1/agent/token/", `{"Token": "x"}`)
	a.status(400, "PUT", "/v1/agent/token/agent", `{`)
	a.status(404, "GET", "/v1/kv/none?token="+secret, "")
	if self := a.status(200, "GET", "/v1/agent/self", ""); strings.Contains(self.body, secret) || strings.Contains(a.log.text(), secret) {
		t.Error("the agent shows a token")
	}
}

// A node in maintenance is out of service everywhere, with the reason.
func TestNodeMaintenance(t *testing.T) {
	t.Parallel()
	a := start(t, nil)
	must(t, a.Agent().ServiceRegister(&api.AgentServiceRegistration{Name: "web"}))
	must(t, a.Agent().EnableNodeMaintenance("new kernel"))
	checks, err := a.Agent().Checks()
	must(t, err)
	if c := checks[api.NodeMaint]; c == nil || c.Status != api.HealthCritical || c.Notes != "new kernel" {
		t.Errorf("local checks: %s", asJSON(checks))
	}
	entries := until(t, "web in maintenance", func(q *api.QueryOptions) ([]*api.ServiceEntry, *api.QueryMeta, error) {
		return a.Health().Service("web", "", false, q)
	}, func(found []*api.ServiceEntry) bool {
		return len(found) == 1 && found[0].Checks.AggregatedStatus() == api.HealthMaint
	})
	equal(t, "its checks", len(entries[0].Checks), 2)
	must(t, a.Agent().DisableNodeMaintenance())
	until(t, "web back", func(q *api.QueryOptions) ([]*api.ServiceEntry, *api.QueryMeta, error) {
		return a.Health().Service("web", "", true, q)
	}, func(found []*api.ServiceEntry) bool { return len(found) == 1 })
	a.status(400, "PUT", "/v1/agent/maintenance", "")
}

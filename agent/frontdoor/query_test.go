package frontdoor_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/curia-mesh/curia/agent/testkit"
)

// records are the answer section of a question, without its names.
func (r *resolver) records(name string, qtype uint16) string {
	r.t.Helper()
	m := question(name, qtype)
	m.Id = 1
	_, reply := r.ask(m)
	found := []string{dns.RcodeToString[reply.Rcode]}
	for _, rr := range reply.Answer {
		found = append(found, fmt.Sprintf("%d %s", rr.Header().Ttl, strings.TrimPrefix(rr.String(), rr.Header().String())))
	}
	return strings.Join(found, " ")
}

// A prepared query over HTTP and DNS, from its creation to its end, with what changes beneath it.
func TestPreparedQuery(t *testing.T) {
	n := testkit.NewDev(t, testkit.Settings{"dns_config": testkit.Settings{"service_ttl": testkit.Settings{"web": "30s"}}})
	a := n.Start(t)
	d := resolve(t, n)
	a.Put(t, "/v1/catalog/register", `{"Node": "q1", "Address": "10.0.0.1", "Service": {"ID": "w1", "Service": "web", "Port": 80}, "Check": {"CheckID": "c", "ServiceID": "w1", "Status": "passing"}}`)
	var made struct{ ID string }
	create := func(body string) string {
		t.Helper()
		a.Do(t, "POST", "/v1/query", body).Want(t, http.StatusOK).JSON(t, &made)
		return made.ID
	}
	id := create(`{"Name": "Find.Web", "Service": {"Service": "web"}}`)
	for name, want := range map[string]string{
		"find.web.query.consul.": "NOERROR 30 10.0.0.1", id + ".query.consul.": "NOERROR 30 10.0.0.1", "find.web.query.dc1.consul.": "NOERROR 30 10.0.0.1",
		"find.query.consul.": "NXDOMAIN", "find.web.query.dc9.consul.": "NXDOMAIN", "FIND.web.query.dc1.dc.curia.": "NOERROR 30 10.0.0.1",
	} {
		if got := d.records(name, dns.TypeA); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	step := func(what, want string) {
		t.Helper()
		for range 2 { // also from memory
			if got := d.records("find.web.query.consul.", dns.TypeA); got != want {
				t.Errorf("%s: %s, want %s", what, got, want)
			}
		}
	}
	a.Put(t, "/v1/query/"+id, `{"Name": "find.web", "Service": {"Service": "web"}, "DNS": {"TTL": "5s"}}`)
	step("a TTL of its own", "NOERROR 5 10.0.0.1")
	a.Put(t, "/v1/query/"+id, `{"Name": "find.web", "Service": {"Service": "web"}, "DNS": {"TTL": "0s"}}`)
	step("a TTL of 0 of its own", "NOERROR 0 10.0.0.1")
	a.Put(t, "/v1/catalog/register", `{"Node": "q1", "Address": "10.0.0.2"}`)
	step("another address", "NOERROR 0 10.0.0.2")
	a.Put(t, "/v1/catalog/register", `{"Node": "q1", "Address": "10.0.0.2", "Check": {"CheckID": "c", "ServiceID": "w1", "Status": "critical"}}`)
	step("critical", "NXDOMAIN")
	a.Put(t, "/v1/query/"+id, `{"Name": "find.web", "Service": {"Service": "web", "IgnoreCheckIDs": ["c"], "Near": "_ip", "Failover": {"Datacenters": ["dc9"]}}}`)
	step("critical, but ignored", "NOERROR 30 10.0.0.2")
	a.Do(t, "DELETE", "/v1/query/"+id, "").Want(t, http.StatusOK)
	step("deleted", "NXDOMAIN")
	id = create(`{"Template": {"Type": "name_prefix_match", "Regexp": "^(.+)-of-all$"}, "Service": {"Service": "${match(1)}", "IgnoreCheckIDs": ["c"]}}`)
	if got := d.records("_web-of-all._tcp.query.consul.", dns.TypeSRV); got != "NOERROR 30 1 1 80 q1.node.dc1.consul." {
		t.Errorf("SRV of a template: %s", got)
	}
	a.Do(t, "DELETE", "/v1/query/"+id, "").Want(t, http.StatusOK)

	var session struct{ ID string }
	a.Put(t, "/v1/session/create", `{"NodeChecks": []}`).JSON(t, &session)
	id = create(`{"Session": "` + session.ID + `", "Service": {"Service": "web", "IgnoreCheckIDs": ["c"]}}`)
	a.Get(t, "/v1/query/"+id+"/execute")
	a.Put(t, "/v1/session/destroy/"+session.ID, "")
	a.Do(t, "GET", "/v1/query/"+id, "").Want(t, http.StatusNotFound)
	a.Do(t, "GET", "/v1/query/"+id+"/execute", "").Want(t, http.StatusNotFound)
	a.Do(t, "GET", "/v1/query/"+id+"/explain", "").Want(t, http.StatusNotFound)
}

// What HTTP alone can say of a prepared query.
func TestPreparedQueryRequests(t *testing.T) {
	n := testkit.NewDev(t, nil)
	a := n.Start(t)
	for i := 1; i <= 3; i++ {
		a.Put(t, "/v1/catalog/register", fmt.Sprintf(`{"Node": "q%d", "Address": "127.0.0.%d", "Service": {"Service": "web", "Port": 80}}`, i, i))
	}
	a.Do(t, "POST", "/v1/query", `{"Name": "all", "Service": {"Service": "web", "Near": "_ip", "Failover": {"Targets": [{"PeerName": "east"}, {"Datacenter": "dc9"}]}}}`).Want(t, http.StatusOK)
	run := func(parameters string, headers ...string) (nodes []string, failovers int) {
		t.Helper()
		var rep struct {
			Nodes     []struct{ Node struct{ Node string } }
			Failovers int
		}
		a.Do(t, "GET", "/v1/query/all/execute"+parameters, "", headers...).Want(t, http.StatusOK).JSON(t, &rep)
		for _, i := range rep.Nodes {
			nodes = append(nodes, i.Node.Node)
		}
		return nodes, rep.Failovers
	}
	if nodes, _ := run(""); len(nodes) != 3 || nodes[0] != "q1" {
		t.Errorf("near the client: %v", nodes)
	}
	if nodes, _ := run("?limit=1", "X-Forwarded-For", "127.0.0.2, 10.0.0.1"); len(nodes) != 1 || nodes[0] != "q2" {
		t.Errorf("near the client behind a proxy: %v", nodes)
	}
	if nodes, _ := run("?near=q3&limit=2"); len(nodes) != 2 || nodes[0] != "q3" {
		t.Errorf("near a node: %v", nodes)
	}
	if nodes, failovers := run("?connect"); len(nodes) != 0 || failovers != 2 {
		t.Errorf("nowhere: %v after %d failovers", nodes, failovers)
	}
	a.Log.Wait(t, "a prepared query cannot fail over to a target")
	for path, want := range map[string]int{
		"all/execute?limit=x": 400, "all/execute?limit=-1": 400, "all/execute?connect=x": 400, "all/execute?dc=dc9": 500, "none/execute": 404, "none/explain": 404,
		"all": 500, "11111111-2222-3333-4444-555555555555": 404,
	} {
		if r := a.Do(t, "GET", "/v1/query/"+path, ""); r.Status != want || r.Body == "" {
			t.Errorf("%s: %d %s, want %d", path, r.Status, r.Body, want)
		}
	}
	for body, want := range map[string]int{
		`{"Name": "ALL", "Service": {"Service": "web"}}`: 409, `{"Name": "x", "Servce": {}}`: 400, `{"Name": 3}`: 400, `[]`: 400, `{}`: 500, `{"Name": "x", "Service": {"Tags": "a"}}`: 400,
	} {
		if r := a.Do(t, "POST", "/v1/query", body); r.Status != want || r.Body == "" {
			t.Errorf("%s: %d %s, want %d", body, r.Status, r.Body, want)
		}
	}
	var all []any
	if a.Get(t, "/v1/query").JSON(t, &all); len(all) != 1 {
		t.Errorf("%d queries are stored, want 1", len(all))
	}
}

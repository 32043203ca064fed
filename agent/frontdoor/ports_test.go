package frontdoor_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/miekg/dns"

	"github.com/curia-mesh/curia/agent/testkit"
)

// A service with several ports, in a file, registered with the agent and with the catalog.
func TestSeveralPorts(t *testing.T) {
	n := testkit.New(t, testkit.Settings{"services": []any{testkit.Settings{"name": "filed", "ports": []any{
		testkit.Settings{"name": "http", "port": 8080, "default": true}, testkit.Settings{"name": "grpc", "port": 9090},
	}}}})
	p := n.Spawn(t)
	ports := `"Ports": [{"Name": "grpc", "Port": 9090}, {"Name": "http", "Port": 8080, "Default": true}]`
	p.Put(t, "/v1/agent/service/register", `{"Name": "local", `+ports+`}`)
	p.Put(t, "/v1/catalog/register", `{"Node": "outside", "Address": "10.0.0.9", "Service": {"Service": "far", `+ports+`}}`)
	p.Until(t, "/v1/catalog/service/filed", func(r testkit.Reply) bool { return r.Body != "[]" })
	d := resolve(t, n)
	check := func() {
		t.Helper()
		for _, service := range []string{"filed", "local", "far"} {
			var instances []struct {
				Service struct {
					Port  int
					Ports []struct {
						Name    string
						Port    int
						Default bool
					}
				}
			}
			p.Get(t, "/v1/health/service/"+service).JSON(t, &instances)
			if len(instances) != 1 || instances[0].Service.Port != 8080 || len(instances[0].Service.Ports) != 2 {
				t.Fatalf("%s: %+v", service, instances)
			}
			target := map[bool]string{true: "outside", false: "n1"}[service == "far"]
			want := fmt.Sprintf("NOERROR 0 1 1 9090 %s.node.dc1.consul.", target)
			if got := d.records("grpc."+service+".service.consul.", dns.TypeSRV); got != want {
				t.Errorf("%s: %s, want %s", service, got, want)
			}
		}
	}
	check()
	before := p.Get(t, "/v1/agent/services").Body
	p.Kill(t)
	*p = *n.Spawn(t)
	if after := p.Get(t, "/v1/agent/services").Body; after != before {
		t.Errorf("after a restart\n%s\nbefore\n%s", after, before)
	}
	check()
	for _, bad := range []string{
		`[{"Name": "a.b", "Port": 1}]`, `[{"Port": 1}]`, `[{"Name": "a"}]`, `[{"Name": "a", "Port": 70000}]`, `[{"Name": "a", "Port": 1}, {"Name": "A", "Port": 2}]`,
		`[{"Name": "a", "Port": 1, "Default": true}, {"Name": "b", "Port": 2, "Default": true}]`, `[{"Name": "a", "Port": 1}], "Port": 2`,
		`[{"Name": "a", "Port": 1}], "SocketPath": "/s"`,
	} {
		for path, body := range map[string]string{
			"/v1/agent/service/register": `{"Name": "bad", "Ports": ` + bad + `}`, "/v1/catalog/register": `{"Node": "outside", "Address": "10.0.0.9", "Service": {"Service": "bad", "Ports": ` + bad + `}}`,
		} {
			if r := p.Do(t, "PUT", path, body); r.Status < http.StatusBadRequest || r.Body == "" {
				t.Errorf("%s %s: %d %s", path, bad, r.Status, r.Body)
			}
		}
	}
	if body := p.Get(t, "/v1/catalog/service/bad").Body; body != "[]" {
		t.Errorf("stored: %s", body)
	}
}

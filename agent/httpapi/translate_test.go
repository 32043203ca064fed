package httpapi

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/server/api"
)

// Nodes and services of other datacenters are named by their WAN addresses, and what an answer holds is left as it is.
func TestTranslator(t *testing.T) {
	node := func(dc string) *catalog.Node {
		return &catalog.Node{Node: "n", Address: "10.0.0.1", Datacenter: dc, TaggedAddresses: map[string]string{"wan": "198.51.100.1"}}
	}
	service := func(tagged map[string]catalog.ServiceAddress) *catalog.Service {
		return &catalog.Service{Service: "s", Address: "10.0.0.2", Port: 80, TaggedAddresses: tagged}
	}
	wide := map[string]catalog.ServiceAddress{"wan": {Address: "198.51.100.2", Port: 8080}}
	f := func(what string, v any, want ...string) {
		t.Helper()
		before, _ := json.Marshal(v)
		got, err := json.Marshal(translator{"dc1"}.answer(v))
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range want {
			if !strings.Contains(string(got), text) {
				t.Errorf("%s: no %s in %s", what, text, got)
			}
		}
		if after, _ := json.Marshal(v); string(after) != string(before) {
			t.Errorf("%s: the answer itself was changed to %s", what, after)
		}
	}
	for dc, at := range map[string][3]string{"dc1": {"10.0.0.1", "10.0.0.2", "80"}, "dc2": {"198.51.100.1", "198.51.100.2", "8080"}} {
		host, own, port := `"Address":"`+at[0]+`"`, `"Address":"`+at[1]+`"`, `"Port":`+at[2]
		i := &catalog.Instance{Node: node(dc), Service: service(wide)}
		f(dc+": nodes", &[]*catalog.Node{node(dc)}, host)
		f(dc+": instances", &[]*catalog.Instance{i}, host, own, port)
		f(dc+": flat instances", &[]*catalog.CatalogService{i.Flatten()}, host, `"ServiceAddress":"`+at[1]+`"`, `"ServicePort":`+at[2])
		of, list := &api.NodeServices{Node: node(dc), Services: map[string]*catalog.Service{"s": service(wide)}}, &api.NodeServiceList{Node: node(dc), Services: []*catalog.Service{service(wide)}}
		f(dc+": services of a node", &of, host, own, port)
		f(dc+": list of services of a node", &list, host, own, port)
	}
	f("a service without one", &[]*catalog.Instance{{Node: node("dc2"), Service: service(nil)}}, `"Address":"198.51.100.1"`, `"Address":"10.0.0.2"`, `"Port":80`)
	f("a port that is not given", &[]*catalog.Instance{{Node: node("dc2"), Service: service(map[string]catalog.ServiceAddress{"wan": {Address: "w"}})}}, `"Address":"w"`, `"Port":80`)
	var none *api.NodeServices
	f("no node", &none, "null")
	f("others", &[]string{"a"}, "a")
}

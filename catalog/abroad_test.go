package catalog

import (
	"net"
	"strconv"
	"testing"
)

func TestAbroad(t *testing.T) {
	f := func(service Service, node Node, want string) {
		t.Helper()
		i := &Instance{Node: &node, Service: &service}
		if host, port := i.Abroad(); net.JoinHostPort(host, strconv.Itoa(port)) != want {
			t.Errorf("%s:%d, want %s", host, port, want)
		}
	}
	wan := map[string]string{"wan": "198.51.100.1"}
	f(Service{Port: 1}, Node{Address: "10.0.0.1"}, "10.0.0.1:1")
	f(Service{Port: 1}, Node{Address: "10.0.0.1", TaggedAddresses: wan}, "198.51.100.1:1")
	f(Service{Port: 1, Address: "10.0.0.2"}, Node{Address: "10.0.0.1", TaggedAddresses: wan}, "10.0.0.2:1")
	tagged := map[string]ServiceAddress{"wan": {Address: "203.0.113.1", Port: 9}}
	f(Service{Port: 1, Address: "10.0.0.2", TaggedAddresses: tagged}, Node{Address: "10.0.0.1"}, "203.0.113.1:9")
	tagged = map[string]ServiceAddress{"wan": {Address: "203.0.113.1"}}
	f(Service{Port: 1, TaggedAddresses: tagged}, Node{Address: "10.0.0.1", TaggedAddresses: wan}, "203.0.113.1:1")
}

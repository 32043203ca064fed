package fleet_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/curia-mesh/curia/agent/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// fleet is a server with a client agent, both ready.
func fleet(t testing.TB, s testkit.Settings) (server, client *testkit.Process) {
	t.Helper()
	n := testkit.New(t, nil)
	server = n.Spawn(t)
	return server, n.Join(t, "c1", s).Spawn(t)
}

// resolve asks an agent's DNS over UDP.
func resolve(t testing.TB, n *testkit.Node, name string, qtype uint16) *dns.Msg {
	t.Helper()
	m, err := dns.Exchange(new(dns.Msg).SetQuestion(name, qtype), fmt.Sprintf("127.0.0.1:%d", n.DNS))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// patience is how long anything may take that a test waits for.
const patience = 60 * time.Second

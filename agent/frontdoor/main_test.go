// Package frontdoor_test meets agents as the world does: over real sockets, on real disks, as real
// processes. Attacks are those of the threat list, named by their number.
//
// With CURIA_LONG set the tests use the list's full figures: 100 kills, thousands of connections, and how quick
// answers are beside an attack, which wants a machine with nothing else to do.
package frontdoor_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/curia-mesh/curia/agent/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// patience is how long anything may take that a test waits for.
const patience = 2 * time.Minute

// long says that the tests are to use the list's full figures.
var long = os.Getenv("CURIA_LONG") != ""

// figure is how many times something is done: few, or all with CURIA_LONG.
func figure(few, all int) int {
	if long {
		return all
	}
	return few
}

// instances registers n instances of a service on other nodes than the agent's.
func instances(t testing.TB, c testkit.Client, service string, n int) {
	t.Helper()
	var ops []string
	send := func() {
		c.Put(t, "/v1/txn", "["+strings.Join(ops, ",")+"]")
		ops = nil
	}
	for i := range n {
		node, address := fmt.Sprintf("%s-node-%d", service, i), fmt.Sprintf("10.1.%d.%d", i/250, i%250+1)
		ops = append(ops,
			fmt.Sprintf(`{"Node": {"Verb": "set", "Node": {"Node": %q, "Address": %q}}}`, node, address),
			fmt.Sprintf(`{"Service": {"Verb": "set", "Node": %q, "Service": {"ID": "i%d", "Service": %q, "Port": 80}}}`, node, i, service))
		if len(ops) == 128 {
			send()
		}
	}
	if len(ops) > 0 {
		send()
	}
}

package fleet_test

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/curia-mesh/curia/agent/testkit"
)

// counted is the value of a counter since the agent's start.
func counted(t testing.TB, p *testkit.Process, name string) int {
	t.Helper()
	for line := range strings.Lines(p.Get(t, "/v1/agent/metrics?format=prometheus").Body) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return int(n)
		}
	}
	t.Fatalf("no counter %q", name)
	return 0
}

// allWait returns when as many wait for another datacenter at p, which nothing tells but where its goroutines are.
func allWait(t testing.TB, p *testkit.Process, watchers int) {
	t.Helper()
	waits := regexp.MustCompile(`(?m)^(\d+) @.*\n(?:#.*\n)*#.*rpc/share\.\(\*Queries\)\.Call`)
	for begun := time.Now(); ; {
		n := 0
		for _, group := range waits.FindAllStringSubmatch(p.Get(t, "/debug/pprof/goroutine?debug=1").Body, -1) {
			some, _ := strconv.Atoi(group[1]) // the pattern has it
			n += some
		}
		if n == watchers {
			return
		}
		if time.Since(begun) > patience {
			t.Fatalf("%d of %d wait", n, watchers)
		}
	}
}

// watchersShare lets many wait at p, in rounds, for changes of a service at s, each of which is made when ready returns, and
// returns how much a counter of p grew.
func watchersShare(t *testing.T, p, s *testkit.Process, query, counter string, watchers, rounds int, ready func()) int {
	t.Helper()
	const register = `{"Node": "outside", "Address": "10.0.0.9", "Service": {"Service": "web", "Port": %d}}`
	s.Put(t, "/v1/catalog/register", fmt.Sprintf(register, 1000))
	index := p.Get(t, "/v1/health/service/web?"+query).Index()
	before := counted(t, p, counter)

	seen := make(chan error, watchers)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for range watchers {
		go func() { // ends after the rounds
			last := index
			for round := 1; round <= rounds; round++ {
				r, err := p.Ask(ctx, "GET", fmt.Sprintf("/v1/health/service/web?%s&index=%d", query, last), "")
				if err == nil && !strings.Contains(r.Body, fmt.Sprintf(`"Port":%d,`, 1000+round)) {
					err = fmt.Errorf("round %d: status %d, index %d after %d: %s", round, r.Status, r.Index(), last, r.Body)
				}
				last = r.Index()
				seen <- err
			}
		}()
	}
	for round := 1; round <= rounds; round++ {
		ready()
		s.Put(t, "/v1/catalog/register", fmt.Sprintf(register, 1000+round))
		for range watchers {
			if err := <-seen; err != nil {
				t.Fatal(err)
			}
		}
	}
	return counted(t, p, counter) - before
}

// many are settings for an agent at which so many wait.
func many(watchers int) testkit.Settings {
	return testkit.Settings{
		"telemetry": testkit.Settings{"prometheus_retention_time": "1h"}, "limits": testkit.Settings{"http_max_conns_per_client": 2 * watchers},
	}
}

// However many wait for one change at a client agent, it asks the servers once.
func TestWatchersShareOneQuery(t *testing.T) {
	const watchers, rounds = 500, 3
	s, c := fleet(t, many(watchers))
	// Beside them the agent makes a few calls of its own.
	if made := watchersShare(t, c, s, "", "consul_client_rpc", watchers, rounds, func() {}); made > 50 {
		t.Errorf("%d waiting %d times made %d calls to the servers", watchers, rounds, made)
	}
}

// However many wait at a server for one change in another datacenter, it asks there once for each index that they have.
func TestWatchersShareOneQueryAbroad(t *testing.T) {
	const watchers, rounds = 500, 3
	settings := many(watchers)
	settings["enable_debug"] = true
	one, two := datacenters(t, settings)
	ready := func() { allWait(t, one, watchers) } // who comes when the change has been does not wait
	if made := watchersShare(t, one, two, "dc=dc2", `consul_rpc_cross_dc{datacenter="dc2"}`, watchers, rounds, ready); made > 50 {
		t.Errorf("%d waiting %d times made %d calls to the other datacenter", watchers, rounds, made)
	}
}

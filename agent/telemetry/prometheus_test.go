package telemetry_test

import (
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/agent/telemetry"
	metrics "github.com/hashicorp/go-metrics"
)

// scrape asks for the metrics as Prometheus does and returns all of it, and the lines about ours.
func scrape(t *testing.T, tel *telemetry.Telemetry) (all, ours string) {
	t.Helper()
	w := httptest.NewRecorder()
	tel.Prometheus().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/agent/metrics?format=prometheus", nil))
	if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Errorf("status %d, %v: %s", w.Code, w.Header(), w.Body)
	}
	for line := range strings.Lines(w.Body.String()) {
		if strings.Contains(line, "consul_") {
			ours += line
		}
	}
	return w.Body.String(), ours
}

func TestPrometheus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := start(t, telemetry.Config{
			HostName: "node-1", PrefixFilter: quiet, PrometheusRetention: time.Minute,
			Definitions: []telemetry.Definition{
				{Kind: telemetry.KindCounter, Name: []string{"raft", "apply"}, Help: "Raft transactions"},
				{Kind: telemetry.KindSample, Name: []string{"raft", "commitTime"}, Help: "Time to commit"},
			},
		})
		metrics.SetGauge([]string{"server", "isLeader"}, 1)
		metrics.SetGauge([]string{"mesh", "active-root-ca", "expiry"}, float32(math.NaN()))
		metrics.IncrCounterWithLabels([]string{"catalog", "service.query"}, 2, []metrics.Label{{Name: "service name", Value: "a\"b\n\xff"}, {Name: "quantile", Value: "x"}})
		for i := range 100 {
			metrics.AddSample([]string{"fsm", "kvs"}, float32(i+1))
		}
		// What would fail the whole scrape: two names that become one, and one name of two kinds.
		metrics.IncrCounter([]string{"a-b"}, 1)
		metrics.IncrCounter([]string{"a.b"}, 2)
		metrics.SetGauge([]string{"raft", "apply"}, 3)
		want := `# HELP consul_a_b consul_a_b
# TYPE consul_a_b counter
consul_a_b 1
# HELP consul_catalog_service_query consul_catalog_service_query
# TYPE consul_catalog_service_query counter
consul_catalog_service_query{label_quantile="x",service_name="a\"b\n` + "\ufffd" + `"} 2
# HELP consul_fsm_kvs consul_fsm_kvs
# TYPE consul_fsm_kvs summary
consul_fsm_kvs{quantile="0.5"} 51
consul_fsm_kvs{quantile="0.9"} 90
consul_fsm_kvs{quantile="0.99"} 98
consul_fsm_kvs_sum 5050
consul_fsm_kvs_count 100
# HELP consul_mesh_active_root_ca_expiry consul_mesh_active_root_ca_expiry
# TYPE consul_mesh_active_root_ca_expiry gauge
consul_mesh_active_root_ca_expiry NaN
# HELP consul_raft_apply Raft transactions
# TYPE consul_raft_apply gauge
consul_raft_apply 3
# HELP consul_raft_commitTime Time to commit
# TYPE consul_raft_commitTime summary
consul_raft_commitTime{quantile="0.5"} NaN
consul_raft_commitTime{quantile="0.9"} NaN
consul_raft_commitTime{quantile="0.99"} NaN
consul_raft_commitTime_sum 0
consul_raft_commitTime_count 0
# HELP consul_server_isLeader consul_server_isLeader
# TYPE consul_server_isLeader gauge
consul_server_isLeader 1
`
		all, got := scrape(t, tel)
		if got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		for _, other := range []string{"go_goroutines ", "process_open_fds "} {
			if !strings.Contains(all, "\n"+other) {
				t.Errorf("no %s", other)
			}
		}
		// Totals go on from interval to interval, quantiles tell of the last ones.
		time.Sleep(30 * time.Second)
		synctest.Wait()
		metrics.AddSample([]string{"fsm", "kvs"}, 950)
		if _, got := scrape(t, tel); !strings.Contains(got, `consul_fsm_kvs{quantile="0.5"} 944`) || !strings.Contains(got, "consul_fsm_kvs_sum 6000\nconsul_fsm_kvs_count 101") {
			t.Errorf("later:\n%s", got)
		}
	})
}

// TestRetention: what was not updated for the retention time disappears, what is defined stays, and what comes back
// goes on counting.
func TestRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := start(t, telemetry.Config{PrefixFilter: quiet, PrometheusRetention: 30 * time.Second,
			Definitions: []telemetry.Definition{{Kind: telemetry.KindCounter, Name: []string{"defined"}}}})
		bound := tel.Counter([]string{"bound"})
		bound.Add(1)
		metrics.SetGauge([]string{"gauge"}, 1)
		metrics.IncrCounter([]string{"counter"}, 1)
		shown := func() string {
			var names []string
			_, ours := scrape(t, tel)
			for line := range strings.Lines(ours) {
				if line[0] != '#' {
					names = append(names, strings.TrimPrefix(strings.TrimSpace(line), "consul_"))
				}
			}
			return strings.Join(names, ", ")
		}
		f := func(wait time.Duration, want string) {
			t.Helper()
			time.Sleep(wait)
			synctest.Wait()
			if got := shown(); got != want {
				t.Errorf("at %v: %s, want %s", time.Now(), got, want)
			}
		}
		f(29*time.Second, "bound 1, counter 1, defined 0, gauge 1")
		f(12*time.Second, "defined 0")
		bound.Add(2)
		f(0, "bound 3, defined 0")
		f(time.Hour, "defined 0")
		bound.Add(1)
		f(0, "bound 4, defined 0")
	})
}

func TestPrometheusIsOffByDefault(t *testing.T) {
	tel, err := telemetry.New(telemetry.Config{}, nil)
	if err != nil || tel.Prometheus() != nil {
		t.Errorf("got %v, %v", tel.Prometheus(), err)
	}
}

// FuzzNames: no name, label or value from outside fails a scrape or the JSON.
func FuzzNames(f *testing.F) {
	f.Add("rpc.request", "method", "GET")
	f.Add("", "", "")
	f.Add("9\x00\xff é", "__name__", "\x00\n\"\\\xff")
	f.Add("go_goroutines", "quantile", "0.5")
	f.Fuzz(func(t *testing.T, name, label, value string) {
		tel, err := telemetry.New(telemetry.Config{PrometheusRetention: time.Minute, PrefixFilter: quiet}, nil)
		if err != nil {
			t.Fatal(err)
		}
		l := []metrics.Label{{Name: label, Value: value}, {Name: "path", Value: value}}
		tel.Counter([]string{name}, l...).Add(1)
		tel.Timer([]string{name}, l...).Observe(1)
		tel.Timer([]string{name, "t"}, l[0], l[0]).Observe(1)
		_, ours := scrape(t, tel)
		asJSON(t, tel.Snapshot())
		if small := len(name)+2*len(label)+2*len(value) < 900; small && strings.Count(ours, "# TYPE consul_") != 2 {
			t.Errorf("%q %q %q: got\n%s", name, label, value, ours)
		}
	})
}

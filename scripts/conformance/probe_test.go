package conformance

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/consul/api"
)

// Checks of every kind that runs by itself pass while their target is well, and turn when it falls ill.
func TestCheckKinds(t *testing.T) {
	t.Parallel()
	docker, container := dockerEngine(t)
	h2, _, h2Close := grpcServer(t, false)
	a := prepare(t, settings{"enable_script_checks": true})
	systemctl, unitFails := fakeSystemd(t)
	a.env = []string{"DOCKER_HOST=unix://" + docker, "PATH=" + systemctl + ":" + os.Getenv("PATH")}
	// In a file, because the client knows no units and cannot say that a ping goes without TLS.
	a.write("checks.json", `{"services": [{"name": "h2ping", "check": {"h2ping": "`+h2+`", "h2ping_use_tls": false, "interval": "1s"}},
		{"name": "unit", "check": {"os_service": "nginx.service", "interval": "1s"}}]}`)
	a.start()
	page, plain := webPage(t, httptest.NewServer)
	securePage, secure := webPage(t, httptest.NewTLSServer)
	tcpPort, tcpClose := tcpEcho(t)
	udpPort, udpClose := udpEcho(t)
	grpc, grpcHealth, _ := grpcServer(t, false)
	secureGRPC, secureHealth, _ := grpcServer(t, true)
	secureH2, _, secureH2Close := grpcServer(t, true)
	file := filepath.Join(t.TempDir(), "well")
	must(t, os.WriteFile(file, nil, 0o600))
	must(t, a.Agent().ServiceRegister(&api.AgentServiceRegistration{Name: "original", Check: &api.AgentServiceCheck{TTL: "1h", Status: api.HealthPassing}}))

	asked := api.AgentServiceCheck{Method: "POST", Body: "are you well", Header: map[string][]string{"X-Asked-By": {"check"}}}
	web, tls := asked, asked
	web.HTTP, tls.HTTP, tls.TLSSkipVerify = page+"/health", securePage+"/health", true
	for name, c := range map[string]struct {
		check api.AgentServiceCheck
		fall  func()
		says  string // in the output while well
	}{
		"http":   {web, plain.fall, "all well"},
		"https":  {tls, secure.fall, "all well"},
		"tcp":    {api.AgentServiceCheck{TCP: tcpPort}, tcpClose, "Success"},
		"udp":    {api.AgentServiceCheck{UDP: udpPort}, udpClose, "Success"},
		"grpc":   {api.AgentServiceCheck{GRPC: grpc + "/my.service"}, grpcHealth.fall, "uccess"},
		"grpcs":  {api.AgentServiceCheck{GRPC: secureGRPC + "/my.service", GRPCUseTLS: true, TLSSkipVerify: true}, secureHealth.fall, "uccess"},
		"h2ping": {api.AgentServiceCheck{}, h2Close, "uccess"},
		"unit":   {api.AgentServiceCheck{}, unitFails, "nginx.service is active"},
		"h2s":    {api.AgentServiceCheck{H2PING: secureH2, TLSSkipVerify: true}, secureH2Close, "uccess"},
		"script": {api.AgentServiceCheck{Args: []string{"/bin/sh", "-c", "echo here is; ls " + file}}, func() { os.Remove(file) }, "here is\n" + file},
		"docker": {api.AgentServiceCheck{DockerContainerID: "box", Shell: "/bin/sh", Args: []string{"/bin/check"}}, container.fall, "inside the box"},
		"alias":  {api.AgentServiceCheck{AliasService: "original"}, func() { must(t, a.Agent().FailTTL("service:original", "")) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name != "alias" {
				c.check.Interval, c.check.Timeout = "1s", "10s"
			}
			if name != "h2ping" && name != "unit" {
				must(t, a.Agent().ServiceRegister(&api.AgentServiceRegistration{Name: name, Check: &c.check}))
			}
			if well := a.checked(t, name, api.HealthPassing); !strings.Contains(well.Output, c.says) {
				t.Errorf("output of a passing check is %q, want %q in it", well.Output, c.says)
			}
			c.fall()
			if ill := a.checked(t, name, api.HealthCritical); ill.Output == "" {
				t.Error("a critical check has no output")
			}
		})
	}
}

// checked waits until the one check of a service has a status.
func (a *agent) checked(t *testing.T, service, status string) *api.HealthCheck {
	t.Helper()
	return until(t, service+" to be "+status, func(q *api.QueryOptions) (api.HealthChecks, *api.QueryMeta, error) {
		return a.Health().Checks(service, q)
	}, func(found api.HealthChecks) bool { return len(found) == 1 && found[0].Status == status })[0]
}

// The rules of judgement: warnings, redirects, time limits, thresholds, long output.
func TestCheckRules(t *testing.T) {
	t.Parallel()
	a := prepare(t, settings{"enable_local_script_checks": true})
	a.write("scripts.json", `{"services": [
		{"name": "exit-1", "check": {"args": ["/bin/sh", "-c", "exit 1"], "interval": "1s", "status": "passing"}},
		{"name": "exit-2", "check": {"args": ["/bin/sh", "-c", "exit 2"], "interval": "1s", "status": "passing"}},
		{"name": "endless", "check": {"args": ["/bin/sh", "-c", "yes"], "interval": "1h", "timeout": "1s", "status": "passing"}}]}`)
	a.start()
	var successes, failures atomic.Int32
	var ill atomic.Bool
	hang := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/busy", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusTooManyRequests) })
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/well", http.StatusFound) })
	mux.HandleFunc("/well", func(w http.ResponseWriter, r *http.Request) {})
	mux.HandleFunc("/long", func(w http.ResponseWriter, r *http.Request) { w.Write(make([]byte, 10000)) })
	mux.HandleFunc("/hangs", func(w http.ResponseWriter, r *http.Request) { <-hang })
	mux.HandleFunc("/turns", func(w http.ResponseWriter, r *http.Request) {
		if ill.Load() {
			failures.Add(1)
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		successes.Add(1)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(hang) })
	for path, status := range map[string]string{"busy": api.HealthWarning, "moved": api.HealthPassing, "long": api.HealthPassing} {
		must(t, a.Agent().ServiceRegister(&api.AgentServiceRegistration{Name: path, Check: &api.AgentServiceCheck{HTTP: server.URL + "/" + path, Interval: "1h"}}))
		if c := a.checked(t, path, status); len(c.Output) > 4200 {
			t.Errorf("%s: %d bytes of output were kept", path, len(c.Output))
		}
	}
	must(t, a.Agent().ServiceRegister(&api.AgentServiceRegistration{Name: "hangs", Check: &api.AgentServiceCheck{
		HTTP: server.URL + "/hangs", Interval: "1h", Timeout: "100ms", Status: api.HealthPassing,
	}}))
	a.checked(t, "hangs", api.HealthCritical)
	must(t, a.Agent().ServiceRegister(&api.AgentServiceRegistration{Name: "turns", Check: &api.AgentServiceCheck{
		HTTP: server.URL + "/turns", Interval: "1s", SuccessBeforePassing: 2, FailuresBeforeCritical: 2,
	}}))
	a.checked(t, "turns", api.HealthPassing)
	if n := successes.Load(); n < 2 {
		t.Errorf("passing after %d successes, want 2", n)
	}
	ill.Store(true)
	a.checked(t, "turns", api.HealthCritical)
	if n := failures.Load(); n < 2 {
		t.Errorf("critical after %d failures, want 2", n)
	}
	a.checked(t, "exit-1", api.HealthWarning)
	a.checked(t, "exit-2", api.HealthCritical)
	a.checked(t, "endless", api.HealthCritical)
	a.status(500, "PUT", "/v1/agent/check/register", `{"Name": "x", "Args": ["/bin/true"], "Interval": "1s"}`)
}

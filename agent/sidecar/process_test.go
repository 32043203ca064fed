package sidecar_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/curia-mesh/curia/agent/testkit"
)

// spoken makes one request over a connection that stays open.
func spoken(t testing.TB, c net.Conn, b *bufio.Reader) string {
	t.Helper()
	fmt.Fprint(c, "GET /open HTTP/1.1\r\nHost: api\r\n\r\n")
	r, err := http.ReadResponse(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// The node's proxy outlives its agent, and what both knew outlives both, while every server is gone.
func TestProcessOutlives(t *testing.T) {
	servers := testkit.New(t, nil)
	server := servers.Spawn(t)
	place := servers.Join(t, "n2", nil)
	agent := place.Spawn(t)
	ports := testkit.FreePorts(t)
	url := fmt.Sprintf("http://127.0.0.1:%d/x", ports.DNS)
	agent.Put(t, "/v1/agent/service/register", meshed("api", app(t, "api"), ports.SerfLAN, nil))
	agent.Put(t, "/v1/agent/service/register", meshed("web", app(t, "web"), ports.HTTP, map[string]int{"api": ports.DNS}))
	opened(t, agent.Client, "api-sidecar-proxy/inbound")
	opened(t, agent.Client, "web-sidecar-proxy/api")
	inUse(t, agent.Client, fmt.Sprint("127.0.0.1:", ports.SerfLAN))
	works := func(when string) {
		t.Helper()
		if body, _ := once(url); body != "api /x" {
			t.Fatalf("%s: %q", when, body)
		}
	}
	works("with everybody there")
	if out, code := place.Run(t, "connect", "proxy", "status"); code != 0 || !strings.Contains(out, "synced") || !strings.Contains(out, "web-sidecar-proxy/inbound") {
		t.Errorf("status: exit code %d: %s", code, out)
	}
	if out, code := place.Run(t, "connect", "proxy", "endpoints"); code != 0 || !strings.Contains(out, "in service") {
		t.Errorf("endpoints: exit code %d: %s", code, out)
	}
	if out, code := place.Run(t, "connect", "proxy", "config"); code != 0 || strings.Contains(out, "PRIVATE KEY") || !strings.Contains(out, "BEGIN CERTIFICATE") {
		t.Errorf("config: exit code %d: %s", code, out)
	}
	open, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", ports.DNS))
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	open.SetDeadline(time.Now().Add(patience))
	buffered := bufio.NewReader(open)
	spoken(t, open, buffered)
	server.Kill(t)
	works("without servers")
	agent.Kill(t)
	works("without the agent")
	agent = place.Begin(t, place.Command())
	agent.Log.Wait(t, "the node's proxy runs")
	if body := spoken(t, open, buffered); body != "api /open" {
		t.Errorf("a connection over a restart of the agent says %q", body)
	}
	agent.Kill(t)
	if !place.KillProxy(t) {
		t.Fatal("the proxy has ended with its agent")
	}
	agent = place.Begin(t, place.Command())
	agent.Log.Wait(t, "the node's proxy runs")
	works("after a restart of both without servers")
	for name, want := range map[string]os.FileMode{".": 0o700, "snapshot.json": 0o600, "sock": 0o600} {
		info, err := os.Stat(filepath.Join(place.Data(), "proxy", name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want %v", name, info.Mode(), err, want)
		}
	}
	server = servers.Spawn(t)
	server.Put(t, "/v1/connect/intentions/exact?source=web&destination=api", `{"Action": "deny"}`)
	inUse(t, agent.Client, `"Action":"deny"`)
	if body, r := once(url); r != nil {
		t.Errorf("the servers are back and deny it: %q", body)
	}
}

// A proxy that crashes is started again by its agent, which goes on; the last sidecar that goes ends it.
func TestProcessCrashes(t *testing.T) {
	n := testkit.New(t, testkit.Settings{"data_dir": "data"}) // below where the agent was started
	p := n.Spawn(t)
	ports := testkit.FreePorts(t)
	p.Put(t, "/v1/agent/service/register", meshed("web", app(t, "web"), ports.HTTP, nil))
	opened(t, p.Client, "web-sidecar-proxy/inbound")
	if !n.KillProxy(t) {
		t.Fatal("there is no process")
	}
	p.Log.Wait(t, "it is started again")
	p.Log.Wait(t, "the node's proxy runs")
	opened(t, p.Client, "web-sidecar-proxy/inbound")
	p.Put(t, "/v1/agent/service/deregister/web", "")
	p.Log.Wait(t, "no sidecar is left")
}

// A port that somebody else has keeps its listener shut, says so, and hurts no other; it opens when the port is free.
func TestPortTaken(t *testing.T) {
	n := testkit.NewDev(t, nil)
	a := n.Start(t)
	ports := testkit.FreePorts(t)
	taken, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", ports.HTTP))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	a.Put(t, "/v1/agent/service/register", meshed("web", app(t, "web"), ports.HTTP, nil))
	a.Put(t, "/v1/agent/service/register", meshed("api", app(t, "api"), ports.SerfLAN, nil))
	opened(t, a.Client, "api-sidecar-proxy/inbound")
	a.Until(t, "/v1/agent/connect/proxy/status", func(r testkit.Reply) bool { return strings.Contains(r.Body, "address already in use") })
	taken.Close()
	opened(t, a.Client, "web-sidecar-proxy/inbound")
}

// Proxies by themselves learn all from an agent's HTTP API: one that is registered, and one that only options describe.
func TestProxyByItself(t *testing.T) {
	n := testkit.NewDev(t, testkit.Settings{"connect": testkit.Settings{"proxy": "none"}})
	a := n.Start(t)
	ports := testkit.FreePorts(t)
	a.Put(t, "/v1/agent/service/register", meshed("api", app(t, "api"), ports.SerfLAN, nil))
	start := func(args ...string) *testkit.Process {
		cmd := exec.Command(testkit.Program(), append([]string{"connect", "proxy", "-http-addr=" + n.Addr()}, args...)...)
		cmd.Env = testkit.Environment()
		return n.Begin(t, cmd)
	}
	prepared(t, a, "", `{"Name": "spare", "Service": {"Service": "api", "Failover": {"NearestN": 1}}}`)
	a.Put(t, "/v1/agent/service/register", strings.Replace(querying(t, "spare", ports.SerfWAN, ports.Server), `"Name":"web","Port"`, `"Name":"asks","Port"`, 1))
	side := start("-sidecar-for=api")
	side.Log.Wait(t, `msg="listener open" listener=api-sidecar-proxy/inbound`)
	web := start("-service=web", "-service-addr=127.0.0.1:1", fmt.Sprint("-listen=127.0.0.1:", ports.HTTP), fmt.Sprint("-upstream=api:", ports.DNS), "-register")
	web.Log.Wait(t, `msg="listener open" listener=web-proxy/api`)
	if body, _ := once(fmt.Sprintf("http://127.0.0.1:%d/x", ports.DNS)); body != "api /x" {
		t.Errorf("got %q", body)
	}
	a.Get(t, "/v1/agent/service/web-proxy")
	asks := start("-sidecar-for=web")
	asks.Log.Wait(t, `msg="listener open" listener=web-sidecar-proxy/spare`)
	within(t, patience, fmt.Sprintf("http://127.0.0.1:%d/x", ports.Server), "api /x")
	web.Stop(t)
	a.Do(t, http.MethodGet, "/v1/agent/service/web-proxy", "").Want(t, http.StatusNotFound)
	a.Do(t, http.MethodGet, "/v1/agent/connect/proxy/status", "").Want(t, http.StatusNotFound)
}

// A proxy of another build with nothing to hand over ends, and so does one that an agent has no use for.
func TestProcessOfAnotherBuild(t *testing.T) {
	n := testkit.New(t, nil)
	old := another(t, n, false)
	p := n.Spawn(t)
	ports := testkit.FreePorts(t)
	p.Put(t, "/v1/agent/service/register", meshed("web", app(t, "web"), ports.HTTP, nil))
	opened(t, p.Client, "web-sidecar-proxy/inbound")
	if err := <-old; err != nil {
		t.Errorf("it ended with %v", err)
	}
	if out, code := n.Run(t, "connect", "proxy", "status"); code != 0 || !strings.Contains(out, "of build 1.") {
		t.Errorf("exit code %d: %s", code, out)
	}
	p.Kill(t)
	n.KillProxy(t)
	old = another(t, n, false)
	n.Configure(t, testkit.Settings{"connect": testkit.Settings{"proxy": "agent"}})
	p = n.Spawn(t)
	if err := <-old; err != nil {
		t.Errorf("it ended with %v", err)
	}
	opened(t, p.Client, "web-sidecar-proxy/inbound")
}

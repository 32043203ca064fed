package sidecar_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/curia-mesh/curia/agent/sidecar"
	"github.com/curia-mesh/curia/agent/testkit"
	"github.com/curia-mesh/curia/catalog"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// patience is how long anything may take that a test waits for.
const patience = 2 * time.Minute

// app serves HTTP until the test ends: each request is answered with name and the path.
func app(t testing.TB, name string) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Client", r.Header.Get("X-Forwarded-Client-Cert"))
		fmt.Fprintf(w, "%s %s", name, r.URL.Path)
	})}
	done := make(chan struct{})
	go func() { // ends with the listener
		defer close(done)
		_ = s.Serve(l) // it is closed
	}()
	t.Cleanup(func() {
		s.Close()
		<-done
	})
	return l.Addr().(*net.TCPAddr).Port
}

// meshed is the registration of a service with a sidecar, whose check is that of the service, and upstreams at ports.
func meshed(name string, port, side int, upstreams map[string]int) string {
	var list []map[string]any
	for to, at := range upstreams {
		list = append(list, map[string]any{"DestinationName": to, "LocalBindPort": at})
	}
	text, _ := json.Marshal(map[string]any{"Name": name, "ID": name, "Port": port, "Connect": map[string]any{"SidecarService": map[string]any{
		"Port": side, "Check": map[string]any{"AliasService": name}, "Proxy": map[string]any{"Upstreams": list},
	}}})
	return string(text)
}

// once makes a request on a connection of its own and returns the body, or why there is none.
func once(url string) (string, *http.Response) {
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	r, err := c.Get(url)
	if err != nil {
		return err.Error(), nil
	}
	defer r.Body.Close()
	body, _ := io.ReadAll(r.Body)
	return string(body), r
}

// inUse waits until the configuration that the node's proxy uses holds all texts.
func inUse(t testing.TB, c testkit.Client, texts ...string) {
	t.Helper()
	c.Until(t, "/v1/agent/connect/proxy/config", func(r testkit.Reply) bool {
		for _, text := range texts {
			if !strings.Contains(r.Body, text) {
				return false
			}
		}
		return true
	})
}

// opened waits until a listener of the node's proxy is open.
func opened(t testing.TB, c testkit.Client, listener string) {
	t.Helper()
	c.Until(t, "/v1/agent/connect/proxy/status", func(r testkit.Reply) bool {
		var s sidecar.Status
		r.JSON(t, &s)
		for _, l := range s.Listeners {
			if strings.HasPrefix(l.Name, listener) && l.Open {
				return true
			}
		}
		return false
	})
}

// mesh is web on a server's node and api on a client agent's, each with a sidecar that its agent runs.
type mesh struct {
	server, node *testkit.Agent
	url          string // at which web reaches api
	sides        testkit.Ports
}

func newMesh(t *testing.T, s testkit.Settings) *mesh {
	t.Helper()
	m := &mesh{sides: testkit.FreePorts(t)}
	n := testkit.New(t, s)
	m.server = n.Start(t)
	m.node = n.Join(t, "n2", s).Start(t)
	m.url = fmt.Sprintf("http://127.0.0.1:%d", m.sides.DNS)
	m.node.Put(t, "/v1/agent/service/register", meshed("api", app(t, "api"), m.sides.SerfLAN, nil))
	m.server.Put(t, "/v1/agent/service/register", meshed("web", app(t, "web"), m.sides.HTTP, map[string]int{"api": m.sides.DNS}))
	opened(t, m.node.Client, "api-sidecar-proxy/inbound")
	opened(t, m.server.Client, "web-sidecar-proxy/api")
	inUse(t, m.server.Client, fmt.Sprint("127.0.0.1:", m.sides.SerfLAN))
	return m
}

// The mesh end to end: web on one node reaches api on another through both sidecars, intentions switch while it runs,
// also for connections that are open, and traffic goes on while the server is away.
func TestSidecars(t *testing.T) {
	m := newMesh(t, nil)
	want := func(wanted string) {
		t.Helper()
		if body, _ := once(m.url + "/hello"); body != wanted {
			t.Errorf("got %q, want %q", body, wanted)
		}
	}
	want("api /hello")
	open, err := net.Dial("tcp", strings.TrimPrefix(m.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	open.SetDeadline(time.Now().Add(patience))
	fmt.Fprint(open, "GET / HTTP/1.1\r\nHost: api\r\n\r\n")
	buffered := bufio.NewReader(open)
	if r, err := http.ReadResponse(buffered, nil); err != nil {
		t.Fatal(err)
	} else if _, err := io.ReadAll(r.Body); err != nil {
		t.Fatal(err)
	}
	m.server.Put(t, "/v1/connect/intentions/exact?source=web&destination=api", `{"Action": "deny"}`)
	if rest, err := io.ReadAll(buffered); len(rest) > 0 {
		t.Errorf("an open connection that is denied now says %q, %v", rest, err)
	}
	inUse(t, m.node.Client, `"Action":"deny"`)
	if body, r := once(m.url + "/hello"); r != nil {
		t.Errorf("a connection that is denied says %q", body)
	}
	m.server.Put(t, "/v1/connect/intentions/exact?source=web&destination=api", `{"Action": "allow"}`)
	inUse(t, m.node.Client, `"Action":"allow"`)
	want("api /hello")
}

// A certificate authority that is replaced under traffic costs no request, and new certificates are in use at the end.
func TestSidecarsRotate(t *testing.T) {
	m := newMesh(t, testkit.Settings{"connect": testkit.Settings{"test_ca_leaf_root_change_spread": "10ms"}})
	serials := func(c testkit.Client) string {
		var s sidecar.Status
		c.Get(t, "/v1/agent/connect/proxy/status").JSON(t, &s)
		return s.Sidecars[0].Serial
	}
	before := map[testkit.Client]string{m.server.Client: serials(m.server.Client), m.node.Client: serials(m.node.Client)}
	stop, failed := make(chan struct{}), make(chan []string, 1)
	asked := 0
	go func() { // ends with stop
		var wrong []string
		for {
			select {
			case <-stop:
				failed <- wrong
				return
			default:
			}
			if body, _ := once(m.url + "/hello"); body != "api /hello" {
				wrong = append(wrong, body)
			}
			asked++
		}
	}()
	m.server.Put(t, "/v1/connect/ca/configuration", `{"Provider": "consul", "Config": {"PrivateKeyType": "ec", "PrivateKeyBits": 384}}`)
	for c, old := range before {
		c.Until(t, "/v1/agent/connect/proxy/status", func(r testkit.Reply) bool {
			var s sidecar.Status
			r.JSON(t, &s)
			return s.Sidecars[0].Serial != old
		})
	}
	if body, _ := once(m.url + "/hello"); body != "api /hello" {
		t.Errorf("with new certificates: %q", body)
	}
	close(stop)
	if wrong := <-failed; len(wrong) > 0 || asked == 0 {
		t.Errorf("%d of %d requests failed, the first with %q", len(wrong), asked, wrong)
	}
}

// signersKeys is a set with one key, and signedToken a token of the issuer okta without an end that was signed with it.
const (
	signersKeys = "eyJrZXlzIjpbeyJ1c2UiOiJzaWciLCJrdHkiOiJFQyIsImtpZCI6ImsxIiwiY3J2IjoiUC0yNTYiLCJ4IjoiemFqZjZKZVdmLXRsdGJOelFJYmZtSW9Eak9KUVMyTXNtSVB1dGgxSGtYSSIsInkiOiI0VFR0QTdoY3MwVEFkb3FGTEdNZzM2OV9VSEF3eENsZjJ3R3FBVWhPY0VjIn1dfQ=="
	signedToken = "eyJhbGciOiJFUzI1NiIsImtpZCI6ImsxIn0.eyJhdWQiOiJhcGkiLCJpc3MiOiJva3RhIiwic3ViIjoiYW5uIn0.ic_athEGrTx833EPh4Z6Mtf0jWX0uP9ySIxiZaz3YF2jbyb1N731ShN5jze5w5DAPRNKAka-LeC786Eq-UgmXg"
)

// Config entries take effect while traffic runs: the protocol, a router, a splitter, a resolver with subsets, intentions
// by request.
func TestSidecarsByRequest(t *testing.T) {
	m := newMesh(t, nil)
	v2 := testkit.FreePorts(t)
	m.node.Put(t, "/v1/agent/service/register", strings.Replace(meshed("api", app(t, "api2"), v2.SerfLAN, nil), `"ID":"api"`, `"ID":"api2","Meta":{"version":"2"}`, 1))
	opened(t, m.node.Client, "api2-sidecar-proxy/inbound")
	entry := func(text string) {
		t.Helper()
		m.server.Put(t, "/v1/config", text)
	}
	entry(`{"Kind": "proxy-defaults", "Name": "global", "Config": {"protocol": "http"}}`)
	entry(`{"Kind": "service-resolver", "Name": "api", "DefaultSubset": "v1", "Subsets": {"v1": {"Filter": "Service.Meta.version != 2"}, "v2": {"Filter": "Service.Meta.version == 2"}}}`)
	entry(`{"Kind": "service-router", "Name": "api", "Routes": [{"Match": {"HTTP": {"PathPrefix": "/two/"}}, "Destination": {"ServiceSubset": "v2", "PrefixRewrite": "/"}}]}`)
	inUse(t, m.server.Client, fmt.Sprint("127.0.0.1:", v2.SerfLAN), `"PathPrefix":"/two/"`, "v2.api.default.default.dc1")
	m.node.Until(t, "/v1/agent/connect/proxy/config", func(r testkit.Reply) bool { return strings.Count(r.Body, `"protocol":"http"`) == 2 })
	for path, want := range map[string]string{"/x": "api /x", "/two/x": "api2 /x"} {
		if body, r := once(m.url + path); body != want || r.StatusCode != http.StatusOK {
			t.Errorf("%s: %q, want %q", path, body, want)
		}
	}
	if _, r := once(m.url + "/x"); r == nil || !strings.Contains(r.Header.Get("X-Client"), "/svc/web") {
		t.Error("the application is not told who is calling")
	}
	entry(`{"Kind": "service-intentions", "Name": "api", "Sources": [{"Name": "web", "Permissions": [{"Action": "deny", "HTTP": {"PathPrefix": "/admin"}}, {"Action": "allow", "HTTP": {"PathPrefix": "/"}}]}]}`)
	m.node.Until(t, "/v1/agent/connect/proxy/config", func(r testkit.Reply) bool { // each sidecar learns it by itself
		return strings.Count(r.Body, `"PathPrefix":"/admin"`) == 2
	})
	for path, want := range map[string]int{"/x": http.StatusOK, "/admin/x": http.StatusForbidden, "/x/..%2fadmin": http.StatusBadRequest} {
		if _, r := once(m.url + path); r == nil || r.StatusCode != want {
			t.Errorf("%s: %v, want status %d", path, r, want)
		}
	}
	entry(fmt.Sprintf(`{"Kind": "jwt-provider", "Name": "okta", "Issuer": "okta", "JSONWebKeySet": {"Local": {"JWKS": "%s"}}}`, signersKeys))
	entry(`{"Kind": "service-intentions", "Name": "api", "Sources": [{"Name": "web", "Permissions": [{"Action": "allow", "HTTP": {"PathPrefix": "/"}, "JWT": {"Providers": [{"Name": "okta"}]}}]}]}`)
	m.node.Until(t, "/v1/agent/connect/proxy/config", func(r testkit.Reply) bool {
		return strings.Count(r.Body, `"JWT":{"Providers"`) == 2 && strings.Count(r.Body, signersKeys) == 2
	})
	for path, want := range map[string]int{"/x": http.StatusUnauthorized, "/x?access_token=bad": http.StatusUnauthorized, "/x?access_token=" + signedToken: http.StatusOK} {
		if body, r := once(m.url + path); r == nil || r.StatusCode != want {
			t.Errorf("%s: %s, want status %d", path, body, want)
		}
	}
	entry(`{"Kind": "service-splitter", "Name": "api", "Splits": [{"Weight": 100, "ServiceSubset": "v2"}]}`)
	inUse(t, m.server.Client, `"Weight":100`)
	if body, _ := once(m.url + "/x?access_token=" + signedToken); body != "api2 /x" {
		t.Errorf("got %q from the splitter", body)
	}
}

// Checks of a service are made through its sidecar where the registration or config entries expose them, of HTTP and of gRPC;
// exactly their paths are there. The ports stay over restarts of the agent, and go with the service.
func TestExposedChecks(t *testing.T) {
	ports := testkit.FreePorts(t)
	n := testkit.New(t, testkit.Settings{"check_update_interval": "0s", "ports": testkit.Settings{"expose_min_port": ports.DNS, "expose_max_port": ports.Server}})
	a := n.Start(t)
	at := app(t, "web")
	register := func(name string, expose bool) {
		t.Helper()
		text, _ := json.Marshal(map[string]any{"Name": name, "Port": at, "Checks": []any{
			map[string]any{"CheckID": name + "-http", "HTTP": fmt.Sprintf("http://localhost:%d/up?full", at), "Interval": "1s"},
			map[string]any{"CheckID": name + "-ttl", "TTL": "1h"},
		}, "Connect": map[string]any{"SidecarService": map[string]any{
			"Port": map[string]int{"web": ports.Peering, "api": n.SerfWAN}[name], "Check": map[string]any{"AliasService": name},
			"Proxy": map[string]any{"Expose": map[string]any{"Checks": expose}},
		}}})
		a.Put(t, "/v1/agent/service/register", string(text))
	}
	// exposed waits until a service's check is passing that is made through a port, 0 for none, by what it says.
	exposed := func(service string, port int) {
		t.Helper()
		through := fmt.Sprintf("HTTP GET http://127.0.0.1:%d/up?full: 200 OK", port)
		if port == 0 {
			through = fmt.Sprintf("HTTP GET http://localhost:%d/up?full: 200 OK", at)
		}
		a.Until(t, "/v1/health/checks/"+service, func(r testkit.Reply) bool {
			var all []*catalog.Check
			r.JSON(t, &all)
			return slices.ContainsFunc(all, func(c *catalog.Check) bool {
				return c.CheckID == service+"-http" && c.ExposedPort == port && c.Status == catalog.Passing && strings.HasPrefix(c.Output, through)
			})
		})
	}
	closed := func(port int) {
		t.Helper()
		a.Until(t, "/v1/agent/connect/proxy/status", func(r testkit.Reply) bool {
			return !strings.Contains(r.Body, fmt.Sprintf("/expose:%d", port))
		})
	}
	register("web", true)
	exposed("web", ports.DNS)
	if body, r := once(fmt.Sprintf("http://127.0.0.1:%d/other", ports.DNS)); r == nil || r.StatusCode == http.StatusOK {
		t.Errorf("another path is there too: %s", body)
	}
	register("api", false)
	exposed("api", 0)
	a.Put(t, "/v1/config", `{"Kind": "service-defaults", "Name": "api", "Expose": {"Checks": true}}`)
	exposed("api", ports.HTTP)
	a.Put(t, "/v1/config", `{"Kind": "service-defaults", "Name": "api"}`)
	exposed("api", 0)
	closed(ports.HTTP)
	a.Put(t, "/v1/config", `{"Kind": "proxy-defaults", "Name": "global", "Expose": {"Checks": true}}`)
	exposed("api", ports.HTTP)

	a.Stop(t)
	a = n.Start(t)
	exposed("web", ports.DNS)
	exposed("api", ports.HTTP)
	a.Put(t, "/v1/agent/service/deregister/web", "")
	closed(ports.DNS)
	register("web", true)
	exposed("web", ports.DNS)
}

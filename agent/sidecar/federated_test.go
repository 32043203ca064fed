package sidecar_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/curia-mesh/curia/agent/sidecar"
	"github.com/curia-mesh/curia/agent/testkit"
	"github.com/curia-mesh/curia/connect"
)

// trustDomain is that of the datacenters in tests.
const (
	clusterID   = "11111111-2222-3333-4444-555555555555"
	trustDomain = clusterID + ".consul"
)

// oneCA are settings for servers of several datacenters that share a root.
func oneCA(t testing.TB) testkit.Settings {
	t.Helper()
	key, err := connect.GenerateKey(connect.DefaultKey)
	if err != nil {
		t.Fatal(err)
	}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "one root"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(10 * 365 * 24 * time.Hour), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		URIs: []*url.URL{(&connect.ID{Kind: connect.KindTrustDomain, TrustDomain: trustDomain}).URL()},
	}
	der, err := x509.CreateCertificate(rand.Reader, root, root, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := connect.EncodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return testkit.Settings{"connect": testkit.Settings{"ca_config": testkit.Settings{
		"cluster_id": clusterID, "private_key": secret, "root_cert": connect.EncodeCertificate(der),
	}}}
}

// datacenters starts a server in each, all in this process: each has joined the first, and all know all.
func datacenters(t *testing.T, names ...string) []*testkit.Agent {
	t.Helper()
	shared := oneCA(t)
	var all []*testkit.Agent
	for _, name := range names {
		s := testkit.Settings{"node_name": name + "-1", "datacenter": name, "connect": shared["connect"]}
		if len(all) > 0 {
			s["retry_join_wan"] = []string{fmt.Sprintf("127.0.0.1:%d", all[0].SerfWAN)}
		}
		all = append(all, testkit.New(t, s).Start(t))
	}
	for i, a := range all {
		for k, name := range names {
			if line := "another datacenter is known: datacenter=" + name; k != i && !strings.Contains(a.Log.String(), line) {
				a.Log.Wait(t, line)
			}
		}
	}
	return all
}

// sick makes an instance critical, and its sidecar with it; well takes that back.
func sick(t testing.TB, a *testkit.Agent, id string) {
	t.Helper()
	a.Put(t, "/v1/agent/service/maintenance/"+id+"?enable=true", "").Want(t, http.StatusOK)
}

func well(t testing.TB, a *testkit.Agent, id string) {
	t.Helper()
	a.Put(t, "/v1/agent/service/maintenance/"+id+"?enable=false", "").Want(t, http.StatusOK)
}

// within asks until the answer is as wanted, and fails when that takes longer.
func within(t testing.TB, most time.Duration, addr, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	begun, last := time.Now(), ""
	for ctx.Err() == nil {
		if last, _ = once(addr); last == want {
			if took := time.Since(begun); took > most {
				t.Errorf("%s answers as wanted after %v, at most %v is allowed", addr, took, most)
			}
			return
		}
	}
	t.Fatalf("%s answers %q, want %q", addr, last, want)
}

// failover is how soon new requests go elsewhere after a change of health.
const failover = time.Second

// Services of another datacenter are reached as upstreams of their own and where those at home fail, by their sidecars
// directly, who prove to be of their datacenter.
func TestUpstreamsElsewhere(t *testing.T) {
	dcs := datacenters(t, "dc1", "dc2")
	one, two := dcs[0], dcs[1]
	here, there := testkit.FreePorts(t), testkit.FreePorts(t)
	for _, dc := range dcs {
		dc.Put(t, "/v1/config", `{"Kind": "service-defaults", "Name": "api", "Protocol": "http"}`)
	}
	two.Put(t, "/v1/agent/service/register", meshed("api", app(t, "far"), there.SerfLAN, nil))
	one.Put(t, "/v1/agent/service/register", meshed("api", app(t, "near"), here.SerfLAN, nil))
	one.Put(t, "/v1/config", `{"Kind": "service-resolver", "Name": "api", "Failover": {"*": {"Datacenters": ["dc2"]}}}`)
	web := meshed("web", app(t, "web"), here.SerfWAN, map[string]int{"api": here.DNS})
	web = strings.Replace(web, `"Upstreams":[`, fmt.Sprintf(`"Upstreams":[{"DestinationName":"api","Datacenter":"dc2","LocalBindPort":%d},`, here.HTTP), 1)
	one.Put(t, "/v1/agent/service/register", web)
	opened(t, two.Client, "api-sidecar-proxy/inbound")
	opened(t, one.Client, "api-sidecar-proxy/inbound")
	opened(t, one.Client, "web-sidecar-proxy/api.dc2")
	inUse(t, one.Client, fmt.Sprint("127.0.0.1:", there.SerfLAN), fmt.Sprint("127.0.0.1:", here.SerfLAN))
	usual, always := fmt.Sprintf("http://127.0.0.1:%d/", here.DNS), fmt.Sprintf("http://127.0.0.1:%d/", here.HTTP)
	within(t, patience, always, "far /")
	within(t, patience, usual, "near /")
	if _, r := once(always); r == nil || !strings.Contains(r.Header.Get("X-Client"), "dc/dc1/svc/web") {
		t.Error("the application elsewhere is not told who is calling")
	}
	sick(t, one, "api")
	within(t, failover, usual, "far /")
	well(t, one, "api")
	within(t, failover, usual, "near /")
}

// gatewayAt is the registration of a mesh gateway that the agent runs.
func gatewayAt(port int) string {
	return fmt.Sprintf(`{"Kind": "mesh-gateway", "Name": "mesh-gateway", "Address": "127.0.0.1", "Port": %d, "Proxy": {"Config": {"managed": true}},
		"TaggedAddresses": {"wan": {"Address": "127.0.0.1", "Port": %d}}}`, port, port)
}

// abroad are two datacenters, each with api and a gateway; in the first one web uses api there, and api here, which fails
// over.
type abroad struct {
	one, two      *testkit.Agent
	usual, always string
	gates         [2]int
	side          int // of api in the second
}

func newAbroad(t *testing.T, mode string) *abroad {
	t.Helper()
	dcs := datacenters(t, "dc1", "dc2")
	a := &abroad{one: dcs[0], two: dcs[1]}
	here, there, web := testkit.FreePorts(t), testkit.FreePorts(t), testkit.FreePorts(t)
	a.gates = [2]int{here.Server, there.Server}
	for i, dc := range dcs {
		dc.Put(t, "/v1/config", `{"Kind": "service-defaults", "Name": "api", "Protocol": "http"}`)
		dc.Put(t, "/v1/config", fmt.Sprintf(`{"Kind": "proxy-defaults", "Name": "global", "MeshGateway": {"Mode": %q}}`, mode))
		dc.Put(t, "/v1/agent/service/register", gatewayAt(a.gates[i]))
	}
	a.side = there.SerfLAN
	a.two.Put(t, "/v1/agent/service/register", meshed("api", app(t, "far"), there.SerfLAN, nil))
	a.one.Put(t, "/v1/agent/service/register", meshed("api", app(t, "near"), here.SerfLAN, nil))
	a.one.Put(t, "/v1/config", `{"Kind": "service-resolver", "Name": "api", "Failover": {"*": {"Datacenters": ["dc2"]}}}`)
	text := meshed("web", app(t, "web"), web.SerfLAN, map[string]int{"api": web.DNS})
	text = strings.Replace(text, `"Upstreams":[`, fmt.Sprintf(`"Upstreams":[{"DestinationName":"api","Datacenter":"dc2","LocalBindPort":%d},`, web.HTTP), 1)
	a.one.Put(t, "/v1/agent/service/register", text)
	a.usual, a.always = fmt.Sprintf("http://127.0.0.1:%d/", web.DNS), fmt.Sprintf("http://127.0.0.1:%d/", web.HTTP)
	for _, dc := range dcs {
		opened(t, dc.Client, "api-sidecar-proxy/inbound")
		opened(t, dc.Client, "mesh-gateway/gateway")
	}
	opened(t, a.one.Client, "web-sidecar-proxy/api.dc2")
	opened(t, a.one.Client, "web-sidecar-proxy/api:")
	within(t, patience, a.always, "far /")
	within(t, patience, a.usual, "near /")
	return a
}

// passed is how many connections a gateway has passed on to a target.
func passed(t testing.TB, c testkit.Client, target string) (n uint64) {
	t.Helper()
	var all []sidecar.ClusterStatus
	c.Get(t, "/v1/agent/connect/proxy/clusters").JSON(t, &all)
	for _, s := range all {
		if strings.HasSuffix(s.Listener, "/gateway") && s.Target == target {
			n += s.Total
		}
	}
	return n
}

// Mesh gateways carry what goes to another datacenter, as the mode says, and only sidecars that prove themselves to each
// other have something to say over them.
func TestGateways(t *testing.T) {
	for mode, home := range map[string]uint64{"remote": 0, "local": 1} {
		t.Run(mode, func(t *testing.T) {
			a := newAbroad(t, mode)
			if there, here := passed(t, a.two.Client, "api.dc2"), passed(t, a.one.Client, "*.dc2"); there != 1 || here != home {
				t.Errorf("the gateway there passed on %d connections, the one here %d, want 1 and %d", there, here, home)
			}
			if _, r := once(a.always); r == nil || !strings.Contains(r.Header.Get("X-Client"), "dc/dc1/svc/web") {
				t.Error("the application elsewhere is not told who is calling")
			}
			// A service that is new is known by its name at once, one that is gone is not.
			_, err := tls.Dial("tcp", fmt.Sprint("127.0.0.1:", a.gates[1]), &tls.Config{ServerName: "db.default.dc2.internal." + trustDomain, InsecureSkipVerify: true})
			if err == nil || !strings.Contains(err.Error(), "unrecognized name") {
				t.Errorf("a service that does not exist: %v", err)
			}
			ports := testkit.FreePorts(t)
			a.two.Put(t, "/v1/agent/service/register", meshed("db", app(t, "db"), ports.SerfLAN, nil))
			a.one.Put(t, "/v1/agent/service/register", strings.Replace(meshed("web2", app(t, "web2"), ports.SerfWAN, map[string]int{"db": ports.DNS}), `"DestinationName"`, `"Datacenter":"dc2","DestinationName"`, 1))
			opened(t, a.one.Client, "web2-sidecar-proxy/db.dc2")
			within(t, patience, fmt.Sprintf("http://127.0.0.1:%d/", ports.DNS), "db /")
		})
	}
}

// caller makes requests one after the other over a connection that it keeps, until it is stopped.
type caller struct {
	mu     sync.Mutex
	answer string // the last one
	failed int
	news   chan struct{} // has a value when answer is another
}

func (c *caller) run(ctx context.Context, url string) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConns: 1}, Timeout: patience}
	defer client.CloseIdleConnections()
	beat := time.NewTicker(2 * time.Millisecond) // the machine is others' too
	defer beat.Stop()
	for ctx.Err() == nil {
		text := ""
		r, err := client.Get(url)
		if err == nil {
			body, _ := io.ReadAll(r.Body)
			r.Body.Close()
			text = string(body)
		}
		c.mu.Lock()
		if err != nil || r.StatusCode != http.StatusOK {
			c.failed++
		} else if c.answer != text {
			c.answer = text
			select {
			case c.news <- struct{}{}:
			default:
			}
		}
		c.mu.Unlock()
		select {
		case <-beat.C:
		case <-ctx.Done():
		}
	}
}

// A service that fails is stood in for by its instances elsewhere, through gateways: a connection that is open loses at most
// one request, and no later than a second after the change of health requests are answered elsewhere; and back.
func TestFailoverThroughGateways(t *testing.T) {
	for _, mode := range []string{"remote", "local"} {
		t.Run(mode, func(t *testing.T) {
			a := newAbroad(t, mode)
			ctx, stop := context.WithCancel(t.Context())
			var all sync.WaitGroup
			defer all.Wait()
			defer stop()
			callers := make([]*caller, 8)
			for i := range callers {
				c := &caller{news: make(chan struct{}, 1)}
				callers[i] = c
				all.Go(func() { c.run(ctx, a.usual) })
			}
			heard := func(want string) {
				t.Helper()
				late := time.After(patience)
				for i, c := range callers {
					for {
						c.mu.Lock()
						answer, failed := c.answer, c.failed
						c.failed = 0
						c.mu.Unlock()
						if failed > 1 {
							t.Errorf("connection %d lost %d requests", i, failed)
						}
						if answer == want {
							break
						}
						select {
						case <-c.news:
						case <-late:
							t.Fatalf("connection %d is answered %q, want %q", i, answer, want)
						}
					}
				}
			}
			heard("near /")
			for range 3 { // a check that changes more often is held at critical
				for _, step := range []struct {
					do   func(testing.TB, *testkit.Agent, string)
					want string
				}{{sick, "far /"}, {well, "near /"}} {
					begun := time.Now()
					step.do(t, a.one, "api")
					heard(step.want)
					took := time.Since(begun)
					t.Logf("%s after %v", step.want, took)
					if took > failover {
						t.Errorf("requests are answered %q after %v, at most %v is allowed", step.want, took, failover)
					}
				}
			}
		})
	}
}

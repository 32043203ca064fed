package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/curia-mesh/curia/agent/client"
	"github.com/curia-mesh/curia/catalog"
)

// apiInstances is how many instances of api each datacenter has.
const apiInstances = 2

// mesh is the services and their traffic.
type mesh struct {
	flows []*flow           // one for each datacenter, in their order, to its own api
	far   []*flow           // the same, to the next datacenter's
	apis  map[string][]*app // by datacenter
	webs  []*app
	http  *http.Client
}

func (m *mesh) run(ctx context.Context) error {
	all, ctx := errgroup.WithContext(ctx)
	for _, f := range m.all() {
		all.Go(func() error { return f.run(ctx) })
	}
	return all.Wait()
}

// close ends the services.
func (m *mesh) close() {
	if m == nil {
		return
	}
	for _, a := range m.webs {
		a.down()
	}
	for _, some := range m.apis {
		for _, a := range some {
			a.down()
		}
	}
	m.http.CloseIdleConnections()
}

func (m *mesh) all() []*flow { return slices.Concat(m.flows, m.far) }

func (m *mesh) stats() (all []Flow) {
	for _, f := range m.all() {
		now, _ := f.look()
		all = append(all, now)
	}
	return all
}

// startMesh starts the services, registers them with their sidecars, and says who may reach whom.
func (d *Demo) startMesh(ctx context.Context) error {
	m := &mesh{apis: map[string][]*app{}, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: inFlight}}}
	d.mesh = m
	for _, dc := range d.datacenters() {
		home := d.home(dc)
		m.webs = append(m.webs, newWeb(dc, home.port(webPort), home.port(upstreamPort), home.port(farPort), m.http))
		for i := range apiInstances {
			m.apis[dc] = append(m.apis[dc], newAPI(fmt.Sprint("api-", i+1), dc, d.apiHost(dc, i).port(apiPort+i*2*slots)))
		}
		url := "http://" + home.address(webPort) + "/"
		m.flows = append(m.flows, newFlow(dc, dc, url, m.http))
		if far := d.next(dc); far != dc {
			m.far = append(m.far, newFlow(dc, far, url+"far", m.http))
		}
	}
	all, ctx := errgroup.WithContext(ctx)
	for i, dc := range d.datacenters() {
		for _, a := range append(m.apis[dc], m.webs[i]) {
			if err := a.up(); err != nil {
				return err
			}
		}
		all.Go(func() error { return d.register(ctx, dc) })
	}
	return all.Wait()
}

// next is the datacenter behind one, the first behind the last.
func (d *Demo) next(dc string) string {
	names := d.datacenters()
	return names[(slices.Index(names, dc)+1)%len(names)]
}

// home is the agent whose node the service web of a datacenter is on; apiHost is that of an instance of api.
func (d *Demo) home(dc string) *place { return d.in(dc, false)[0] }

func (d *Demo) apiHost(dc string, i int) *place {
	clients := d.in(dc, false)
	return clients[i%len(clients)]
}

// register makes the services of a datacenter known, and what is to be known of them.
func (d *Demo) register(ctx context.Context, dc string) error {
	server := d.in(dc, true)[0]
	if err := d.federated(ctx, server); err != nil {
		return err
	}
	api, err := d.ask(server)
	if err != nil {
		return err
	}
	defer api.Close()
	for _, e := range d.entries() {
		text, err := json.Marshal(e)
		if err != nil {
			return err
		}
		if _, err := api.Entries().Write(ctx, text, nil, client.Query{}); err != nil {
			return err
		}
	}
	tokens := map[string]string{}
	if d.Secure {
		for name, accessor := range accessors {
			if tokens[name], err = serviceToken(ctx, api, name, accessor); err != nil {
				return err
			}
		}
	}
	home := d.home(dc)
	web := sidecarred("web", "web", home.port(webPort), home.port(webSidecar), "/health")
	upstreams := []catalog.Upstream{{DestinationName: "api", LocalBindPort: home.port(upstreamPort)}}
	if far := d.next(dc); far != dc {
		upstreams = append(upstreams, catalog.Upstream{DestinationName: "api", Datacenter: far, LocalBindPort: home.port(farPort)})
	}
	web.Connect.SidecarService.Proxy = &catalog.Proxy{Upstreams: upstreams}
	web.Token = tokens["web"]
	if err := d.announce(ctx, home, web); err != nil {
		return err
	}
	for i, a := range d.mesh.apis[dc] {
		host := d.apiHost(dc, i)
		def := sidecarred("api", a.id, a.port, host.port(apiSidecar+i*2*slots), "/")
		def.Token = tokens["api"]
		if err := d.announce(ctx, host, def); err != nil {
			return err
		}
	}
	return nil
}

func (d *Demo) announce(ctx context.Context, host *place, def *catalog.ServiceDefinition) error {
	api, err := client.New(client.Config{Address: host.address(httpPort)})
	if err != nil {
		return err
	}
	defer api.Close()
	if err := api.Agent().RegisterService(ctx, def); err != nil {
		return fmt.Errorf("agent %s: %w", host.Name, err)
	}
	return nil
}

// entries are the config entries, the same in all datacenters: what the services speak, who may call api, and who stands in for
// it.
func (d *Demo) entries() []map[string]any {
	all := []map[string]any{
		{"Kind": "service-defaults", "Name": "api", "Protocol": "http"},
		{"Kind": "service-defaults", "Name": "web", "Protocol": "http"},
		{"Kind": "service-intentions", "Name": "api", "Sources": []map[string]any{{"Name": "web", "Action": "allow"}}},
	}
	if d.Datacenters > 1 {
		all = append(all, map[string]any{"Kind": "service-resolver", "Name": "api", "Failover": map[string]any{"*": map[string]any{"Datacenters": d.datacenters()}}})
	}
	return all
}

// sidecarred is the registration of a service with a sidecar. Checks are made each second, so that what happens is soon seen.
func sidecarred(name, id string, port, sidecar int, health string) *catalog.ServiceDefinition {
	check := func(d catalog.CheckDefinition) *catalog.AgentCheck {
		d.Interval, d.Timeout = catalog.Duration(time.Second), catalog.Duration(time.Second)
		return &catalog.AgentCheck{CheckDefinition: d}
	}
	return &catalog.ServiceDefinition{
		Name: name, ID: id, Address: "127.0.0.1", Port: port,
		Check: check(catalog.CheckDefinition{HTTP: "http://" + loopback(port) + health}),
		Connect: &catalog.ServiceConnect{SidecarService: &catalog.ServiceDefinition{
			Port:   sidecar,
			Checks: []*catalog.AgentCheck{check(catalog.CheckDefinition{TCP: loopback(sidecar)}), {CheckDefinition: catalog.CheckDefinition{AliasService: id}}},
		}},
	}
}

// accessors of the services' tokens, by service.
var accessors = map[string]string{"web": "c07ac1de-0000-4000-8000-000000000001", "api": "c07ac1de-0000-4000-8000-000000000002"}

// serviceToken returns the secret of the token with which a service and its sidecar are registered, and makes the token if
// there is none.
func serviceToken(ctx context.Context, api *client.Client, name, accessor string) (string, error) {
	t, err := api.ACL().ReadToken(ctx, accessor, client.Query{})
	if client.IsStatus(err, http.StatusNotFound, http.StatusForbidden) {
		t, err = api.ACL().CreateToken(ctx, &catalog.Token{
			AccessorID: accessor, Description: "demo service " + name, ServiceIdentities: []*catalog.ServiceIdentity{{ServiceName: name}},
		}, client.Query{})
	}
	if err != nil {
		return "", err
	}
	return t.SecretID.Reveal(), nil
}

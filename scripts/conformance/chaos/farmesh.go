//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// Ports of what runs on the hosts of clients: the applications, their sidecars, the gateway, and where the sidecar of web
// takes what is for others.
const (
	appPort, appSidecar   = 9090, 21000
	webPort, webSidecar   = 9091, 21001
	gatewayPort           = 8443
	localUpstream         = 9191 // to api in the own datacenter
	abroadUpstream        = 9192 // to api in dc2, from dc1
	shopPort, shopSidecar = 9093, 21003
	shopUpstream          = 9193 // to shop
)

// mesh is what runs in the datacenters of a world: api and shop in each, and web, which calls them through its sidecar.
type mesh struct {
	w    *world
	apps []*http.Server
}

// settings are the config entries of the mesh. Others than the datacenter that is asked have both services too; those of
// shop are reached through gateways on both sides.
var settings = []string{
	`{"Kind": "service-defaults", "Name": "api", "Protocol": "http"}`,
	`{"Kind": "service-defaults", "Name": "shop", "Protocol": "http", "MeshGateway": {"Mode": "local"}}`,
	`{"Kind": "service-resolver", "Name": "api", "ConnectTimeout": "2s", "Failover": {"*": {"Datacenters": ["dc3"]}}}`,
	`{"Kind": "service-resolver", "Name": "shop", "ConnectTimeout": "2s", "Failover": {"*": {"Datacenters": ["dc2", "dc3"]}}}`,
}

// startMesh starts the applications and registers all, and waits until each is reached.
func startMesh(ctx context.Context, w *world) (m *mesh, err error) {
	m = &mesh{w: w}
	defer func() {
		if err != nil {
			m.close()
		}
	}()
	home := w.dcs[0]
	for _, e := range settings {
		if _, err := home.api.ask(ctx, home.agent, "PUT", "/v1/config", []byte(e)); err != nil {
			return m, err
		}
	}
	for _, c := range w.dcs {
		for _, port := range []int{appPort, shopPort} {
			if err := m.serve(c, port); err != nil {
				return m, err
			}
		}
		for _, def := range c.services() {
			text, err := json.Marshal(def)
			if err != nil {
				return m, err
			}
			if _, err := c.api.ask(ctx, c.agent, "PUT", "/v1/agent/service/register?token="+management, text); err != nil {
				return m, err
			}
		}
	}
	for _, c := range w.dcs {
		reach := map[int]string{localUpstream: c.dc.Name, shopUpstream: c.dc.Name}
		if c == home {
			reach[abroadUpstream] = "dc2"
		}
		for port, who := range reach {
			u := c.upstream(port)
			err := eventually(ctx, 2*settled, func(ctx context.Context) error { return u.answers(ctx, who) })
			if u.client.CloseIdleConnections(); err != nil {
				return m, fmt.Errorf("port %d of the sidecar in %s: %w", port, c.dc.Name, err)
			}
		}
	}
	return m, nil
}

// serve runs an application that says in which datacenter it is.
func (m *mesh) serve(c *cluster, port int) error {
	l, err := c.client.Listen(port)
	if err != nil {
		return err
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, c.dc.Name) })}
	m.apps = append(m.apps, s)
	go s.Serve(l) // ends with close
	return nil
}

func (m *mesh) close() {
	ctx, cancel := context.WithTimeout(context.Background(), settled)
	defer cancel()
	for _, c := range m.w.dcs {
		for _, id := range []string{"web", "api", "shop", "mesh-gateway"} {
			if _, err := c.api.ask(ctx, c.agent, "PUT", "/v1/agent/service/deregister/"+id+"?token="+management, nil); err != nil {
				progress("%v", err)
			}
		}
	}
	for _, s := range m.apps {
		s.Close()
	}
}

// services are those of a datacenter.
func (c *cluster) services() []map[string]any {
	addr := c.client.Addr.String()
	sidecar := func(port int, upstreams ...map[string]any) map[string]any {
		return map[string]any{"SidecarService": map[string]any{"Port": port, "Checks": []any{}, "Proxy": map[string]any{"LocalServiceAddress": addr, "Upstreams": upstreams}}}
	}
	upstream := func(name string, port int) map[string]any {
		return map[string]any{"DestinationName": name, "LocalBindAddress": addr, "LocalBindPort": port}
	}
	upstreams := []map[string]any{upstream("api", localUpstream), upstream("shop", shopUpstream)}
	if c == c.world.dcs[0] {
		abroad := upstream("api", abroadUpstream)
		abroad["Datacenter"] = "dc2"
		upstreams = append(upstreams, abroad)
	}
	return []map[string]any{
		{"Kind": "mesh-gateway", "Name": "mesh-gateway", "Address": addr, "Port": gatewayPort,
			"TaggedAddresses": map[string]any{"wan": map[string]any{"Address": addr, "Port": gatewayPort}},
			"Proxy":           map[string]any{"Config": map[string]any{"managed": true}}},
		{"Name": "api", "Address": addr, "Port": appPort, "Connect": sidecar(appSidecar)},
		{"Name": "shop", "Address": addr, "Port": shopPort, "Connect": sidecar(shopSidecar), "Check": map[string]any{"CheckID": "shop-open", "TTL": "1h", "Status": "passing"}},
		{"Name": "web", "Address": addr, "Port": webPort, "Connect": sidecar(webSidecar, upstreams...)},
	}
}

// upstream is a way through the sidecar of web, over connections of its own.
type upstream struct {
	url    string
	client *http.Client
}

func (c *cluster) upstream(port int) *upstream {
	return &upstream{fmt.Sprintf("http://%s:%d/", c.client.Addr, port), &http.Client{Transport: &http.Transport{DialContext: c.client.Dial}}}
}

// get returns who has answered.
func (u *upstream) get(ctx context.Context) (string, error) {
	r, err := http.NewRequestWithContext(ctx, "GET", u.url, bytes.NewReader(nil))
	if err != nil {
		return "", err
	}
	w, err := u.client.Do(r)
	if err != nil {
		return "", err
	}
	defer w.Body.Close()
	text, err := io.ReadAll(io.LimitReader(w.Body, 1<<10))
	if err == nil && w.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", w.StatusCode, text)
	}
	return string(text), err
}

func (u *upstream) answers(ctx context.Context, who string) error {
	got, err := u.get(ctx)
	if err == nil && got != who {
		err = fmt.Errorf("%s has answered and not %s", got, who)
	}
	return err
}

// flow is clients that keep a connection each and make one request after the other.
type flow struct {
	clients []*calls
	stop    context.CancelFunc
	wg      sync.WaitGroup
}

func (c *cluster) flow(ctx context.Context, what string, port, clients int) *flow {
	ctx, stop := context.WithCancel(ctx)
	f := &flow{stop: stop}
	for range clients {
		k, u := &calls{what: what}, c.upstream(port)
		f.clients = append(f.clients, k)
		f.wg.Go(func() {
			defer u.client.CloseIdleConnections()
			for ; ctx.Err() == nil; pause(ctx, beat) {
				k.do(ctx, patience, u.get)
			}
		})
	}
	return f
}

func (f *flow) end() {
	f.stop()
	f.wg.Wait()
}

// failed counts the requests that failed: all, and most of one client; and all there were.
func (f *flow) failed() (all, most, of int, first error) {
	for _, k := range f.clients {
		all, most, of = all+k.failed, max(most, k.failed), of+k.count
		if first == nil {
			first = k.first
		}
	}
	return all, most, of, first
}

// switched is when the last of the clients was first answered by somebody, after a time.
func (f *flow) switched(after time.Time, who string) (d time.Duration) {
	for _, k := range f.clients {
		d = max(d, k.next(after, who))
	}
	return d
}

// farMesh is P5: a datacenter is cut off for 30 s, or 10 min in a long run. Its services and those of the others go on, and who
// calls into it is answered by the next one.
func farMesh(ctx context.Context, r *run) error {
	length := 30 * time.Second
	if r.long {
		length = 10 * time.Minute
	}
	m, err := startMesh(ctx, r.world)
	if err != nil {
		return err
	}
	defer m.close()
	home, cut := r.world.dcs[0], r.world.dcs[1]
	flows := []*flow{home.flow(ctx, "web to api in dc1", localUpstream, 4), cut.flow(ctx, "web to api in dc2", localUpstream, 4)}
	abroad := home.flow(ctx, "web in dc1 to api in dc2", abroadUpstream, 4)
	end := func() {
		for _, f := range append(flows, abroad) {
			f.end()
		}
	}
	defer end()
	pause(ctx, 2*time.Second)
	if err := r.world.cutOff(cut); err != nil {
		return err
	}
	from := time.Now()
	pause(ctx, length)
	to := time.Now()
	if err := r.world.mend(cut); err != nil {
		return err
	}
	pause(ctx, 20*time.Second)
	end()
	for _, f := range flows {
		all, _, of, first := f.failed()
		r.check(all == 0 && of > 100, "P5 requests of "+f.clients[0].what+" that failed", "0", "%d of %d%s", all, of, because(first))
	}
	all, most, of, first := abroad.failed()
	r.show("requests into who was cut off that failed", "%d of %d, %d of one connection at most%s", all, of, most, because(first))
	over := abroad.switched(from, "dc3")
	r.figure(over <= 5*time.Second, "P5 the next datacenter answers all clients after", "≤ 5s", "%s", short(over))
	back := abroad.switched(to, "dc2")
	r.figure(back <= 15*time.Second, "P5 the datacenter answers all clients again after", "≤ 15s", "%s", short(back))
	return nil
}

func because(err error) string {
	if err == nil {
		return ""
	}
	return fmt.Sprintf(" (%.200v)", err)
}

// farService has the only instance of a service in a datacenter become unhealthy and well again, under clients that are
// answered by another datacenter meanwhile, through mesh gateways on both sides.
func farService(ctx context.Context, r *run) error {
	rounds := 3
	if r.long {
		rounds = 30
	}
	m, err := startMesh(ctx, r.world)
	if err != nil {
		return err
	}
	defer m.close()
	home := r.world.dcs[0]
	f := home.flow(ctx, "web to shop", shopUpstream, 8)
	defer f.end()
	var over, back []time.Duration
	pause(ctx, time.Second)
	for range rounds {
		for _, change := range []struct {
			to, who string
			into    *[]time.Duration
		}{{"fail", "dc2", &over}, {"pass", "dc1", &back}} {
			if _, err := home.api.ask(ctx, home.agent, "PUT", "/v1/agent/check/"+change.to+"/shop-open?token="+management, nil); err != nil {
				return err
			}
			from := time.Now()
			err := eventually(ctx, settled, func(context.Context) error {
				if d := f.switched(from, change.who); d > settled {
					return errors.New("not all clients are answered by " + change.who)
				}
				return nil
			})
			if err != nil {
				return err
			}
			*change.into = append(*change.into, f.switched(from, change.who))
			pause(ctx, time.Second)
		}
	}
	f.end()
	all, most, of, first := f.failed()
	r.check(most <= rounds, "requests of one connection that failed when a service fails over through gateways", "≤ 1 each time", "%d in %d times; %d of %d in all%s", most, rounds, all, of, because(first))
	r.gaps("another datacenter answers all clients after", over, 0, time.Second)
	r.gaps("the own one answers all clients again after", back, 0, time.Second)
	return nil
}

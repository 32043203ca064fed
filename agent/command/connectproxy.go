package command

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/curia-mesh/curia/agent/client"
	"github.com/curia-mesh/curia/agent/logging"
	"github.com/curia-mesh/curia/agent/sidecar"
	"github.com/curia-mesh/curia/catalog"
)

// proxyOptions say which proxy is run.
// Source: https://developer.hashicorp.com/consul/commands/connect/proxy
type proxyOptions struct {
	node, ready, takeOver, register          bool
	dir, level                               string
	sidecarFor, proxyID                      string
	service, serviceAddr, listen, registerID string
	upstreams                                *list
	gateway                                  gatewayOptions
}

func connectProxy(f *flag.FlagSet) action {
	o := &proxyOptions{}
	f.StringVar(&o.sidecarFor, "sidecar-for", "", "The `id` of the service whose sidecar is run, as it is registered with the agent.")
	f.StringVar(&o.proxyID, "proxy-id", "", "The `id` of the proxy that is run, as it is registered with the agent.")
	f.StringVar(&o.service, "service", "", "The `name` of the service that a proxy without registration acts for; with -gateway, that of the gateway, mesh-gateway by default.")
	f.StringVar(&o.serviceAddr, "service-addr", "", "The `address` of that service on this machine, host:port.")
	f.StringVar(&o.listen, "listen", "", "The `address` at which connections of the mesh are taken for that service, host:port.")
	o.upstreams = listVar(f, "upstream", "An upstream of that service, as `name:port` or name:address:port. May be given more than once.")
	o.gateway.define(f)
	f.BoolVar(&o.register, "register", false, "Register the proxy with the agent while it runs.")
	f.StringVar(&o.registerID, "register-id", "", "The `id` to register it under. The default is the service's with -proxy behind it.")
	f.StringVar(&o.level, "log-level", "info", "The least `level` of log lines: trace, debug, info, warn or error.")
	f.BoolVar(&o.node, "node", false, "Run all sidecars of a node, for its agent, which starts this by itself.")
	f.StringVar(&o.dir, "dir", "", "With -node, the `directory` of the proxy in the agent's data directory.")
	f.BoolVar(&o.takeOver, "take-over", false, "With -node, take the listeners of the process that runs for the directory, and its place.")
	f.BoolVar(&o.ready, "ready", false, "With -node, say on file 3 when the proxy can be told what to do.")
	return func(ctx context.Context, c *call) error {
		level, err := logging.ParseLevel(o.level)
		if err != nil {
			return usage("-log-level: %v", err)
		}
		if o.node {
			return nodeProxy(ctx, o, level)
		}
		if err := o.checkGateway(); err != nil {
			return err
		}
		return o.run(ctx, c, level)
	}
}

func nodeProxy(ctx context.Context, o *proxyOptions, level slog.Level) error {
	if o.dir == "" {
		return usage("-node needs -dir")
	}
	revision, _ := build()
	p := sidecar.ProcessOptions{Dir: o.dir, Build: Version + " " + revision, Level: level, TakeOver: o.takeOver}
	if o.ready {
		p.Ready = sidecar.TellReady
	}
	return sidecar.RunProcess(ctx, p)
}

// ownDrain is how long connections may go on when a proxy by itself ends.
const ownDrain = 30 * time.Second

// run runs one proxy, which learns what it has to know from the agent.
func (o *proxyOptions) run(ctx context.Context, c *call, level slog.Level) error {
	self, err := c.api.Agent().Self(ctx)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(c.Err, &slog.HandlerOptions{Level: level}))
	service, followed, err := o.find(ctx, c)
	if err != nil {
		return err
	}
	if o.register {
		done, err := o.announce(ctx, c, service)
		if err != nil {
			return err
		}
		defer done()
	}
	registered := sidecar.NewRegistered(service)
	source := &sidecar.API{Client: c.api, DC: self.Config.Datacenter, Names: domainOf(self)}
	m := sidecar.NewManager(sidecar.Deps{
		Local: registered, Node: self.Config.NodeName, Agent: self.Member.Addr, Source: func(string) sidecar.Source { return source }, Log: log,
	}, nil)
	r := sidecar.NewRunner(sidecar.RunnerOptions{Alone: true, Drain: ownDrain, Log: log})
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return m.Run(ctx) })
	all.Go(func() error { return r.Run(ctx) })
	all.Go(func() error { return r.Follow(ctx, m) })
	if followed {
		all.Go(func() error { return registered.Follow(ctx, c.api, service.ID) })
	}
	return all.Wait()
}

// find returns the registration of the proxy, and whether the agent has it.
func (o *proxyOptions) find(ctx context.Context, c *call) (*catalog.Service, bool, error) {
	id := o.proxyID
	switch {
	case o.gateway.kind != "" && o.register:
		s, err := o.madeGateway()
		return s, false, err
	case o.gateway.kind != "" && id == "":
		var err error
		if id, err = gatewayHere(ctx, c.api); err != nil {
			return nil, false, err
		}
	case o.sidecarFor != "" && id != "":
		return nil, false, usage("-sidecar-for and -proxy-id name the same: give one")
	case (o.sidecarFor != "" || id != "") && o.service != "":
		return nil, false, usage("-service is for a proxy without registration: leave it out, or -sidecar-for and -proxy-id")
	case o.service != "":
		s, err := o.made()
		return s, false, err
	case o.sidecarFor == "" && id == "":
		return nil, false, usage("which proxy? give -sidecar-for, -proxy-id, -service or -gateway")
	}
	if id == "" {
		var err error
		if id, err = sidecarOf(ctx, c.api, o.sidecarFor); err != nil {
			return nil, false, err
		}
	}
	s := &catalog.Service{}
	if _, err := c.api.Do(ctx, http.MethodGet, client.Path("agent", "service", id), client.Query{}, nil, s); err != nil {
		return nil, false, err
	}
	if s.Kind != catalog.KindConnectProxy && s.Kind != catalog.KindMeshGateway {
		return nil, false, fmt.Errorf("service %q is no proxy and no mesh gateway: its kind is %q", id, s.Kind)
	}
	return s, true, nil
}

// sidecarOf is the id of the one proxy that is registered for a service's id.
func sidecarOf(ctx context.Context, api *client.Client, service string) (string, error) {
	all := map[string]*catalog.Service{}
	if _, err := api.Do(ctx, http.MethodGet, "/v1/agent/services", client.Query{}, nil, &all); err != nil {
		return "", err
	}
	var found []string
	for id, s := range all {
		if s.Kind == catalog.KindConnectProxy && s.Proxy != nil && s.Proxy.DestinationServiceID == service {
			found = append(found, id)
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("no sidecar is registered for service id %q: register the service with connect { sidecar_service {} }", service)
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("%d sidecars are registered for service id %q: choose one with -proxy-id", len(found), service)
}

// made is the registration that the options describe.
func (o *proxyOptions) made() (*catalog.Service, error) {
	s := &catalog.Service{
		Kind: catalog.KindConnectProxy, Service: o.service + "-proxy", ID: cmp.Or(o.registerID, o.service+"-proxy"),
		Proxy: &catalog.Proxy{DestinationServiceName: o.service},
	}
	var err error
	if s.Address, s.Port, err = hostPort("-listen", o.listen); err != nil {
		return nil, err
	}
	if o.serviceAddr == "" {
		return nil, usage("-service needs -service-addr, the address of the service on this machine")
	}
	if s.Proxy.LocalServiceAddress, s.Proxy.LocalServicePort, err = hostPort("-service-addr", o.serviceAddr); err != nil {
		return nil, err
	}
	for _, text := range *o.upstreams {
		name, at, ok := strings.Cut(text, ":")
		if !strings.Contains(at, ":") {
			at = ":" + at
		}
		u := catalog.Upstream{DestinationName: name}
		if u.LocalBindAddress, u.LocalBindPort, err = hostPort("-upstream", at); err != nil || !ok || name == "" {
			return nil, usage("-upstream=%s: want name:port or name:address:port", text)
		}
		s.Proxy.Upstreams = append(s.Proxy.Upstreams, u)
	}
	return s, nil
}

func hostPort(option, text string) (host string, port int, err error) {
	host, digits, err := net.SplitHostPort(text)
	if err == nil {
		port, err = strconv.Atoi(digits)
	}
	if err != nil || port < 1 || port > 65535 {
		return "", 0, usage("%s=%s: want host:port", option, text)
	}
	return host, port, nil
}

// announce registers the proxy, until done is called.
func (o *proxyOptions) announce(ctx context.Context, c *call, s *catalog.Service) (done func(), err error) {
	if o.service == "" && o.gateway.kind == "" {
		return nil, usage("-register is for a proxy without registration, which -service describes")
	}
	check := &catalog.AgentCheck{Name: "Connect Proxy Listening"}
	if s.Kind == catalog.KindMeshGateway {
		check.Name = "Mesh Gateway Listening"
	}
	check.TCP = net.JoinHostPort(cmp.Or(s.Address, "127.0.0.1"), strconv.Itoa(s.Port))
	check.Interval = catalog.Duration(10 * time.Second)
	def := &catalog.ServiceDefinition{Kind: s.Kind, ID: s.ID, Name: s.Service, Address: s.Address, TaggedAddresses: s.TaggedAddresses, Port: s.Port, Proxy: s.Proxy, Check: check}
	if err := c.api.Agent().RegisterService(ctx, def); err != nil {
		return nil, err
	}
	return func() {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if err := c.api.Agent().DeregisterService(late, s.ID); err != nil && !errors.Is(err, context.Canceled) {
			c.note("The proxy stays registered as %s: %v", s.ID, err)
		}
	}, nil
}

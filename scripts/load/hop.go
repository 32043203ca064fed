//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/curia-mesh/curia/catalog"
	spiffe "github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/connect/chain"
	"github.com/curia-mesh/curia/connect/proxy"
)

// hopConfig is what a hop of the mesh is started with: this program again, as a sidecar by itself.
type hopConfig struct {
	Listen, To string
	TCP        bool
	Reverse    bool // with the standard library's proxy in place of ours
	Domain     string
	Root       string // PEM
	Cert, Key  string // of the service this is the sidecar of
	SecureIn   bool   // callers have to prove themselves
	SecureOut  string // the service that the endpoint has to prove to be; empty without TLS
}

// identity is what the service shows and believes, for as long as the process runs.
type identity struct {
	leaf  tls.Certificate
	trust *spiffe.Trust
}

func (k *identity) Certificate() (*tls.Certificate, error) { return &k.leaf, nil }
func (k *identity) Trust() (*spiffe.Trust, error)          { return k.trust, nil }
func (k *identity) Generation() uint64                     { return 1 }

// hop runs a sidecar until it is told to end. Routes, intentions, metrics and timeouts are those of any sidecar.
func hop(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var c hopConfig
	if err := json.Unmarshal(text, &c); err != nil {
		return err
	}
	pair, err := tls.X509KeyPair([]byte(c.Cert), []byte(c.Key))
	if err != nil {
		return err
	}
	trust, err := spiffe.NewTrust(c.Domain, c.Root)
	if err != nil {
		return err
	}
	own := &identity{pair, trust}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if c.Reverse {
		return c.reverse(ctx, own)
	}
	l := &proxy.Listener{Name: "hop", Network: "tcp", Address: c.Listen, Protocol: proxy.HTTP, TrustForwarded: true}
	if c.TCP {
		l.Protocol = proxy.TCP
	}
	to := &proxy.Target{Name: "next", Endpoints: []proxy.Endpoint{{Network: "tcp", Address: c.To}}, KeepIdle: time.Minute}
	if c.SecureOut != "" {
		to.Certs, to.Identities, to.ServerName = own, []spiffe.ID{spiffe.Service(c.Domain, "dc1", c.SecureOut)}, c.SecureOut
	}
	l.Routes = proxy.Direct(to)
	if c.SecureIn {
		l.Certs = own
		if l.Policy, err = hopPolicy(c.TCP); err != nil {
			return err
		}
	} else if !c.TCP {
		if l.Routes, err = hopRoutes(to); err != nil {
			return err
		}
	}
	proxy.Alone()
	p := proxy.New(proxy.Options{DrainTime: time.Second})
	if err := p.Update(&proxy.Snapshot{Listeners: []*proxy.Listener{l}}); err != nil {
		return err
	}
	go proxy.GiveBack(ctx) // ends with the process
	return p.Run(ctx)
}

// reverse is the hop with net/http and its ReverseProxy as they come, but that as many connections stay as there are clients.
func (c hopConfig) reverse(ctx context.Context, own *identity) error {
	to := &url.URL{Scheme: "http", Host: c.To}
	transport := &http.Transport{MaxIdleConnsPerHost: 512}
	if c.SecureOut != "" {
		to.Scheme = "https"
		transport.TLSClientConfig = &tls.Config{Certificates: []tls.Certificate{own.leaf}, RootCAs: own.trust.Roots, ServerName: c.SecureOut, MinVersion: tls.VersionTLS13}
	}
	server := &http.Server{Addr: c.Listen, Handler: &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}}
	context.AfterFunc(ctx, func() { server.Close() })
	if !c.SecureIn {
		return server.ListenAndServe()
	}
	server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{own.leaf}, ClientCAs: own.trust.Roots, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13}
	return server.ListenAndServeTLS("", "")
}

// hopPolicy denies a path and allows the rest to one caller, of whom each request is judged.
func hopPolicy(tcp bool) (*spiffe.Policy, error) {
	source := &catalog.SourceIntention{Name: "web", Type: "consul", Action: catalog.IntentionAllow}
	if !tcp {
		source.Action = ""
		source.Permissions = []*catalog.IntentionPermission{
			{Action: catalog.IntentionDeny, HTTP: &catalog.IntentionHTTPPermission{PathPrefix: "/admin"}},
			{Action: catalog.IntentionAllow, HTTP: &catalog.IntentionHTTPPermission{PathPrefix: "/"}},
		}
	}
	entry := &catalog.ServiceIntentions{Sources: []*catalog.SourceIntention{source}}
	entry.Kind, entry.Name = catalog.EntryServiceIntentions, "api"
	entry.Normalize()
	return spiffe.NewPolicy(entry, nil, false, nil)
}

// hopRoutes are a router's with two routes that do not match, and one that does.
func hopRoutes(to *proxy.Target) (*proxy.Routes, error) {
	route := func(m catalog.HTTPRequestMatch) catalog.ServiceRoute {
		return catalog.ServiceRoute{Match: &catalog.ServiceRouteMatch{HTTP: &m}, Destination: &catalog.ServiceRouteDestination{RequestTimeout: catalog.Duration(15 * time.Second)}}
	}
	entries := []catalog.ConfigEntry{
		&catalog.ProxyDefaults{EntryHead: catalog.EntryHead{Kind: catalog.EntryProxyDefaults, Name: catalog.GlobalName}, Config: map[string]any{"protocol": "http"}},
		&catalog.ServiceRouter{EntryHead: catalog.EntryHead{Kind: catalog.EntryServiceRouter, Name: "api"}, Routes: []catalog.ServiceRoute{
			route(catalog.HTTPRequestMatch{PathPrefix: "/other/"}),
			route(catalog.HTTPRequestMatch{Header: []catalog.HeaderMatch{{Name: "x-beta", Present: true}}}),
		}},
	}
	for _, e := range entries {
		e.Normalize()
	}
	c, err := chain.Compile(chain.Request{Service: "api", Datacenter: "dc1", TrustDomain: "x.consul"}, chain.SetOf(entries...))
	if err != nil {
		return nil, err
	}
	targets := map[string]*proxy.Target{}
	for id := range c.Targets {
		targets[id] = to
	}
	return proxy.NewRoutes(c, targets)
}

// hopMain is what this program does when it is a hop.
func hopMain(args []string) {
	err := errors.New("want the file of its configuration")
	if len(args) == 1 {
		err = hop(args[0])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "hop:", err)
		os.Exit(1)
	}
}

var _ proxy.Certs = (*identity)(nil)

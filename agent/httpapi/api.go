package httpapi

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	metrics "github.com/hashicorp/go-metrics"

	"github.com/curia-mesh/curia/agent/telemetry"
	"github.com/curia-mesh/curia/rpc"
)

// Config is what an operator can say about the API.
type Config struct {
	Datacenter string
	// DefaultPolicy is what ACLs do with what no rule speaks of: "allow" or "deny".
	DefaultPolicy string
	// ACLs is how tokens are checked.
	ACLs ACLs
	// ResponseHeaders are added to every answer.
	ResponseHeaders map[string]string
	// BlockEndpoints are path prefixes that are answered with 403.
	BlockEndpoints []string
	// AllowWriteFrom lists the networks that may write; empty means all.
	AllowWriteFrom []netip.Prefix
	// DefaultWait and MaxWait bound blocking queries; 0 leaves that to the servers.
	DefaultWait, MaxWait time.Duration
	// DiscoveryMaxStale, above 0, makes queries of the catalog and of health stale by that much at most,
	// where they do not say themselves how current they must be.
	DiscoveryMaxStale time.Duration
	// TranslateAddresses tells clients that addresses may be those of other datacenters.
	TranslateAddresses bool
	// Cached lets clients ask for answers of the agent's cache.
	Cached bool
	// Debug serves the profiler.
	Debug  bool
	Limits Limits
	// Metrics is the store that the web interface's queries are passed on to; nil for none.
	Metrics *MetricsStore
}

// Limits bound what one request may send, in bytes. A zero field means its default.
type Limits struct {
	Body     int64 // of a registration and the like; default 1 MiB
	KVValue  int64 // default 512 KiB
	Txn      int64 // default 512 KiB
	Snapshot int64 // default 64 GiB
}

func (l Limits) withDefaults() Limits {
	set := func(v *int64, to int64) {
		if *v == 0 {
			*v = to
		}
	}
	set(&l.Body, 1<<20)
	set(&l.KVValue, 512<<10)
	set(&l.Txn, 512<<10)
	set(&l.Snapshot, 64<<30)
	return l
}

// API serves the HTTP API of one agent.
type API struct {
	Deps
	log    *slog.Logger
	limits Limits
	cached bool
	config atomic.Pointer[Config]
	mux    *http.ServeMux
	// metrics makes the requests to the metrics store.
	metrics *http.Client
	kv      http.HandlerFunc

	queryToken sync.Once
}

// New returns an API over a way to the servers and the parts of the agent.
func New(cfg Config, deps Deps, log *slog.Logger) *API {
	a := &API{Deps: deps, log: log, limits: cfg.Limits.withDefaults(), cached: cfg.Cached, mux: http.NewServeMux(), metrics: newMetricsClient()}
	a.config.Store(&cfg)
	routes := Routes()
	for i := range routes {
		a.mount(&routes[i])
	}
	a.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { a.unknown(w, r) })
	if cfg.Debug {
		a.profiler()
	}
	return a
}

// Reconfigure replaces what can change while the API serves.
func (a *API) Reconfigure(cfg Config) { a.config.Store(&cfg) }

// ServeHTTP implements http.Handler. Keys are taken as they are: the mux would send who asks for a//b or
// a/../b to another key.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if a.Audit != nil {
		a.audited(w, r)
		return
	}
	a.route(w, r)
}

func (a *API) route(w http.ResponseWriter, r *http.Request) {
	if key, ok := strings.CutPrefix(r.URL.Path, kvPath); ok {
		r.SetPathValue("key", key)
		a.kv(w, r)
		return
	}
	a.mux.ServeHTTP(w, r)
}

// Compressed is the API with its longer answers compressed for clients that take that.
func (a *API) Compressed() http.Handler { return compressed(a) }

// mount serves one route.
func (a *API) mount(route *Route) {
	timers := make(map[string]*telemetry.Timer, len(route.Methods))
	for _, m := range route.Methods {
		labels := []metrics.Label{{Name: "method", Value: m.Name}, {Name: "path", Value: label(route.Path)}}
		timers[m.Name] = a.Telemetry.Timer([]string{"api", "http"}, labels...)
	}
	handle := func(w http.ResponseWriter, r *http.Request) {
		c := &call{api: a, route: route, w: w, r: r, start: time.Now(), timer: timers[r.Method]}
		a.serve(c)
		if c.release != nil {
			c.release()
		}
		if !c.parked {
			c.timer.Since(c.start)
		}
	}
	if strings.HasPrefix(route.Path, kvPath) {
		a.kv = handle
	}
	a.mux.HandleFunc(route.Path, handle)
}

// label is a route's path as metrics name it.
func label(path string) string {
	path = strings.TrimPrefix(path, "/")
	for _, cut := range []string{"{", "}", "..."} {
		path = strings.ReplaceAll(path, cut, "")
	}
	return strings.ReplaceAll(strings.Trim(path, "/"), "/", "_")
}

// serve answers one call on a route.
func (a *API) serve(c *call) {
	cfg := a.config.Load()
	h := c.w.Header()
	h[headerPolicy] = []string{cfg.DefaultPolicy}
	if cfg.TranslateAddresses {
		h["X-Consul-Translate-Addresses"] = valueTrue
	}
	for k, v := range cfg.ResponseHeaders {
		h.Set(k, v)
	}
	if err := a.admit(cfg, c.r); err != nil {
		c.fail(err)
		return
	}
	handle := c.route.handler(c.r.Method)
	if handle == nil {
		h.Set("Allow", c.route.allow())
		if c.r.Method == http.MethodOptions {
			c.done()
			return
		}
		c.fail(withStatus(http.StatusMethodNotAllowed, "method %s is not allowed here: use %s", c.r.Method, c.route.allow()))
		return
	}
	var err error
	if c.query, err = url.ParseQuery(c.r.URL.RawQuery); err != nil {
		c.fail(badRequest("query parameters: %w", err))
		return
	}
	c.pretty = c.has("pretty") && c.param("pretty") != "false" && c.param("pretty") != "0"
	if err := c.tenancy(); err != nil {
		c.fail(err)
		return
	}
	if c.route.Local {
		err = c.need(c.route.Rights(c.r.Method).needs(a.Node.NodeName())...)
	}
	if err == nil {
		err = handle(c)
	}
	if wait := (*rpc.Parked)(nil); err != nil && errors.As(err, &wait) {
		err = c.park(wait)
	}
	if err != nil {
		c.fail(err)
	}
}

// admit refuses blocked paths and writes from networks that may only read.
func (a *API) admit(cfg *Config, r *http.Request) error {
	for _, prefix := range cfg.BlockEndpoints {
		if strings.HasPrefix(r.URL.Path, prefix) {
			return withStatus(http.StatusForbidden, "endpoint %s is blocked by http_config.block_endpoints of this agent", r.URL.Path)
		}
	}
	if crossOrigin.Check(r) != nil && !cfg.allowsOrigins() {
		return withStatus(http.StatusForbidden, "a web page of another origin may not write: set the header Access-Control-Allow-Origin in http_config.response_headers if it should")
	}
	if len(cfg.AllowWriteFrom) == 0 || r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions {
		return nil
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return nil // a unix socket, whose mode says who may write
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		for _, p := range cfg.AllowWriteFrom {
			if p.Contains(addr.Unmap()) {
				return nil
			}
		}
	}
	return withStatus(http.StatusForbidden, "writing is only allowed from http_config.allow_write_http_from of this agent, not from %s", host)
}

// crossOrigin tells the writes that a browser sends for web pages of others: some it sends without asking first.
var crossOrigin http.CrossOriginProtection

// allowsOrigins reports whether the operator lets pages of other origins in; browsers hold them to which.
func (c *Config) allowsOrigins() bool {
	for name := range c.ResponseHeaders {
		if strings.EqualFold(name, "Access-Control-Allow-Origin") {
			return true
		}
	}
	return false
}

// unknown answers paths that no route serves.
func (a *API) unknown(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", typeText)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusNotFound)
	if r.Method != http.MethodHead {
		w.Write([]byte("invalid URL path: no such endpoint " + strings.ToValidUTF8(r.URL.EscapedPath(), "") + "\n"))
	}
}

// profilerRoute is what the profiler needs.
var profilerRoute = Route{Path: "/debug/pprof/", ACL: "operator:read"}

// profiler serves Go's profiler, under the same restrictions as everything else.
func (a *API) profiler() {
	for path, serve := range map[string]http.HandlerFunc{
		"": pprof.Index, "profile": pprof.Profile, "symbol": pprof.Symbol, "trace": pprof.Trace,
		"cmdline": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", typeText)
			w.Write([]byte(os.Args[0])) // its arguments may hold secrets
		},
	} {
		a.mux.HandleFunc("/debug/pprof/"+path, func(w http.ResponseWriter, r *http.Request) {
			c := &call{api: a, route: &profilerRoute, w: w, r: r, query: r.URL.Query()}
			err := a.admit(a.config.Load(), r)
			if err == nil {
				err = c.need(profilerRoute.ACL.needs("")...)
			}
			if err != nil {
				http.Error(w, err.Error(), statusOf(err))
				return
			}
			serve(w, r)
		})
	}
}

func (a *API) warnQueryToken() {
	a.queryToken.Do(func() {
		a.log.Warn("a request gave its token as the query parameter token, which ends up in logs: use the header X-Consul-Token or Authorization")
	})
}

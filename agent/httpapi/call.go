package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/curia-mesh/curia/agent/decode"
	"github.com/curia-mesh/curia/agent/telemetry"
	"github.com/curia-mesh/curia/agent/watch"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
)

// call is one request in the making of its answer.
type call struct {
	api   *API
	route *Route
	w     http.ResponseWriter
	r     *http.Request
	query url.Values
	// pretty answers are indented.
	pretty bool
	start  time.Time
	timer  *telemetry.Timer
	place  *parked // where it may wait
	parked bool    // it waits there
	// release gives back what untilEnd took, when that was called.
	release func()
}

func (c *call) ctx() context.Context { return c.r.Context() }

func (c *call) log() *slog.Logger { return c.api.log }

// has reports whether a parameter is given, with or without a value.
func (c *call) has(name string) bool { _, ok := c.query[name]; return ok }

func (c *call) param(name string) string { return c.query.Get(name) }

// path is a part of the path that the route's pattern names. It is required.
func (c *call) path(name, what string) (string, error) {
	value := c.r.PathValue(name)
	if value == "" {
		return "", badRequest("missing %s: want %s", what, c.route.Path)
	}
	return value, nil
}

// number reads a parameter that is an unsigned number; 0 when it is not given.
func (c *call) number(name string) (uint64, error) {
	text := c.param(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, badRequest("invalid %s %q: want a number that is not negative", name, text)
	}
	return n, nil
}

// flag reads a parameter that may stand alone for true.
func (c *call) flag(name string) (bool, error) {
	if !c.has(name) {
		return false, nil
	}
	text := c.param(name)
	if text == "" {
		return true, nil
	}
	on, err := strconv.ParseBool(text)
	if err != nil {
		return false, badRequest("invalid %s %q: want true or false", name, text)
	}
	return on, nil
}

// header reads what every request to a server can say: datacenter, token, consistency, blocking, filter.
func (c *call) header() (rpc.Header, error) {
	h := rpc.Header{Datacenter: c.param("dc"), Token: c.token(), Filter: c.param("filter")}
	stale, consistent := c.has("stale"), c.has("consistent")
	switch {
	case stale && consistent:
		return h, badRequest("stale and consistent cannot both be asked for")
	case consistent:
		h.Consistency = rpc.Consistent
	case stale || c.has("max_stale"):
		h.Consistency = rpc.Stale
	}
	var err error
	if h.MaxStale, err = c.duration("max_stale"); err != nil {
		return h, err
	}
	if h.MinIndex, err = c.number("index"); err != nil {
		return h, err
	}
	if h.MaxWait, err = c.span("wait"); err != nil {
		return h, err
	}
	h.MaxWait = max(h.MaxWait, 0) // a span below zero is none, as with Consul
	cfg := c.api.config.Load()
	if h.MaxWait == 0 {
		h.MaxWait = cfg.DefaultWait
	}
	if cfg.MaxWait > 0 {
		h.MaxWait = min(h.MaxWait, cfg.MaxWait)
	}
	if c.route.Effective && h.Consistency == rpc.Default && cfg.DiscoveryMaxStale > 0 {
		h.Consistency, h.MaxStale = rpc.Stale, cfg.DiscoveryMaxStale
	}
	return h, nil
}

// tenancy refuses other namespaces and partitions than the one that there is.
func (c *call) tenancy() error {
	for _, t := range []struct{ what, param, header string }{
		{"namespace", c.param("ns"), c.r.Header.Get("X-Consul-Namespace")}, {"partition", c.param("partition"), c.r.Header.Get("X-Consul-Partition")},
	} {
		for _, name := range []string{t.param, t.header} {
			if name != "" && name != "default" {
				return badRequest("%s %q does not exist: there is only %q", t.what, name, "default")
			}
		}
	}
	return nil
}

// duration reads a parameter that is a time span; one without a unit or below zero is refused.
func (c *call) duration(name string) (time.Duration, error) {
	d, err := c.span(name)
	if err == nil && d < 0 {
		err = badRequest("invalid %s %q: it is below zero", name, c.param(name))
	}
	return d, err
}

// span is duration for one that may be below zero.
func (c *call) span(name string) (time.Duration, error) {
	text := c.param(name)
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, badRequest("%s: invalid duration %q: want a number with a unit, such as 10s", name, text)
	}
	return d, nil
}

// token is the secret that the request carries, else the agent's own default.
// Source: https://developer.hashicorp.com/consul/api-docs/api-structure#authentication
func (c *call) token() string {
	if t := c.r.Header.Get("X-Consul-Token"); t != "" {
		return t
	}
	if scheme, t, ok := strings.Cut(c.r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "bearer") {
		return strings.TrimSpace(t)
	}
	if t := c.param("token"); t != "" {
		c.api.warnQueryToken()
		return t
	}
	return c.api.Node.DefaultToken()
}

// decode reads a JSON body into a value. An unknown field is refused with the nearest known one.
func (c *call) decode(into any) error {
	body, err := c.body(c.api.limits.Body)
	if err != nil {
		return err
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return badRequest("request has no body: want JSON")
	}
	if err := decode.JSON(body, into, decode.Strict()); err != nil {
		return badRequest("request body: %w", err)
	}
	return nil
}

// nodeMeta reads the repeatable parameter of key:value pairs.
func (c *call) nodeMeta() map[string]string {
	pairs := c.query["node-meta"]
	if len(pairs) == 0 {
		return nil
	}
	meta := make(map[string]string, len(pairs))
	for _, pair := range pairs {
		key, value, _ := strings.Cut(pair, ":")
		meta[key] = value
	}
	return meta
}

// near is the node to sort by distance from.
func (c *call) near() string {
	if n := c.param("near"); n != "_agent" {
		return n
	}
	return c.api.Node.NodeName()
}

// ask makes a request to a server with the header that the parameters give.
func ask[Req, Rep any](c *call, m rpc.Method[Req, Rep], req *Req) (rpc.Answer, error) {
	if err := c.admitted(m.Name); err != nil {
		return rpc.Answer{}, err
	}
	h, err := c.header()
	if err != nil {
		return rpc.Answer{}, err
	}
	if c.shares(m.Name, &h) {
		return shared(c, m, h, req)
	}
	ctx := c.blocking(&h)
	return m.Ask(ctx, c.api.Caller, h, req)
}

// admitted refuses a request to a server that comes too quickly. One that has waited for its answer is not asked anew.
func (c *call) admitted(method string) error {
	if c.api.Admit == nil || c.ctx().Value(parkedKey{}) != nil {
		return nil
	}
	return c.api.Admit(c.r.RemoteAddr, method)
}

// blocking is the context for a request whose header may say that it blocks.
func (c *call) blocking(h *rpc.Header) context.Context {
	if h.MinIndex == 0 {
		return c.ctx()
	}
	if p, ok := c.ctx().Value(parkedKey{}).(*parked); ok {
		c.start, h.MaxWait = p.start, p.left()
		return c.ctx()
	}
	if c.place = place(c); c.place == nil {
		return c.untilEnd()
	}
	return rpc.WithWaker(c.ctx(), c.place)
}

// untilEnd is the context for what may take for ever: it also ends when the agent begins to end, which what
// takes its time only is let finish for.
func (c *call) untilEnd() context.Context {
	l := lotOf(c.ctx())
	if l == nil {
		return c.ctx()
	}
	ctx, cancel := context.WithCancel(c.ctx())
	stop := context.AfterFunc(l.open, cancel)
	c.release = func() {
		stop()
		cancel()
	}
	return ctx
}

// ending reports whether an error is the agent's own end.
func (c *call) ending(err error) bool {
	l := lotOf(c.ctx())
	return l != nil && l.open.Err() != nil && errors.Is(err, context.Canceled)
}

// query asks and answers with what came back: from the agent's cache where the client wants that.
func query[Req, Rep any](c *call, m rpc.Method[Req, Rep], req *Req) error {
	if c.has("cached") && c.api.cached {
		return cached(c, m, req)
	}
	answer, err := ask(c, m, req)
	if err != nil {
		return err
	}
	return c.answer(answer)
}

// cached answers from the agent's cache, under the policy of the Cache-Control header.
// Source: https://developer.hashicorp.com/consul/api-docs/features/caching
func cached[Req, Rep any](c *call, m rpc.Method[Req, Rep], req *Req) error {
	h, err := c.header()
	if err != nil {
		return err
	}
	if h.Consistency == rpc.Consistent {
		return badRequest("cached and consistent cannot both be asked for")
	}
	policy, err := watch.ParsePolicy(c.r.Header["Cache-Control"]...)
	if err != nil {
		return badRequest("%w", err)
	}
	if policy.View, err = c.view(); err != nil {
		return err
	}
	ctx := c.ctx()
	if h.MinIndex != 0 {
		ctx = c.untilEnd()
	}
	answer, state, err := watch.GetWith(ctx, c.api.Cache, policy, m, h, req)
	if err != nil {
		return err
	}
	if h.MinIndex != 0 {
		if now, err := c.view(); err != nil || now != policy.View { // while it waited
			if err != nil {
				return err
			}
			h.MinIndex = 0
			if answer, err = m.Ask(ctx, c.api.Caller, h, req); err != nil {
				return err
			}
			state = watch.State{}
		}
	}
	c.w.Header()[headerCache] = valueMiss
	if state.Hit {
		c.hit(state.Age)
	}
	return c.answer(aged(answer, state))
}

// send makes a request and gives back the typed reply.
func send[Req, Rep any](c *call, m rpc.Method[Req, Rep], req *Req) (*Rep, rpc.Meta, error) {
	answer, err := ask(c, m, req)
	if err != nil {
		return nil, rpc.Meta{}, err
	}
	return m.Typed(answer)
}

// nothing is the request of verbs that take none.
var nothing = &api.Nothing{}

// encodeJSON is how every body is encoded, without a trailing newline. Answers are kept and shared, so the
// result has no more room than it needs.
func encodeJSON(v any) ([]byte, error) {
	b := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(b)
	b.Reset()
	if err := json.NewEncoder(b).Encode(v); err != nil {
		return nil, catalog.Errorf(catalog.Internal, "encoding the answer: %w", err)
	}
	return bytes.Clone(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), nil
}

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

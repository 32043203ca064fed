package httpapi

import (
	"cmp"
	"errors"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
)

// MetricsStore is where the web interface has its metrics from, such as a Prometheus server. The agent
// passes the queries on, so that browsers need not reach it.
// Source: https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file/ui#metrics_proxy
type MetricsStore struct {
	// Base is what the paths are under; what it says of user and password is used.
	Base *url.URL
	// Paths are those that may be asked for, each in whole: below Base, or with the path of Base.
	Paths []string
	// Headers are added to each request. They stay here.
	Headers http.Header
}

const (
	metricsTimeout = 30 * time.Second // from the request to the end of the answer
	metricsLimit   = 64 << 20         // bytes of an answer
)

// newMetricsClient makes requests to the metrics store that is configured and to no other place: it uses no
// proxy of the environment, and where it is sent elsewhere it does not go.
func newMetricsClient() *http.Client {
	return &http.Client{
		Timeout:       metricsTimeout,
		Transport:     &http.Transport{DisableKeepAlives: true, ForceAttemptHTTP2: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// metricsProxy passes a query on to the metrics store. Nothing of the client's headers goes there, nor its
// token, and of the answer's headers only the type of its content comes back.
func metricsProxy(c *call) error {
	store := c.api.config.Load().Metrics
	if store == nil {
		return notFound("no metrics store is configured: set ui_config.metrics_proxy.base_url")
	}
	below := path.Clean("/" + c.r.PathValue("path"))
	target := *store.Base
	target.Path, target.RawPath, target.Fragment = path.Join("/", store.Base.Path, below), "", ""
	if !slices.Contains(store.Paths, below) && !slices.Contains(store.Paths, target.Path) {
		return withStatus(http.StatusForbidden, "path %s is not one of ui_config.metrics_proxy.path_allowlist of this agent", below)
	}
	target.RawQuery = c.storeQuery().Encode()
	req, err := http.NewRequestWithContext(c.ctx(), http.MethodGet, target.String(), nil)
	if err != nil {
		return badRequest("asking the metrics store: %w", err)
	}
	for name, values := range store.Headers {
		if strings.EqualFold(name, "Host") {
			req.Host = values[0]
		}
		req.Header[name] = values
	}
	resp, err := c.api.metrics.Do(req)
	if err != nil {
		if c.ctx().Err() != nil {
			return c.ctx().Err()
		}
		if about := (*url.Error)(nil); errors.As(err, &about) {
			err = about.Err // without the address, which may hold a password
		}
		c.log().Warn("metrics store of ui_config.metrics_proxy does not answer", "err", err)
		return withStatus(http.StatusBadGateway, "the metrics store does not answer: the log of this agent says why")
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		return withStatus(http.StatusBadGateway, "the metrics store sends elsewhere (status %d), which is not followed: correct ui_config.metrics_proxy.base_url", resp.StatusCode)
	}
	h := c.w.Header()
	h.Set("Content-Type", cmp.Or(resp.Header.Get("Content-Type"), "application/octet-stream"))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "sandbox") // it is no page of this agent
	c.w.WriteHeader(resp.StatusCode)
	n, err := io.Copy(c.w, io.LimitReader(resp.Body, metricsLimit))
	if err != nil || n == metricsLimit {
		c.log().Warn("an answer of the metrics store was not passed on whole", "bytes", n, "limit", metricsLimit, "err", err)
		panic(http.ErrAbortHandler) // it is too late for another status, and a part must not look like the whole
	}
	return nil
}

// storeQuery is the request's parameters without those that are meant for this agent alone.
func (c *call) storeQuery() url.Values {
	out := url.Values{}
	for name, values := range c.query {
		if name != "token" {
			out[name] = values
		}
	}
	return out
}

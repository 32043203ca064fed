package watch

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/curia-mesh/curia/agent/config"
	"github.com/curia-mesh/curia/catalog"
)

// defaultPostTimeout bounds a request of an HTTP handler.
const defaultPostTimeout = 10 * time.Second

// post is a handler that is an HTTP endpoint: it gets the JSON as the body and the index in X-Consul-Index.
type post struct {
	config *config.WatchHTTPHandler
	client *http.Client
}

func newPost(c *config.WatchHTTPHandler) (handler, error) {
	u, err := url.Parse(c.Path)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, catalog.Errorf(catalog.Invalid, "http_handler_config.path of a watch is no URL: want http://… or https://…")
	}
	if _, err := http.NewRequest(c.Method, c.Path, nil); err != nil {
		return nil, catalog.Errorf(catalog.Invalid, "http_handler_config.method %q of a watch is no HTTP method", c.Method)
	}
	timeout := c.Timeout
	if timeout <= 0 {
		timeout = defaultPostTimeout
	}
	transport := &http.Transport{
		Proxy:             http.ProxyFromEnvironment,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: c.TLSSkipVerify, MinVersion: tls.VersionTLS12},
		DisableKeepAlives: true, // changes are rare
	}
	return &post{config: c, client: &http.Client{
		Transport: transport, Timeout: timeout,
		// Whoever answers does not choose where the agent sends data next.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func (p *post) handle(ctx context.Context, l look) (string, error) {
	req, err := http.NewRequestWithContext(ctx, cmp.Or(p.config.Method, http.MethodPost), p.config.Path, bytes.NewReader(l.json))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	for name, values := range p.config.Header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
	}
	req.Header.Set("X-Consul-Index", strconv.FormatUint(l.index, 10))
	resp, err := p.client.Do(req)
	if err != nil {
		// The path of a webhook is often its secret.
		if bare := (*url.Error)(nil); errors.As(err, &bare) {
			err = bare.Err
		}
		return "", fmt.Errorf("%s: %w", req.URL.Host, err)
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(resp.Body, maxOutput)) // what can be read is enough for the log
	output := &tail{limit: maxOutput}
	output.Write(said)
	if resp.StatusCode >= 300 {
		return output.String(), fmt.Errorf("%s answered %s", req.URL.Host, resp.Status)
	}
	return output.String(), nil
}

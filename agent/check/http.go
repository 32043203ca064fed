package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/curia-mesh/curia/catalog"
)

// UserAgent is how checks introduce themselves, unless their headers say otherwise.
const UserAgent = "Curia Health Check"

const (
	maxRedirects   = 10
	maxHeaderBytes = 64 << 10
)

// newHTTP makes a check that requests a URL: 2xx is passing, 429 warning, everything else critical.
func newHTTP(r *Runner) (probe, error) {
	def := r.def
	target, err := url.Parse(def.HTTP)
	if err != nil {
		return nil, errors.New("http is not a URL such as http://127.0.0.1:8080/health") // the cause may hold a password
	}
	if (target.Scheme != "http" && target.Scheme != "https") || target.Hostname() == "" {
		return nil, fmt.Errorf("http %q is not a URL such as http://127.0.0.1:8080/health", target.Redacted())
	}
	method := cmp.Or(def.Method, http.MethodGet)
	if _, err := http.NewRequest(method, def.HTTP, nil); err != nil {
		return nil, fmt.Errorf("method %q is not one of HTTP, such as GET", method)
	}
	header := http.Header{"User-Agent": {UserAgent}, "Accept": {"text/plain, text/*, */*"}}
	for key, values := range def.Header {
		header[http.CanonicalHeaderKey(key)] = values
	}
	transport := &http.Transport{
		DialContext: r.deps.Dial,
		DialTLSContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			return r.dialTLS(ctx, address, "h2", "http/1.1")
		},
		DisableKeepAlives:      true,
		DisableCompression:     true,
		ForceAttemptHTTP2:      true,
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
	r.closing = append(r.closing, transport.CloseIdleConnections)
	client := &http.Client{Transport: transport, CheckRedirect: redirects(def.DisableRedirects)}
	label := "HTTP " + method + " " + target.Redacted() + ": "

	return func(ctx context.Context) (catalog.Status, string) {
		req, err := http.NewRequestWithContext(ctx, method, def.HTTP, strings.NewReader(def.Body))
		if err != nil {
			return catalog.Critical, err.Error()
		}
		req.Header = header.Clone()
		req.Host = header.Get("Host")
		resp, err := client.Do(req)
		if err != nil {
			return catalog.Critical, err.Error()
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(io.LimitReader(resp.Body, int64(r.maxOutput)))
		output := label + resp.Status + " Output: " + string(body)
		if err != nil {
			output += " (" + err.Error() + ")"
		}
		switch code := resp.StatusCode; {
		case code >= 200 && code < 300:
			return catalog.Passing, output
		case code == http.StatusTooManyRequests:
			return catalog.Warning, output
		case code >= 300 && code < 400 && resp.Header.Get("Location") != "" && !def.DisableRedirects:
			return catalog.Critical, label + resp.Status + fmt.Sprintf(": redirect not followed, for it leads elsewhere or is the %dth: a check follows redirects only within its scheme, host and port", maxRedirects+1)
		}
		return catalog.Critical, output
	}, nil
}

// redirects returns a rule that follows a redirect only to where the check asked in the first place. A
// service could otherwise make the agent send requests to whatever the agent can reach.
func redirects(disabled bool) func(*http.Request, []*http.Request) error {
	return func(req *http.Request, via []*http.Request) error {
		if disabled || len(via) > maxRedirects || origin(req.URL) != origin(via[0].URL) {
			return http.ErrUseLastResponse
		}
		return nil
	}
}

// origin is where a URL leads, without the path.
func origin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Scheme + "://" + strings.ToLower(u.Hostname()) + ":" + port
}

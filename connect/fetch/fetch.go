// Package fetch asks strangers over HTTPS, for a bounded time and no more than they should have to say.
package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

const (
	// Time bounds one request.
	Time = 10 * time.Second
	// MaxAnswer bounds an answer, in bytes.
	MaxAnswer = 1 << 20
)

// CheckURL refuses an address that is not HTTPS, with code invalid. Plain HTTP is for this machine only: whoever stands
// between could say who anybody is.
func CheckURL(setting, text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return catalog.Errorf(catalog.Invalid, "%s: %w", setting, err)
	case u.Host == "" || u.User != nil || u.Fragment != "":
		return catalog.Errorf(catalog.Invalid, "%s %q: want https://host/path", setting, text)
	case u.Scheme == "http" && Local(u.Hostname()), u.Scheme == "https":
		return nil
	}
	return catalog.Errorf(catalog.Invalid, "%s %q: want https", setting, text)
}

// Local reports whether a host is this machine.
func Local(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Pool returns the certificates of a PEM text, nil for the machine's own.
func Pool(setting, text string) (*x509.CertPool, error) {
	if text == "" {
		return nil, nil
	}
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM([]byte(text)) {
		return nil, catalog.Errorf(catalog.Invalid, "%s holds no certificate in PEM", setting)
	}
	return p, nil
}

// Client asks over fresh connections, for a bounded time, and without following anybody elsewhere. It believes in roots,
// nil for the machine's own.
func Client(roots *x509.CertPool) *http.Client {
	return &http.Client{
		Timeout:       Time,
		CheckRedirect: func(*http.Request, []*http.Request) error { return errRedirect },
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true,
			ResponseHeaderTimeout: Time, MaxResponseHeaderBytes: 64 << 10, Proxy: http.ProxyFromEnvironment,
		},
	}
}

var errRedirect = errors.New("it sends elsewhere, which is not followed: set the address that it sends to")

// Do makes a request and returns the answer, which must be of a status from 200 to 299 and have at most MaxAnswer bytes.
func Do(c *http.Client, r *http.Request) ([]byte, error) {
	resp, err := c.Do(r)
	if err != nil {
		return nil, catalog.Errorf(catalog.Unavailable, "asking %s: %w", r.URL.Host, stripped(err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, MaxAnswer+1))
	switch {
	case err != nil:
		return nil, catalog.Errorf(catalog.Unavailable, "asking %s: %w", r.URL.Host, err)
	case len(body) > MaxAnswer:
		return nil, catalog.Errorf(catalog.Unavailable, "asking %s: its answer has more than %d bytes", r.URL.Host, MaxAnswer)
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return nil, fmt.Errorf("%s answers %s", r.URL.Host, strings.TrimSpace(resp.Status))
	}
	return body, nil
}

// JSON gets a document in JSON.
func JSON(ctx context.Context, c *http.Client, address string, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	body, err := Do(c, r)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return catalog.Errorf(catalog.Unavailable, "%s answers no JSON of the right form: %w", r.URL.Host, err)
	}
	return nil
}

// stripped is the error without the address, which may hold a code.
func stripped(err error) error {
	if e := new(url.Error); errors.As(err, &e) {
		return e.Err
	}
	return err
}

package authmethod

import (
	"crypto/tls"
	"crypto/x509"
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
	// fetchTime bounds one request to somebody else.
	fetchTime = 10 * time.Second
	// maxAnswer bounds what somebody else may answer, in bytes.
	maxAnswer = 1 << 20
)

// checkURL refuses an address that is not HTTPS. Plain HTTP is for this machine only: whoever stands between could say
// who anybody is.
func checkURL(setting, text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return catalog.Errorf(catalog.Invalid, "%s: %w", setting, err)
	case u.Host == "" || u.User != nil || u.Fragment != "":
		return catalog.Errorf(catalog.Invalid, "%s %q: want https://host/path", setting, text)
	case u.Scheme == "http" && local(u.Hostname()), u.Scheme == "https":
		return nil
	}
	return catalog.Errorf(catalog.Invalid, "%s %q: want https", setting, text)
}

func local(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// pool returns the certificates of a PEM text, nil for the machine's own.
func pool(setting, text string) (*x509.CertPool, error) {
	if text == "" {
		return nil, nil
	}
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM([]byte(text)) {
		return nil, catalog.Errorf(catalog.Invalid, "%s holds no certificate in PEM", setting)
	}
	return p, nil
}

// client asks others: over fresh connections, for a bounded time, and without following them elsewhere.
func client(roots *x509.CertPool) *http.Client {
	return &http.Client{
		Timeout:       fetchTime,
		CheckRedirect: func(*http.Request, []*http.Request) error { return errRedirect },
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true,
			ResponseHeaderTimeout: fetchTime, MaxResponseHeaderBytes: 64 << 10, Proxy: http.ProxyFromEnvironment,
		},
	}
}

var errRedirect = errors.New("it sends elsewhere, which is not followed: set the address that it sends to")

// fetch makes a request and returns the answer, which must be of a status from 200 to 299 and have at most maxAnswer
// bytes.
func fetch(c *http.Client, r *http.Request) ([]byte, error) {
	resp, err := c.Do(r)
	if err != nil {
		return nil, catalog.Errorf(catalog.Unavailable, "asking %s: %w", r.URL.Host, stripped(err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, catalog.Errorf(catalog.Unavailable, "asking %s: %w", r.URL.Host, err)
	case len(body) > maxAnswer:
		return nil, catalog.Errorf(catalog.Unavailable, "asking %s: its answer has more than %d bytes", r.URL.Host, maxAnswer)
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return nil, fmt.Errorf("%s answers %s", r.URL.Host, strings.TrimSpace(resp.Status))
	}
	return body, nil
}

// stripped is the error without the address, which may hold a code.
func stripped(err error) error {
	if e := new(url.Error); errors.As(err, &e) {
		return e.Err
	}
	return err
}

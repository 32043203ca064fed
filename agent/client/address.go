package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Limits of files and of connecting.
const (
	maxPEMFile       = 4 << 20
	maxTokenFile     = 64 << 10
	dialTimeout      = 10 * time.Second
	handshakeTimeout = 10 * time.Second
	maxIdleConns     = 16
)

// parseAddress splits an address into the URL that requests start with and, for unix sockets, the path
// to dial.
func parseAddress(address string, https bool) (base *url.URL, socket string, err error) {
	if address == "" {
		address = DefaultAddress
	}
	if path, ok := strings.CutPrefix(address, "unix://"); ok {
		if path == "" {
			return nil, "", fmt.Errorf("agent address %q names no socket: want unix:///path/to/socket", address)
		}
		return &url.URL{Scheme: "http", Host: "localhost"}, path, nil
	}
	if !strings.Contains(address, "://") {
		scheme := "http"
		if https {
			scheme = "https"
		}
		address = scheme + "://" + address
	}
	base, err = url.Parse(address)
	switch {
	case err != nil:
		return nil, "", fmt.Errorf("agent address is malformed: want host:port, http://host:port, https://host:port or unix:///path")
	case base.Scheme != "http" && base.Scheme != "https":
		return nil, "", fmt.Errorf("agent address has the scheme %q: want http, https or unix", base.Scheme)
	case base.User != nil:
		return nil, "", fmt.Errorf("agent address holds a user name: set CURIA_HTTP_AUTH=user:password instead")
	case strings.Trim(base.Host, ":") == "":
		return nil, "", fmt.Errorf("agent address %q names no host: want host:port", address)
	case base.RawQuery != "" || base.Fragment != "":
		return nil, "", fmt.Errorf("agent address %q has a query: want only host, port and path", address)
	}
	base.Path = strings.TrimRight(base.Path, "/")
	base.RawPath = ""
	return base, "", nil
}

// transport makes the connections to one agent.
func transport(socket string, t TLS) (*http.Transport, error) {
	secure, err := t.config()
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	tr := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, TLSClientConfig: secure,
		TLSHandshakeTimeout: handshakeTimeout, MaxIdleConns: maxIdleConns, MaxIdleConnsPerHost: maxIdleConns,
		IdleConnTimeout: 90 * time.Second, MaxResponseHeaderBytes: 64 << 10, ForceAttemptHTTP2: true,
	}
	if socket != "" {
		tr.Proxy = nil
		tr.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		}
	}
	return tr, nil
}

func (t TLS) config() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName, InsecureSkipVerify: t.SkipVerify}
	if t.CAFile != "" || t.CAPath != "" {
		cfg.RootCAs = x509.NewCertPool()
	}
	if t.CAFile != "" {
		if err := addCA(cfg.RootCAs, t.CAFile); err != nil {
			return nil, err
		}
	}
	if t.CAPath != "" {
		entries, err := os.ReadDir(t.CAPath)
		if err != nil {
			return nil, fmt.Errorf("CA path: %w", err)
		}
		for _, e := range entries {
			if e.IsDir() {
				continue
			}
			if err := addCA(cfg.RootCAs, filepath.Join(t.CAPath, e.Name())); err != nil {
				return nil, err
			}
		}
	}
	switch {
	case t.CertFile != "" && t.KeyFile != "":
		cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("client certificate %s with key %s: %w", t.CertFile, t.KeyFile, err)
		}
		cfg.Certificates = []tls.Certificate{cert}
	case t.CertFile != "":
		return nil, fmt.Errorf("client certificate %s needs its key: set the client key too", t.CertFile)
	case t.KeyFile != "":
		return nil, fmt.Errorf("client key %s needs its certificate: set the client certificate too", t.KeyFile)
	}
	return cfg, nil
}

func addCA(pool *x509.CertPool, path string) error {
	pem, err := readFile(path, maxPEMFile)
	if err != nil {
		return fmt.Errorf("CA file: %w", err)
	}
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("CA file %s holds no PEM certificate", path)
	}
	return nil
}

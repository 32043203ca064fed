//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// open starts a way and waits until it passes requests on; nil where a program is missing or the way is not for such
// traffic.
func (m *mesh) open(ctx context.Context, row traffic, name string) (w *way, err error) {
	w = &way{name: name, at: m.appAt}
	switch {
	case name == "direct":
	case name == "Curia":
		err = m.own(w, row.tcp, false)
	case name == "HAProxy, TCP" != row.tcp:
		return nil, nil
	case strings.HasPrefix(name, "HAProxy") && m.haproxy != "":
		err = m.haproxyPair(w, name)
	case name == "nginx":
		err = m.nginxPair(w)
	case row.goals[name] == 0: // not that the slow ones take as long as all others
		return nil, nil
	case name == "ReverseProxy":
		err = m.own(w, false, true)
	case name == "Caddy" && m.caddy != "":
		err = m.caddyPair(w)
	default:
		return nil, nil
	}
	if err == nil {
		err = w.await(ctx)
	}
	if err != nil {
		w.stop()
		return nil, err
	}
	return w, nil
}

// add makes a process that was started one of the hops.
func (w *way) add(p *process, err error) error {
	if err == nil {
		w.hops = append(w.hops, p)
	}
	return err
}

func (w *way) stop() {
	for _, p := range w.hops {
		p.stop()
	}
}

// ends are two free addresses: of A, and of B.
func (w *way) ends() (b netip.AddrPort, err error) {
	ports, err := freePorts(2)
	if err != nil {
		return b, err
	}
	w.at = netip.AddrPortFrom(loopback, ports[0])
	return netip.AddrPortFrom(loopback, ports[1]), nil
}

// own starts this program as both hops, with the proxy or with the standard library's.
func (m *mesh) own(w *way, tcp, reverse bool) error {
	b, err := w.ends()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, c := range []struct {
		name string
		hopConfig
	}{
		{"api", hopConfig{Listen: b.String(), To: m.appAt.String(), SecureIn: true}},
		{"web", hopConfig{Listen: w.at.String(), To: b.String(), SecureOut: "api"}},
	} {
		c.TCP, c.Reverse, c.Domain, c.Root, c.Cert, c.Key = tcp, reverse, meshDomain, m.root, m.leaves[c.name][0], m.leaves[c.name][1]
		text, err := json.Marshal(c.hopConfig)
		if err != nil {
			return err
		}
		file := filepath.Join(m.dir, "hop-"+c.name+".json")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			return err
		}
		if err := w.add(spawn(m.dir, "hop-"+c.name, self, "hop", file)); err != nil {
			return err
		}
	}
	return nil
}

// haproxyPair starts HAProxy as both hops. It speaks TLS with as few names as ours: neither checks host names.
func (m *mesh) haproxyPair(w *way, name string) error {
	b, err := w.ends()
	if err != nil {
		return err
	}
	mode, bind, server := "http", "", ""
	switch name {
	case "HAProxy, TCP":
		mode = "tcp"
	case "HAProxy, HTTP/2":
		bind, server = " alpn h2", " alpn h2"
	}
	file := func(name string) string { return filepath.Join(m.dir, name) }
	for _, c := range []struct{ name, bind, server string }{
		{"haproxy-api", fmt.Sprintf("%s ssl crt %s ca-file %s verify required ssl-min-ver TLSv1.3%s", b, file("api.pem"), file("ca.pem"), bind), m.appAt.String()},
		{"haproxy-web", w.at.String(), fmt.Sprintf("%s ssl crt %s ca-file %s verify required verifyhost api ssl-min-ver TLSv1.3%s", b, file("web.pem"), file("ca.pem"), server)},
	} {
		var t strings.Builder
		fmt.Fprintf(&t, "global\n  maxconn 8192\ndefaults\n  mode %s\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n", mode)
		if mode == "http" {
			t.WriteString("  http-reuse always\n")
		}
		fmt.Fprintf(&t, "frontend f\n  bind %s\n  default_backend b\nbackend b\n  server s %s\n", c.bind, c.server)
		if err := os.WriteFile(file(c.name+".cfg"), []byte(t.String()), 0o600); err != nil {
			return err
		}
		if err := w.add(spawn(m.dir, c.name, m.haproxy, "-db", "-f", file(c.name+".cfg"))); err != nil {
			return err
		}
	}
	return nil
}

// nginxPair starts nginx as both hops.
func (m *mesh) nginxPair(w *way) error {
	b, err := w.ends()
	if err != nil {
		return err
	}
	file := func(name string) string { return filepath.Join(m.dir, name) }
	const keep = "proxy_http_version 1.1; proxy_set_header Connection \"\"; "
	for _, c := range []struct{ name, text string }{
		{"nginx-api", fmt.Sprintf("upstream u { server %s; keepalive 256; keepalive_requests 1000000000; } server { listen %s ssl; ssl_protocols TLSv1.3; ssl_certificate %s; ssl_certificate_key %s; ssl_client_certificate %s; ssl_verify_client on; location / { %sproxy_pass http://u; } }",
			m.appAt, b, file("api.pem"), file("api.pem"), file("ca.pem"), keep)},
		{"nginx-web", fmt.Sprintf("upstream u { server %s; keepalive 256; keepalive_requests 1000000000; } server { listen %s; location / { %sproxy_ssl_protocols TLSv1.3; proxy_ssl_certificate %s; proxy_ssl_certificate_key %s; proxy_ssl_trusted_certificate %s; proxy_ssl_verify on; proxy_ssl_name api; proxy_pass https://u; } }",
			b, w.at, keep, file("web.pem"), file("web.pem"), file("ca.pem"))},
	} {
		if err := w.add(m.nginxProcess(c.name, c.text)); err != nil {
			return err
		}
	}
	return nil
}

// caddyPair starts Caddy as both hops.
func (m *mesh) caddyPair(w *way) error {
	b, err := w.ends()
	if err != nil {
		return err
	}
	file := func(name string) string { return filepath.Join(m.dir, name) }
	// Whoever shows a certificate may ask for any host: neither checks host names here.
	const global = "{\n admin off\n auto_https off\n log {\n  level ERROR\n }\n servers {\n  strict_sni_host insecure_off\n }\n}\n"
	for _, c := range []struct{ name, text string }{
		{"caddy-api", fmt.Sprintf("https://:%d {\n bind %s\n tls %s %s {\n  protocols tls1.3\n  client_auth {\n   mode require_and_verify\n   trusted_ca_cert_file %s\n  }\n }\n reverse_proxy %s {\n  transport http {\n   keepalive_idle_conns_per_host 256\n  }\n }\n}\n",
			b.Port(), b.Addr(), file("api.pem"), file("api.pem"), file("ca.pem"), m.appAt)},
		{"caddy-web", fmt.Sprintf("http://:%d {\n bind %s\n reverse_proxy https://%s {\n  transport http {\n   keepalive_idle_conns_per_host 256\n   tls_client_auth %s %s\n   tls_trusted_ca_certs %s\n   tls_server_name api\n  }\n }\n}\n",
			w.at.Port(), w.at.Addr(), b, file("web.pem"), file("web.pem"), file("ca.pem"))},
	} {
		if err := os.WriteFile(file(c.name+".caddyfile"), []byte(global+c.text), 0o600); err != nil {
			return err
		}
		if err := w.add(spawn(m.dir, c.name, "/usr/bin/env", "XDG_CONFIG_HOME="+m.dir, "XDG_DATA_HOME="+m.dir, m.caddy, "run", "--adapter", "caddyfile", "--config", file(c.name+".caddyfile"))); err != nil {
			return err
		}
	}
	return nil
}

// nginxProcess starts nginx as one process, so that what it costs can be read.
func (m *mesh) nginxProcess(name, text string) (*process, error) {
	dir := filepath.Join(m.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	conf := "daemon off; master_process off; pid " + dir + "/pid; error_log stderr error; events { worker_connections 16384; } http { access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; " +
		"client_body_temp_path " + dir + "/b; proxy_temp_path " + dir + "/p; fastcgi_temp_path " + dir + "/f; uwsgi_temp_path " + dir + "/u; scgi_temp_path " + dir + "/s; " + text + " }"
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	return spawn(m.dir, name, m.nginx, "-p", dir, "-c", file)
}

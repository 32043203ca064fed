//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	spiffe "github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/scripts/report"
)

// The mesh is measured as client → A → mTLS → B → application, all on this machine, so the rate is what all of them
// leave one another. What A and B cost is told in units of what the application costs in the same run, which is the
// same work in all of them: this cancels how slow the machine happens to be.

const meshDomain = "11111111-2222-3333-4444-555555555555.consul"

// way is a pair of hops in use.
type way struct {
	name string
	at   netip.AddrPort
	hops []*process
}

// traffic is a row of the table of the mesh.
type traffic struct {
	name  string
	path  string
	conns int
	tcp   bool
	goals map[string]float64 // by peer: how many times less than it A and B should cost
}

func traffics() []traffic {
	h1 := map[string]float64{"HAProxy, HTTP/1": 1.4, "HAProxy, HTTP/2": 1, "nginx": 1.4}
	return []traffic{
		{"HTTP/1.1, 1 KiB, 50 connections", "/1k", 50, false, h1},
		{"HTTP/1.1, 1 KiB, 200 connections", "/1k", 200, false, h1},
		{"HTTP/1.1, 64 KiB, 50 connections", "/64k", 50, false, map[string]float64{"HAProxy, HTTP/1": 0.95}},
		{"TCP, 1 KiB, 50 connections", "/1k", 50, true, map[string]float64{"HAProxy, TCP": 0.95}},
	}
}

// meshFigure is what one run showed.
type meshFigure struct {
	rate     float64
	p50, p99 time.Duration
	hops     time.Duration // CPU of both, for each request
	app      time.Duration
	failures int
	reason   string
}

// units is what the hops cost in what the application costs.
func (f meshFigure) units() float64 { return float64(f.hops) / float64(max(f.app, 1)) }

func (f meshFigure) String() string {
	if f.rate == 0 {
		return "-"
	}
	s := fmt.Sprintf("%.2f (%.0f/s; %s/%s ms; %s µs)", f.units(), f.rate, report.Short(micros(f.p50)/1e3), report.Short(micros(f.p99)/1e3), report.Short(micros(f.hops)))
	if f.failures > 0 {
		s += fmt.Sprintf(" %d failed (%s)", f.failures, f.reason)
	}
	return s
}

// benchMesh measures all rows over all ways.
func benchMesh(ctx context.Context, r report.Report, o options) error {
	if o.nginx == "" {
		return fmt.Errorf("nginx is missing: it is the application")
	}
	r.Line("- peers: %s; %s; both with TLS of OpenSSL as packaged", peerVersion(ctx, "HAProxy", o.haproxy, "-v"), peerVersion(ctx, "nginx", o.nginx, "-v"))
	m, err := newMesh(o)
	if err != nil {
		return err
	}
	defer m.stop()
	names := []string{"Curia", "HAProxy, HTTP/1", "HAProxy, HTTP/2", "HAProxy, TCP", "nginx"}
	var table [][]string
	for _, row := range traffics() {
		if !o.wanted(row.name) {
			continue
		}
		got := map[string]meshFigure{}
		for run := range o.runs {
			for _, name := range append([]string{"direct"}, names...) {
				f, err := m.measure(ctx, row, name)
				if err != nil {
					return fmt.Errorf("%s over %s: %w", row.name, name, err)
				}
				if f.rate == 0 {
					continue
				}
				progress("%s, %s, run %d: %s", row.name, name, run+1, f)
				if old, ok := got[name]; !ok || name != "direct" && f.units() < old.units() || name == "direct" && f.rate > old.rate {
					got[name] = f // the least disturbed
				}
			}
		}
		line := []string{row.name, fmt.Sprintf("%.0f/s", got["direct"].rate)}
		var met []string
		for _, name := range names {
			line = append(line, got[name].String())
			if want := row.goals[name]; want > 0 && got[name].rate > 0 && got["Curia"].rate > 0 {
				have := got[name].units() / got["Curia"].units()
				met = append(met, fmt.Sprintf("%s: %.2f× of %.2f×", name, have, want))
			}
		}
		table = append(table, append(line, strings.Join(met, "; ")))
	}
	r.Heading("Two hops with mTLS between them")
	r.Line("CPU of both hops for each request, in units of the application's (requests/s; p50/p99; µs of both hops)\n")
	r.Table(append(append([]string{"traffic", "direct"}, names...), "times less, of goal"), table)
	return nil
}

// mesh is what all ways share.
type mesh struct {
	options
	app    *process
	appAt  netip.AddrPort
	root   string
	leaves map[string][2]string
	ways   map[string]*way
}

func newMesh(o options) (*mesh, error) {
	m := &mesh{options: o, leaves: map[string][2]string{}, ways: map[string]*way{}}
	if err := m.certificates(); err != nil {
		return nil, err
	}
	ports, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	m.appAt = netip.AddrPortFrom(loopback, ports[0])
	for name, size := range map[string]int{"1k": 1 << 10, "64k": 64 << 10} {
		if err := os.WriteFile(filepath.Join(o.dir, name), bytes.Repeat([]byte("x"), size), 0o644); err != nil {
			return nil, err
		}
	}
	m.app, err = m.nginxProcess("app", fmt.Sprintf("server { listen %s; root %s; location = /1k { return 200 %q; } }", m.appAt, o.dir, strings.Repeat("x", 1<<10)))
	return m, err
}

func (m *mesh) stop() {
	for _, w := range m.ways {
		for _, p := range w.hops {
			p.stop()
		}
	}
	m.app.stop()
}

// certificates makes a root and leaves for both services, in files for the peers too.
func (m *mesh) certificates() error {
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, root, root, rootKey.Public(), rootKey)
	if err != nil {
		return err
	}
	m.root = spiffe.EncodeCertificate(der)
	if err := os.WriteFile(filepath.Join(m.dir, "ca.pem"), []byte(m.root), 0o600); err != nil {
		return err
	}
	for i, name := range []string{"web", "api"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		leaf := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 2)), Subject: pkix.Name{CommonName: name}, NotBefore: root.NotBefore, NotAfter: root.NotAfter,
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
			URIs: []*url.URL{spiffe.Service(meshDomain, "dc1", name).URL()}, DNSNames: []string{name},
		}
		der, err := x509.CreateCertificate(rand.Reader, leaf, root, key.Public(), rootKey)
		if err != nil {
			return err
		}
		secret, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return err
		}
		cert, private := spiffe.EncodeCertificate(der), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
		m.leaves[name] = [2]string{cert, private}
		if err := os.WriteFile(filepath.Join(m.dir, name+".pem"), []byte(cert+private), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// measure measures a row over a way, which is started for it and stopped after it; nothing where a program is missing
// or the way is not for such traffic.
func (m *mesh) measure(ctx context.Context, row traffic, name string) (meshFigure, error) {
	w := &way{name: name, at: m.appAt}
	var err error
	switch {
	case name == "direct":
	case name == "Curia":
		err = m.curia(w, row.tcp)
	case name == "nginx" && !row.tcp:
		err = m.nginxPair(w)
	case m.haproxy != "" && (name == "HAProxy, TCP") == row.tcp && name != "nginx":
		err = m.haproxyPair(w, name)
	default:
		return meshFigure{}, nil
	}
	defer func() {
		for _, p := range w.hops {
			p.stop()
		}
	}()
	if err != nil {
		return meshFigure{}, err
	}
	if err := w.await(ctx); err != nil {
		return meshFigure{}, err
	}
	e, err := dial("tcp", w.at, row.conns, func(int) wire { return newHTTP1("GET", row.path, "") })
	if err != nil {
		return meshFigure{}, err
	}
	defer e.close()
	if _, _, err := loop(ctx, e, m.warm, mostRequests, new(histogram)); err != nil {
		return meshFigure{}, err
	}
	failed, app, hops, h := e.failures(), m.app.cpu(), w.cpu(), new(histogram)
	n, took, err := loop(ctx, e, m.length, mostRequests, h)
	if err != nil {
		return meshFigure{}, err
	}
	count := time.Duration(max(n, 1))
	return meshFigure{
		rate: float64(n) / took.Seconds(), p50: h.quantile(0.5), p99: h.quantile(0.99), failures: e.failures() - failed, reason: e.reason(),
		hops: (w.cpu() - hops) / count, app: (m.app.cpu() - app) / count,
	}, nil
}

func (w *way) cpu() (sum time.Duration) {
	for _, p := range w.hops {
		sum += p.cpu()
	}
	return sum
}

// await waits until a request passes all of the way.
func (w *way) await(ctx context.Context) error {
	var last error
	for range 250 {
		e, err := dial("tcp", w.at, 1, func(int) wire { return newHTTP1("GET", "/1k", "") })
		if err == nil {
			var n int
			n, _, err = loop(ctx, e, time.Millisecond, 1, new(histogram))
			failed := e.failures()
			e.close()
			if err == nil && n > 0 && failed == 0 {
				return nil
			}
		}
		last = err
		for _, p := range w.hops {
			if gone := p.gone(); gone != nil {
				return gone
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s passes nothing on: %v", w.name, last)
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

// curia starts this program as both hops.
func (m *mesh) curia(w *way, tcp bool) error {
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
		c.TCP, c.Domain, c.Root, c.Cert, c.Key = tcp, meshDomain, m.root, m.leaves[c.name][0], m.leaves[c.name][1]
		text, err := json.Marshal(c.hopConfig)
		if err != nil {
			return err
		}
		file := filepath.Join(m.dir, "hop-"+c.name+".json")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			return err
		}
		p, err := spawn(m.dir, "hop-"+c.name, self, "hop", file)
		if err != nil {
			return err
		}
		w.hops = append(w.hops, p)
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
		fmt.Fprintf(&t, "global\n  maxconn 4096\ndefaults\n  mode %s\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n", mode)
		if mode == "http" {
			t.WriteString("  http-reuse always\n")
		}
		fmt.Fprintf(&t, "frontend f\n  bind %s\n  default_backend b\nbackend b\n  server s %s\n", c.bind, c.server)
		if err := os.WriteFile(file(c.name+".cfg"), []byte(t.String()), 0o600); err != nil {
			return err
		}
		p, err := spawn(m.dir, c.name, m.haproxy, "-db", "-f", file(c.name+".cfg"))
		if err != nil {
			return err
		}
		w.hops = append(w.hops, p)
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
		p, err := m.nginxProcess(c.name, c.text)
		if err != nil {
			return err
		}
		w.hops = append(w.hops, p)
	}
	return nil
}

// nginxProcess starts nginx as one process, so that what it costs can be read.
func (m *mesh) nginxProcess(name, text string) (*process, error) {
	dir := filepath.Join(m.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	conf := "daemon off; master_process off; pid " + dir + "/pid; error_log stderr error; events { worker_connections 4096; } http { access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; " +
		"client_body_temp_path " + dir + "/b; proxy_temp_path " + dir + "/p; fastcgi_temp_path " + dir + "/f; uwsgi_temp_path " + dir + "/u; scgi_temp_path " + dir + "/s; " + text + " }"
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	return spawn(m.dir, name, m.nginx, "-p", dir, "-c", file)
}

package proxy_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/connect/proxy"
)

// A15 to A18: whoever cannot prove to be who is wanted is talked to by neither side.
func TestWrongIdentities(t *testing.T) {
	app := answering(t, echo)
	other := newAuthority(t)
	foreign := connect.Service("99999999-2222-3333-4444-555555555555.consul", "dc1", "api")
	for what, change := range map[string]func(p *pair, own connect.ID) *tls.Certificate{
		"expired": func(p *pair, own connect.ID) *tls.Certificate {
			return p.ca.leaf(t, own, func(c *x509.Certificate) {
				c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
			})
		},
		"not yet valid": func(p *pair, own connect.ID) *tls.Certificate {
			return p.ca.leaf(t, own, func(c *x509.Certificate) {
				c.NotBefore, c.NotAfter = time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
			})
		},
		"of another authority": func(_ *pair, own connect.ID) *tls.Certificate { return other.leaf(t, own, nil) },
		"of another trust domain": func(p *pair, _ connect.ID) *tls.Certificate {
			return p.ca.leaf(t, foreign, nil)
		},
		"of an agent": func(p *pair, _ connect.ID) *tls.Certificate {
			return p.ca.leaf(t, connect.ID{Kind: connect.KindAgent, TrustDomain: domain, Datacenter: "dc1", Name: "api"}, nil)
		},
		"with two names": func(p *pair, own connect.ID) *tls.Certificate {
			return p.ca.leaf(t, own, func(c *x509.Certificate) { c.URIs = append(c.URIs, service("db").URL()) })
		},
		"without a name": func(p *pair, own connect.ID) *tls.Certificate {
			return p.ca.leaf(t, own, func(c *x509.Certificate) { c.URIs = []*url.URL{}; c.DNSNames = []string{"api"} })
		},
		"for the other role": func(p *pair, own connect.ID) *tls.Certificate {
			return p.ca.leaf(t, own, func(c *x509.Certificate) {
				c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
				if own == service("web") {
					c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
				}
			})
		},
		"of an authority itself": func(p *pair, own connect.ID) *tls.Certificate {
			return p.ca.leaf(t, own, func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true })
		},
	} {
		for _, side := range []string{"api", "web"} {
			p := mesh(t, proxy.HTTP, app.addr, func(p *pair) {
				leaf := change(p, service(side))
				if side == "api" {
					p.incoming.Certs.(*certs).leaf = leaf
					return
				}
				p.leaf = leaf
			})
			if r, body := ask(t, p.addr, get); r.StatusCode < 500 {
				t.Errorf("certificate of %s %s: %s, %q", side, what, r.Status, body)
			}
		}
	}
	if seen := app.seen(); seen != "" {
		t.Errorf("the application was sent %q", seen)
	}
	p := mesh(t, proxy.HTTP, app.addr, func(p *pair) { p.incoming.Certs = p.ca.certs(t, "db") }) // A18: right in all but its name
	if r, _ := ask(t, p.addr, get); r.StatusCode != 503 {
		t.Errorf("db in place of api: %s", r.Status)
	}
}

// What is no TLS is no connection to a port that speaks it, and TLS none to a port that does not.
func TestPlainAndTLS(t *testing.T) {
	app := answering(t, echo)
	p := mesh(t, proxy.HTTP, app.addr, nil)
	if said := say(t, p.in.Addr("public").String(), get); strings.Contains(said, "HTTP/1.1") {
		t.Errorf("without TLS: %q", said)
	}
	if _, err := tls.Dial("tcp", p.addr, &tls.Config{InsecureSkipVerify: true}); err == nil {
		t.Error("TLS to a port without")
	}
	old := &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*p.ca.leaf(t, service("web"), nil)}}
	if _, err := tls.Dial("tcp", p.in.Addr("public").String(), old); err == nil {
		t.Error("TLS 1.2 is spoken")
	}
}

// Trap 25: a session that is gone on with is checked as a new one is: who is not believed any more is refused. Trap 24:
// it is not gone on with at all where certificates have changed.
func TestResumption(t *testing.T) {
	app := answering(t, echo)
	p := mesh(t, proxy.HTTP, app.addr, nil)
	config := &tls.Config{
		InsecureSkipVerify: true, ServerName: "api", ClientSessionCache: tls.NewLRUClientSessionCache(1),
		Certificates: []tls.Certificate{*p.ca.leaf(t, service("web"), nil)},
	}
	try := func() (resumed, answered bool) {
		c, err := tls.Dial("tcp", p.in.Addr("public").String(), config)
		if err != nil {
			return false, false
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(c, get)
		said, _ := io.ReadAll(c)
		return c.ConnectionState().DidResume, strings.HasPrefix(string(said), "HTTP/1.1 200 ")
	}
	if resumed, answered := try(); resumed || !answered {
		t.Fatal(resumed, answered)
	}
	if resumed, answered := try(); !resumed || !answered {
		t.Fatalf("the session is not gone on with: %v, %v", resumed, answered)
	}
	own := p.incoming.Certs.(*certs)
	own.change(func(*certs) {})
	if resumed, answered := try(); resumed || !answered {
		t.Errorf("after a change: resumed %v, answered %v", resumed, answered)
	}
	own.mu.Lock() // behind the back of everything that looks at the generation
	own.trust = trustOf(newAuthority(t))
	own.mu.Unlock()
	if _, answered := try(); answered {
		t.Error("a session is gone on with whose authority is not believed any more")
	}
}

// load asks from several places at once until stop, which returns how often, and how often in vain. more returns when it
// has asked a few times more.
func load(t testing.TB, addr string) (more func(), stop func() (int64, int64)) {
	t.Helper()
	var asked, failed atomic.Int64
	var all sync.WaitGroup
	end := make(chan struct{})
	for range 4 {
		all.Add(1)
		go func() { // ends with stop
			defer all.Done()
			var c net.Conn
			var in *bufio.Reader
			for {
				select {
				case <-end:
					if c != nil {
						c.Close()
					}
					return
				default:
				}
				if c == nil {
					var err error
					if c, err = net.Dial("tcp", addr); err != nil {
						failed.Add(1)
						continue
					}
					c.SetDeadline(time.Now().Add(30 * time.Second))
					in = bufio.NewReader(c)
				}
				asked.Add(1)
				io.WriteString(c, "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
				r, err := http.ReadResponse(in, nil)
				if err == nil {
					_, err = io.Copy(io.Discard, r.Body)
				}
				if err != nil || r.StatusCode != 200 {
					failed.Add(1)
				}
				if err != nil || r.Close {
					c.Close()
					c = nil
				}
			}
		}()
	}
	more = func() {
		t.Helper()
		want := asked.Load() + 5
		for begun := time.Now(); asked.Load() < want; runtime.Gosched() {
			if time.Since(begun) > 20*time.Second {
				t.Fatal("no request is answered any more")
			}
		}
	}
	return more, func() (int64, int64) {
		close(end)
		all.Wait()
		return asked.Load(), failed.Load()
	}
}

// Trap 24: certificates and authorities change under load, and no request fails.
func TestRotation(t *testing.T) {
	app := answering(t, echo)
	p := mesh(t, proxy.HTTP, app.addr, nil)
	next := newAuthority(t)
	both := trustOf(p.ca, next)
	server := p.incoming.Certs.(*certs)
	client := p.api.Certs.(*certs)
	server.change(func(c *certs) { c.trust = both })
	client.change(func(c *certs) { c.trust = both })
	more, stop := load(t, p.addr)
	for i := range 30 {
		more()
		ca := []*authority{p.ca, next}[i%2]
		server.change(func(c *certs) { c.leaf = ca.leaf(t, service("api"), nil) })
		client.change(func(c *certs) { c.leaf = ca.leaf(t, service("web"), nil) })
	}
	if asked, failed := stop(); failed > 0 || asked < 10 {
		t.Errorf("%d of %d requests failed", failed, asked)
	}
}

// Trap 22: configurations change under load, with listeners that come and go, and no request fails.
func TestUpdates(t *testing.T) {
	app := answering(t, echo)
	p := mesh(t, proxy.HTTP, app.addr, nil)
	path := filepath.Join(t.TempDir(), "more")
	more, stop := load(t, p.addr)
	for i := range 50 {
		more()
		own := *p.outgoing
		own.Routes = proxy.Direct(p.target(t))
		all := []*proxy.Listener{&own}
		if i%2 == 0 {
			all = append(all, &proxy.Listener{Name: "more", Network: "unix", Address: path, Routes: own.Routes})
		}
		if err := p.out.Update(&proxy.Snapshot{Listeners: all}); err != nil {
			t.Fatal(err)
		}
	}
	if asked, failed := stop(); failed > 0 || asked < 10 {
		t.Errorf("%d of %d requests failed", failed, asked)
	}
}

// What cannot be carried out changes nothing.
func TestUpdateRefused(t *testing.T) {
	app := answering(t, echo)
	p := mesh(t, proxy.HTTP, app.addr, nil)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	other := &proxy.Listener{Name: "other", Network: "tcp", Address: taken.Addr().String(), Routes: p.outgoing.Routes}
	for what, s := range map[string][]*proxy.Listener{
		"an address in use":      {other},
		"one address for two":    {p.outgoing, p.outgoing},
		"no routes":              {{Name: "x", Network: "tcp", Address: "127.0.0.1:0"}},
		"another network":        {{Name: "x", Network: "udp", Address: "127.0.0.1:0", Routes: p.outgoing.Routes}},
		"a policy about anybody": {{Name: "x", Network: "tcp", Address: "127.0.0.1:0", Routes: p.outgoing.Routes, Policy: policy(t, true)}},
	} {
		if err := p.out.Update(&proxy.Snapshot{Listeners: s}); err == nil {
			t.Errorf("%s: taken", what)
		}
		if r, _ := ask(t, p.addr, get); r.StatusCode != 200 {
			t.Errorf("%s: afterwards %s", what, r.Status)
		}
	}
}

package proxy_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/url"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/connect/proxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const domain = "11111111-2222-3333-4444-555555555555.consul"

// authority signs certificates, also such as no authority should.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{key, cert}
}

var serial atomic.Int64

// leaf signs a certificate for an identity, as change wants it.
func (a *authority) leaf(t testing.TB, id connect.ID, change func(*x509.Certificate)) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial.Add(1) + 1), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		URIs: []*url.URL{id.URL()},
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// certs is what a service shows and believes, and can be changed.
type certs struct {
	mu         sync.Mutex
	leaf       *tls.Certificate
	trust      *connect.Trust
	generation uint64
}

func (c *certs) Certificate() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leaf, nil
}

func (c *certs) Trust() (*connect.Trust, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.trust, nil
}

func (c *certs) Generation() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.generation
}

func (c *certs) change(do func(c *certs)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	do(c)
	c.generation++
}

func trustOf(all ...*authority) *connect.Trust {
	t := &connect.Trust{Domain: domain, Roots: x509.NewCertPool()}
	for _, a := range all {
		t.Roots.AddCert(a.cert)
	}
	return t
}

func service(name string) connect.ID { return connect.Service(domain, "dc1", name) }

func (a *authority) certs(t testing.TB, name string) *certs {
	return &certs{leaf: a.leaf(t, service(name), nil), trust: trustOf(a), generation: 1}
}

func target(name string, addrs ...string) *proxy.Target {
	t := &proxy.Target{Name: name, Patience: -1}
	for _, a := range addrs {
		t.Endpoints = append(t.Endpoints, proxy.Endpoint{Network: "tcp", Address: a})
	}
	return t
}

// run runs a proxy until the test ends.
func run(t testing.TB, s *proxy.Snapshot, o proxy.Options) *proxy.Proxy {
	t.Helper()
	if o.DrainTime == 0 {
		o.DrainTime = time.Second
	}
	p := proxy.New(o)
	if err := p.Update(s); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }() // ends with the test
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return p
}

// busy is how many requests and connections endpoints are counted to have, and targets.
func busy(p *proxy.Proxy) (n int) {
	for _, c := range p.Clusters() {
		n += c.Requests + c.Connections + c.Pending
		for _, e := range c.Endpoints {
			n += int(e.Active)
		}
	}
	return n
}

// settle returns when nothing is busy any more: the caller has its response a moment before that is noted.
func settle(t testing.TB, p *proxy.Proxy) {
	t.Helper()
	until(t, p, func() bool { return busy(p) == 0 })
}

// until returns when the counts of a proxy are as they are to be, which nothing tells.
func until(t testing.TB, p *proxy.Proxy, are func() bool) {
	t.Helper()
	for begun := time.Now(); !are(); runtime.Gosched() {
		if time.Since(begun) > 20*time.Second {
			t.Fatalf("still: %+v", p.Clusters())
		}
	}
}

// pair is a mesh of two services: what web says to its proxy arrives at api's, and from there at the application.
type pair struct {
	ca       *authority
	out, in  *proxy.Proxy
	outgoing *proxy.Listener
	incoming *proxy.Listener
	api      *proxy.Target    // as web knows it
	leaf     *tls.Certificate // that web shows; nil for a good one
	options  proxy.Options    // of api's proxy
	addr     string           // at which web reaches api
}

// mesh runs a pair for an application, as change wants it.
func mesh(t testing.TB, kind proxy.Protocol, app string, change func(p *pair)) *pair {
	t.Helper()
	p := &pair{ca: newAuthority(t)}
	p.incoming = &proxy.Listener{
		Name: "public", Network: "tcp", Address: "127.0.0.1:0", Protocol: kind, Certs: p.ca.certs(t, "api"), TrustForwarded: true,
		Routes: proxy.Direct(target("local", app)), Policy: policy(t, true),
	}
	p.outgoing = &proxy.Listener{Name: "upstream", Network: "tcp", Address: "127.0.0.1:0", Protocol: kind, TrustForwarded: true}
	if change != nil {
		change(p)
	}
	p.in = run(t, &proxy.Snapshot{Listeners: []*proxy.Listener{p.incoming}}, p.options)
	if p.outgoing.Routes == nil {
		p.api = p.target(t)
		if p.leaf != nil {
			p.api.Certs.(*certs).leaf = p.leaf
		}
		p.outgoing.Routes = proxy.Direct(p.api)
	}
	p.out = run(t, &proxy.Snapshot{Listeners: []*proxy.Listener{p.outgoing}}, proxy.Options{})
	p.addr = p.out.Addr("upstream").String()
	return p
}

func (p *pair) target(t testing.TB) *proxy.Target {
	to := target("api", p.in.Addr("public").String())
	to.Certs, to.Identities, to.ServerName = p.ca.certs(t, "web"), []connect.ID{service("api")}, "api.default.dc1.internal."+domain
	return to
}

// policy allows or denies everything but what intentions say.
func policy(t testing.TB, allow bool, sources ...*catalog.SourceIntention) *connect.Policy {
	t.Helper()
	entry := &catalog.ServiceIntentions{Sources: sources}
	entry.Kind, entry.Name = catalog.EntryServiceIntentions, "api"
	entry.Normalize()
	p, err := connect.NewPolicy(entry, nil, allow, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// listen serves connections with do until the test ends.
func listen(t testing.TB, do func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Add(1)
	go func() { // ends with the listener
		defer all.Done()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Add(1)
			go func() { // ends with the connection
				defer all.Done()
				defer c.Close()
				do(c)
			}()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		all.Wait()
	})
	return l.Addr().String()
}

// dial connects, for as long as the test.
func dial(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c.(*net.TCPConn)
}

// say sends text and returns all that comes back until the end.
func say(t testing.TB, addr, text string) string {
	t.Helper()
	c := dial(t, addr)
	io.WriteString(c, text)
	said, _ := io.ReadAll(c)
	return string(said)
}

// readHead reads a head, a buffer at a time, where nothing comes behind it.
func readHead(c net.Conn) (string, error) {
	b := make([]byte, 4096)
	n := 0
	for !bytes.HasSuffix(b[:n], []byte("\r\n\r\n")) {
		k, err := c.Read(b[n:])
		if err != nil {
			return "", err
		}
		n += k
	}
	return string(b[:n]), nil
}

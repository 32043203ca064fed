package trust_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/curia-mesh/curia/agent/config"
	"github.com/curia-mesh/curia/agent/testkit"
	"github.com/curia-mesh/curia/agent/trust"
	"github.com/curia-mesh/curia/rpc"
)

// side is an end of a connection with these settings.
func side(t *testing.T, server bool, rules config.TLSInterface) *trust.Peers {
	t.Helper()
	p := trust.NewPeers("dc1", "consul.", server)
	take, err := p.Prepare(rules)
	if err != nil {
		t.Fatal(err)
	}
	take()
	return p
}

// whoami answers with who asks.
var whoami = rpc.Method[struct{}, string]{Name: "Test.WhoAmI"}

// serve answers calls as an agent with p does.
func serve(t *testing.T, p *trust.Peers) (*rpc.Listener, string) {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	server := rpc.NewServer(rpc.ServerOptions{Log: log, Handler: func(_ context.Context, peer rpc.Peer, _ *rpc.Call) (rpc.Answer, error) {
		who := peer.Identity.String()
		return rpc.Answer{Body: rpc.NewBody(&who, nil)}, nil
	}})
	l := rpc.NewListener(inner, server, rpc.ListenerOptions{TLS: p.Serve, Plain: p.PlainIn, Identify: p.Identify, Log: log})
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() { _ = l.Run(ctx) })
	t.Cleanup(func() { cancel(); run.Wait() })
	return l, inner.Addr().String()
}

func ask(t *testing.T, p *trust.Peers, addr string) (string, error) {
	t.Helper()
	pool := rpc.NewPool(rpc.PoolOptions{Dialer: rpc.Dialer{TLS: p.Dial, Plain: p.PlainOut}})
	defer pool.Close()
	who, _, err := whoami.Call(t.Context(), pool.To(addr), rpc.Header{}, &struct{}{})
	if err != nil {
		return "", err
	}
	return *who, nil
}

// rulesOf are settings that show a certificate and believe an authority.
func rulesOf(ca *testkit.Authority, c *testkit.Certificate, change func(*config.TLSInterface)) config.TLSInterface {
	t := config.TLSInterface{CAFile: ca.File, MinVersion: "TLSv1_2"}
	if c != nil {
		t.CertFile, t.KeyFile = c.File, c.KeyFile
	}
	if change != nil {
		change(&t)
	}
	return t
}

func incoming(t *config.TLSInterface) { t.VerifyIncoming = true }
func outgoing(t *config.TLSInterface) { t.VerifyOutgoing = true }
func hostname(t *config.TLSInterface) { t.VerifyOutgoing, t.VerifyServerHostname = true, true }
func all(t *config.TLSInterface)      { incoming(t); hostname(t) }

// TestSettingsBite has each setting of TLS between agents on the wire: what it forbids fails, what it allows does not
// (CVE-2018-19653, CVE-2019-9764).
func TestSettingsBite(t *testing.T) {
	ca, other := testkit.NewAuthority(t), testkit.NewAuthority(t)
	server, client := ca.Issue(t, nil, "server.dc1.consul", "localhost"), ca.Issue(t, nil, "client.dc1.consul", "localhost")
	abroad := ca.Issue(t, nil, "server.dc2.consul")
	stranger := other.Issue(t, nil, "server.dc1.consul")
	anyone := ca.Issue(t, nil, "localhost")
	f := func(name string, there, here config.TLSInterface, want string, wrong string) {
		t.Helper()
		_, addr := serve(t, side(t, false, there))
		got, err := ask(t, side(t, false, here), addr)
		switch {
		case wrong == "" && (err != nil || got != want):
			t.Errorf("%s: answered %q, %v; want %q", name, got, err, want)
		case wrong != "" && (err == nil || !strings.Contains(err.Error(), wrong)):
			t.Errorf("%s: answered %q, %v; want an error that says %q", name, got, err, wrong)
		}
	}
	asServer, asClient, nobody := `a server of datacenter dc1, "server.dc1.consul"`, `a client, "client.dc1.consul"`, "without a certificate"
	f("all, a server", rulesOf(ca, server, all), rulesOf(ca, server, all), asServer, "")
	f("all, a client agent", rulesOf(ca, server, all), rulesOf(ca, client, all), asClient, "")
	f("no TLS at all", config.TLSInterface{}, config.TLSInterface{}, nobody, "")
	f("plain to one that only has a certificate", rulesOf(ca, server, nil), config.TLSInterface{}, nobody, "")
	f("TLS to one that only has a certificate", rulesOf(ca, server, nil), rulesOf(ca, client, hostname), asClient, "")
	f("TLS without a certificate, which is not demanded", rulesOf(ca, server, nil), rulesOf(ca, nil, hostname), nobody, "")

	f("verify_incoming: plain", rulesOf(ca, server, incoming), config.TLSInterface{}, "", "connection to 127.0.0.1")
	f("verify_incoming: no certificate", rulesOf(ca, server, incoming), rulesOf(ca, nil, hostname), "", "certificate required")
	f("verify_incoming: a foreign one", rulesOf(ca, server, incoming), rulesOf(ca, stranger, outgoing), "", "tls: ")
	f("a foreign one, which is not demanded", rulesOf(ca, server, nil), rulesOf(ca, stranger, outgoing), "", "tls: ")
	f("verify_outgoing: there is no TLS there", config.TLSInterface{}, rulesOf(ca, client, outgoing), "", "curia-rpc handshake")
	f("verify_outgoing: a foreign server", rulesOf(other, stranger, nil), rulesOf(ca, client, outgoing), "", "unknown authority")
	f("verify_outgoing: no name is asked for", rulesOf(ca, anyone, nil), rulesOf(ca, client, outgoing), asClient, "")
	f("verify_server_hostname: a certificate of no server", rulesOf(ca, anyone, nil), rulesOf(ca, client, hostname), "", "server.dc1.consul")
	f("verify_server_hostname: a client agent's as server", rulesOf(ca, client, nil), rulesOf(ca, client, hostname), "", "server.dc1.consul")
	f("verify_server_hostname: another datacenter's", rulesOf(ca, abroad, nil), rulesOf(ca, client, hostname), "", "server.dc1.consul")
	f("verify_incoming alone goes out with TLS, too", rulesOf(ca, server, incoming), rulesOf(ca, client, incoming), asClient, "")
	f("ca_path", rulesOf(ca, server, all), rulesOf(ca, client, func(r *config.TLSInterface) {
		all(r)
		r.CAFile, r.CAPath = "", dirWith(t, ca.File)
	}), asClient, "")
	old := func(v string) func(*config.TLSInterface) {
		return func(r *config.TLSInterface) { all(r); r.MinVersion = v }
	}
	f("tls_min_version of both", rulesOf(ca, server, old("TLSv1_3")), rulesOf(ca, client, old("TLSv1_3")), asClient, "")

	// What crypto/tls would not do by itself is asked with a client of its own.
	_, addr := serve(t, side(t, true, rulesOf(ca, server, func(r *config.TLSInterface) { all(r); r.MinVersion = "TLSv1_3" })))
	raw := &tls.Config{RootCAs: ca.Pool, ServerName: "server.dc1.consul", Certificates: []tls.Certificate{client.Pair}, MaxVersion: tls.VersionTLS12, NextProtos: []string{string(rpc.ProtocolRPC)}}
	if _, err := tls.Dial("tcp", addr, raw); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("TLS 1.2 where 1.3 is the least: %v", err)
	}
	_, addr = serve(t, side(t, true, rulesOf(ca, server, func(r *config.TLSInterface) { all(r); r.CipherSuites = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384" })))
	raw.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
	if _, err := tls.Dial("tcp", addr, raw); err == nil {
		t.Error("a suite was taken that is not in tls_cipher_suites")
	}
	raw.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384}
	conn, err := tls.Dial("tcp", addr, raw)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()

	// An expired certificate is refused by the other end, and not shown by its own.
	expired := ca.Issue(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(2 * time.Second) }, "server.dc1.consul")
	p := side(t, false, rulesOf(ca, expired, all))
	<-time.After(time.Until(expired.Pair.Leaf.NotAfter.Add(10 * time.Millisecond)))
	_, addr = serve(t, side(t, true, rulesOf(ca, server, all)))
	if _, err := ask(t, p, addr); err == nil || !strings.Contains(err.Error(), "tls: ") {
		t.Errorf("an expired certificate: %v", err)
	}
	if _, err := p.Prepare(rulesOf(ca, expired, all)); err == nil || !strings.Contains(err.Error(), "has ended on") {
		t.Errorf("an expired certificate was loaded: %v", err)
	}
}

func dirWith(t *testing.T, file string) string {
	dir := t.TempDir()
	text, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(dir+"/ca.pem", text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestRefusedAtTheStart has settings that could not take effect.
func TestRefusedAtTheStart(t *testing.T) {
	ca := testkit.NewAuthority(t)
	client := ca.Issue(t, nil, "client.dc1.consul")
	early := ca.Issue(t, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }, "client.dc1.consul")
	empty := t.TempDir()
	f := func(server bool, rules config.TLSInterface, wrong string) {
		t.Helper()
		if _, err := trust.NewPeers("dc1", "consul.", server).Prepare(rules); err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("%v, want an error that says %q", err, wrong)
		}
	}
	f(true, rulesOf(ca, client, all), "tls cert create -server")
	f(true, rulesOf(ca, nil, hostname), "set cert_file and key_file")
	f(false, rulesOf(ca, early, all), "clock")
	f(false, config.TLSInterface{CAFile: client.KeyFile}, "no certificate in PEM")
	f(false, config.TLSInterface{CAFile: empty + "/none"}, "no such file")
	f(false, config.TLSInterface{CAPath: empty}, "holds no file")
	f(false, config.TLSInterface{CertFile: client.File, KeyFile: early.KeyFile}, "does not match")
	f(false, config.TLSInterface{CipherSuites: "TLS_RSA_WITH_RC4_128_SHA"}, "no suite")
}

func TestIdentify(t *testing.T) {
	ca := testkit.NewAuthority(t)
	p := trust.NewPeers("dc1", "consul.", true)
	f := func(role rpc.Role, dc string, change func(*x509.Certificate), names ...string) {
		t.Helper()
		if got := p.Identify(ca.Issue(t, change, names...).Pair.Leaf); got.Role != role || got.Datacenter != dc {
			t.Errorf("%q: %+v", names, got)
		}
	}
	only := func(u x509.ExtKeyUsage) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{u} }
	}
	f(rpc.RoleServer, "dc1", nil, "server.dc1.consul")
	f(rpc.RoleServer, "dc1", nil, "localhost", "SERVER.DC1.Consul", "n1.server.dc1.consul")
	f(rpc.RoleServer, "dc1", nil, "server.dc1.consul", "server.dc2.consul")
	f(rpc.RoleServer, "dc2", nil, "server.dc2.consul")
	f(rpc.RoleClient, "dc1", nil, "client.dc1.consul")
	f(rpc.RoleClient, "", nil, "web.test")
	f(rpc.RoleClient, "", nil, "server.dc1.consul.evil.test")
	f(rpc.RoleClient, "", nil, "n1.server.dc1.consul")
	f(rpc.RoleClient, "", nil, "server..consul")
	f(rpc.RoleClient, "", only(x509.ExtKeyUsageClientAuth), "server.dc1.consul")
	f(rpc.RoleServer, "dc1", only(x509.ExtKeyUsageServerAuth), "server.dc1.consul")
	f(rpc.RoleClient, "dc1", testkit.SPIFFE("spiffe://t.consul/agent/client/dc/dc1/id/n1"), "server.dc1.consul")
	f(rpc.RoleNone, "dc1", testkit.SPIFFE("spiffe://t.consul/ns/default/dc/dc1/svc/web"), "server.dc1.consul")
	f(rpc.RoleNone, "dc1", testkit.SPIFFE("spiffe://t.consul/agent/server/dc/dc1"), "server.dc1.consul")
	f(rpc.RoleNone, "", testkit.SPIFFE("https://t.consul/"), "server.dc1.consul")
}

// TestReplace replaces certificates and the authority under connections that stand: those that are still believed go
// on, and those of an authority that is gone end.
func TestReplace(t *testing.T) {
	old, next := testkit.NewAuthority(t), testkit.NewAuthority(t)
	both := t.TempDir() + "/both.pem"
	var text []byte
	for _, ca := range []*testkit.Authority{old, next} {
		one, err := os.ReadFile(ca.File)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, one...)
	}
	if err := os.WriteFile(both, text, 0o600); err != nil {
		t.Fatal(err)
	}
	there, here := side(t, true, rulesOf(old, old.Issue(t, nil, "server.dc1.consul"), all)), side(t, false, rulesOf(old, old.Issue(t, nil, "client.dc1.consul"), all))
	l, addr := serve(t, there)
	pool := rpc.NewPool(rpc.PoolOptions{Dialer: rpc.Dialer{TLS: here.Dial, Plain: here.PlainOut}})
	defer pool.Close()
	call := func() error {
		_, _, err := whoami.Call(t.Context(), pool.To(addr), rpc.Header{}, &struct{}{})
		return err
	}
	take := func(p *trust.Peers, rules config.TLSInterface) {
		t.Helper()
		change, err := p.Prepare(rules)
		if err != nil {
			t.Fatal(err)
		}
		change()
	}
	bothTrusted := func(r *config.TLSInterface) { all(r); r.CAFile = both }
	step := func(what string, ends int) {
		t.Helper()
		if got := l.Recheck(there.Believed) + pool.Recheck(here.Believed); got != ends {
			t.Errorf("%s: %d connections ended, want %d", what, got, ends)
		}
		if err := call(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	step("at first", 0)
	take(there, rulesOf(old, old.Issue(t, nil, "server.dc1.consul"), bothTrusted))
	take(here, rulesOf(old, old.Issue(t, nil, "client.dc1.consul"), bothTrusted))
	step("both are trusted", 0)
	take(there, rulesOf(next, next.Issue(t, nil, "server.dc1.consul"), bothTrusted))
	take(here, rulesOf(next, next.Issue(t, nil, "client.dc1.consul"), bothTrusted))
	step("the new one has signed", 0)
	take(there, rulesOf(next, next.Issue(t, nil, "server.dc1.consul"), all))
	if got := l.Recheck(there.Believed); got != 1 {
		t.Errorf("the old authority is gone, and %d connections ended", got)
	}
	take(here, rulesOf(next, next.Issue(t, nil, "client.dc1.consul"), all))
	pool.Recheck(here.Believed)
	if err := call(); err != nil {
		t.Fatal(err)
	}
}

// TestHalfHandshakes connects and says too little, or too much, or garbage: each connection ends.
func TestHalfHandshakes(t *testing.T) {
	ca := testkit.NewAuthority(t)
	_, addr := serve(t, side(t, true, rulesOf(ca, ca.Issue(t, nil, "server.dc1.consul"), all)))
	for _, said := range []string{"\x16\x03\x01\x00\x05hello", "\x16", "\x16\x03\x01\xff\xff" + strings.Repeat("x", 4096), "\x01rpc", "\x02", "GET / HTTP/1.1\r\n\r\n", "\x00", "\x80\x2e\x01"} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, said); err != nil {
			t.Error(err)
		}
		conn.(*net.TCPConn).CloseWrite()
		conn.SetReadDeadline(time.Now().Add(time.Minute))
		if got, err := io.ReadAll(conn); len(got) > 0 && got[0] != 0x15 || os.IsTimeout(err) { // an alert, RFC 8446 section 6
			t.Errorf("%q got %q, %v", said, got, err)
		}
		conn.Close()
	}
}

package rpc_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/curia-mesh/curia/rpc"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// authority signs leaves and makes both ends' TLS configurations.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	a := &authority{t: t, pool: x509.NewCertPool()}
	a.key, a.cert = a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	}, nil, nil)
	a.pool.AddCert(a.cert)
	return a
}

func (a *authority) sign(leaf, parent *x509.Certificate, by *ecdsa.PrivateKey) (*ecdsa.PrivateKey, *x509.Certificate) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(a.t, err)
	leaf.SerialNumber = big.NewInt(1)
	leaf.NotBefore, leaf.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	if parent == nil {
		parent, by = leaf, key
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, parent, key.Public(), by)
	must(a.t, err)
	cert, err := x509.ParseCertificate(der)
	must(a.t, err)
	return key, cert
}

// config is a peer's configuration for both ends, with a leaf of that name.
func (a *authority) config(name string) *tls.Config {
	key, cert := a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{"server.dc1.consul"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}, a.cert, a.key)
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}},
		RootCAs:      a.pool, ClientCAs: a.pool,
		ClientAuth: tls.RequireAndVerifyClientCert, ServerName: "server.dc1.consul", MinVersion: tls.VersionTLS13,
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// serving and dialing use a's leaves of those names.
func (a *authority) serving(name string) rpc.ListenerOptions {
	config := a.config(name)
	return rpc.ListenerOptions{TLS: func() (*tls.Config, error) { return config, nil }}
}

func (a *authority) dialing(name string) rpc.Dialer {
	config := a.config(name)
	return rpc.Dialer{TLS: func(string) (*tls.Config, error) { return config, nil }}
}

// serve runs a listener on a real socket until stop, or the test's end.
func serve(t testing.TB, so rpc.ServerOptions, lo rpc.ListenerOptions) (l *rpc.Listener, stop func()) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	return serveOn(t, inner, so, lo)
}

func serveOn(t testing.TB, inner net.Listener, so rpc.ServerOptions, lo rpc.ListenerOptions) (l *rpc.Listener, stop func()) {
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	so.Log, lo.Log = log, log
	l = rpc.NewListener(inner, rpc.NewServer(so), lo)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return l, stop
}

func pool(t testing.TB, o rpc.PoolOptions) *rpc.Pool {
	p := rpc.NewPool(o)
	t.Cleanup(func() { p.Close() })
	return p
}

// coded is an error with a code, as catalog's are.
type coded struct{ code, msg string }

func (e *coded) Error() string { return e.msg }

func encodeError(err error) (code, msg string) {
	if e := new(coded); errors.As(err, &e) {
		return e.code, err.Error()
	}
	return "internal", err.Error()
}

func decodeError(code, msg string) error { return &coded{code, msg} }

// hasCode expects an error with that code, whose message has text.
func hasCode(t testing.TB, err error, code, text string) {
	t.Helper()
	var e *coded
	if !errors.As(err, &e) || e.code != code || !strings.Contains(err.Error(), text) {
		t.Fatalf("error %v, want one with code %q and text %q", err, code, text)
	}
}

type request struct {
	Name  string
	Bytes []byte
	Any   map[string]any
}

type reply struct {
	Name  string
	Bytes []byte
	Any   map[string]any
}

var echo = rpc.Method[request, reply]{Name: "Test.Echo"}

// answerEcho answers as the endpoint registry will: it decodes by method.
func answerEcho(_ context.Context, _ rpc.Peer, call *rpc.Call) (rpc.Answer, error) {
	if call.Method != echo.Name {
		return rpc.Answer{}, &coded{"invalid", "no method " + call.Method}
	}
	var req request
	if err := rpc.Decode(call.Body.(rpc.Raw), &req); err != nil {
		return rpc.Answer{}, err
	}
	return rpc.Answer{Meta: rpc.Meta{Index: 42, KnownLeader: true}, Body: rpc.NewBody((*reply)(&req), nil)}, nil
}

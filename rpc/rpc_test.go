package rpc_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"math/big"
	"net"
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

// serve runs a listener on a real socket until the test ends.
func serve(t testing.TB, so rpc.ServerOptions, lo rpc.ListenerOptions) (l *rpc.Listener, stop func()) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	lo.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	l = rpc.NewListener(inner, rpc.NewServer(so), lo)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	stop = func() {
		cancel()
		if err, ok := <-done; ok {
			close(done)
			must(t, err)
		}
	}
	t.Cleanup(stop)
	return l, stop
}

func dialTo(t testing.TB, o rpc.PoolOptions) *rpc.Pool {
	p := rpc.NewPool(o)
	t.Cleanup(func() { p.Close() })
	return p
}

package proxy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"os"
	"testing"
	"time"
)

// A read that has to do with what is here ends without data where there are none, and the connection goes on.
func TestDryRecords(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pair := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	written := make(chan error, 1)
	far := tls.Server(b, &tls.Config{Certificates: []tls.Certificate{pair}, SessionTicketsDisabled: true})
	go func() { // ends with the test
		_, err := far.Write([]byte("one"))
		written <- err
		_, err = far.Write([]byte("two"))
		written <- err
	}()
	r := newRecords(a)
	near := tls.Client(&cork{Conn: r}, &tls.Config{InsecureSkipVerify: true})
	in := make([]byte, 10)
	if n, err := near.Read(in); string(in[:n]) != "one" || err != nil {
		t.Fatalf("%q, %v", in[:n], err)
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	r.dry = true
	if n, err := near.Read(in); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%q, %v", in[:n], err)
	}
	r.dry = false
	if n, err := near.Read(in); string(in[:n]) != "two" || err != nil {
		t.Fatalf("after a dry read: %q, %v", in[:n], err)
	}
	<-written
}

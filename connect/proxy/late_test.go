package proxy_test

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/connect/proxy"
)

// A caller who ended his side gets the response of an endpoint whose handshake took long.
func TestLateHandshake(t *testing.T) {
	ca := newAuthority(t)
	leaf := ca.leaf(t, service("app"), nil)
	addr := listen(t, func(raw net.Conn) {
		<-time.After(500 * time.Millisecond) // longer than it is waited for a response before the caller is looked after
		c := tls.Server(raw, &tls.Config{Certificates: []tls.Certificate{*leaf}, ClientAuth: tls.RequireAnyClientCert})
		if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
			t.Error(err)
			return
		}
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		io.Copy(io.Discard, c)
	})
	c := dial(t, single(t, addr, func(_ *proxy.Listener, to *proxy.Target) {
		to.Certs = ca.certs(t, "web")
		to.Identities = []connect.ID{service("app")}
	}))
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	c.CloseWrite()
	if b, err := io.ReadAll(c); err != nil || !strings.HasSuffix(string(b), "\r\n\r\nok") {
		t.Errorf("%q, %v", b, err)
	}
}

// How long a connection may rest is counted from the end of a body that nobody wanted.
func TestLateBody(t *testing.T) {
	const idle = 500 * time.Millisecond
	addr := single(t, "", func(l *proxy.Listener, _ *proxy.Target) {
		l.IdleTime, l.Routes = idle, proxy.Direct(target("nobody"))
	})
	c := dial(t, addr)
	in := bufio.NewReader(c)
	half := strings.Repeat("x", 20_000)
	io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 40000\r\n\r\n"+half)
	<-time.After(2 * idle)
	io.WriteString(c, half)
	for _, more := range []string{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", ""} {
		r, err := http.ReadResponse(in, nil)
		if err != nil || r.StatusCode != http.StatusServiceUnavailable {
			t.Fatalf("%v, %v", r, err)
		}
		io.Copy(io.Discard, r.Body)
		io.WriteString(c, more)
	}
}

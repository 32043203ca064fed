package proxy_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
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

// Who has let the proxy wait once, and is sent nothing for longer than a part may take then, gets what comes after that: more of
// the response, and another one.
func TestLateParts(t *testing.T) {
	t.Parallel()
	const part = time.Second
	burst := strings.Repeat("x", 16<<20) // more than sockets hold
	addr := single(t, listen(t, func(c net.Conn) {
		in := bufio.NewReader(c)
		for {
			r, err := http.ReadRequest(in)
			switch {
			case err != nil:
				return
			case r.URL.Path == "/burst":
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(burst), burst)
				<-time.After(3 * part / 2)
				io.WriteString(c, "5\r\nevent\r\n0\r\n\r\n")
			default:
				io.WriteString(c, ok("done"))
			}
		}
	}), func(l *proxy.Listener, _ *proxy.Target) { l.PartTime = part })
	c := dial(t, addr)
	in := bufio.NewReader(c)
	get := func(path, want string) {
		t.Helper()
		io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n")
		<-time.After(part / 8) // it has to wait by now
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(r.Body); err != nil || string(b) != want {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
	}
	get("/burst", burst+"event")
	get("/burst", burst+"event")
	<-time.After(3 * part / 2)
	get("/", "done")
}

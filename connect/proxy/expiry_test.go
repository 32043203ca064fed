package proxy_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/curia-mesh/curia/connect/proxy"
)

// Certificates are checked in handshakes. A connection that is kept takes requests until shortly before the end of either's, and
// ends in an order in which nobody loses one.
func TestConnectionsEndWithCertificates(t *testing.T) {
	for _, whose := range []string{"web", "api"} {
		t.Run(whose, func(t *testing.T) {
			t.Parallel()
			idle := make(chan struct{})
			app := answering(t, func(r *http.Request, _ string) string {
				if r.URL.Path == "/late" {
					<-idle
				}
				return ok("")
			})
			end := time.Now().Add(3 * time.Second)
			soon := func(c *x509.Certificate) { c.NotAfter = end }
			p := mesh(t, proxy.HTTP, app.addr, func(p *pair) {
				p.leaf = p.ca.leaf(t, service("web"), nil)
				if whose == "web" {
					p.leaf = p.ca.leaf(t, service("web"), soon)
				} else {
					p.incoming.Certs.(*certs).leaf = p.ca.leaf(t, service("api"), soon)
				}
			})
			connect := func(protocol string) *tls.Conn {
				c := tls.Client(dial(t, p.in.Addr("public").String()), &tls.Config{
					InsecureSkipVerify: true, NextProtos: []string{protocol}, Certificates: []tls.Certificate{*p.leaf},
				})
				if err := c.Handshake(); err != nil {
					t.Fatal(err)
				}
				return c
			}
			text := func(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n" }
			rests, busy, shared := connect("http/1.1"), connect("http/1.1"), connect("h2")
			io.WriteString(rests, text("/"))
			if head, err := readHead(rests); err != nil || strings.Contains(head, "Connection: close") {
				t.Fatal(head, err)
			}
			io.WriteString(busy, text("/late"))
			io.WriteString(shared, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
			if rest, err := io.ReadAll(rests); len(rest) > 0 || err != nil {
				t.Errorf("a connection that rests ends with %q, %v", rest, err)
			}
			close(idle)
			if _, err := io.ReadAll(shared); err != nil { // it is told to go away, and the connection ends in order
				t.Errorf("one of HTTP/2: %v", err)
			}
			if late := time.Since(end); late > time.Second {
				t.Errorf("they end %s after the certificate", late)
			}
			if rest, err := io.ReadAll(busy); err != nil || !strings.HasPrefix(string(rest), "HTTP/1.1 200 ") || !strings.Contains(string(rest), "Connection: close") {
				t.Errorf("the last response over a connection is %q, %v", rest, err)
			}
		})
	}
}

package check_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"unicode/utf8"

	"github.com/curia-mesh/curia/agent/check"
	"github.com/curia-mesh/curia/catalog"
)

// trust returns dependencies that trust the certificate of s.
func trust(s *httptest.Server) check.Deps {
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return check.Deps{TLS: func() *tls.Config { return &tls.Config{RootCAs: pool} }}
}

func TestHTTP(t *testing.T) {
	slow := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/echo":
			body, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%s host=%s x=%v ua=%s accept=%s body=%s", r.Method, r.Host, r.Header["X-A"], r.UserAgent(), r.Header.Get("Accept"), body)
		case "/204":
			w.WriteHeader(204)
		case "/429":
			w.WriteHeader(429)
		case "/500":
			http.Error(w, "down", 500)
		case "/endless":
			for r.Context().Err() == nil {
				if _, err := io.WriteString(w, strings.Repeat("x\xff", 500)); err != nil {
					return
				}
			}
		case "/slow":
			close(slow)
			<-r.Context().Done()
		}
	}))
	defer srv.Close()
	f := func(path string, d catalog.CheckDefinition, want catalog.Status, output string) {
		t.Helper()
		d.HTTP = srv.URL + path
		expect(t, define(d), check.Deps{}, want, output)
	}
	f("/echo", catalog.CheckDefinition{}, catalog.Passing, "HTTP GET "+srv.URL+"/echo: 200 OK Output: GET host="+strings.TrimPrefix(srv.URL, "http://")+
		" x=[] ua=Curia Health Check accept=text/plain, text/*, */* body=")
	f("/echo", catalog.CheckDefinition{Method: "POST", Body: "ping", Header: map[string][]string{"x-a": {"1", "2"}, "Host": {"web.internal"}, "User-Agent": {"mine"}}},
		catalog.Passing, "POST host=web.internal x=[1 2] ua=mine accept=text/plain, text/*, */* body=ping")
	f("/204", catalog.CheckDefinition{}, catalog.Passing, "204 No Content")
	f("/429", catalog.CheckDefinition{}, catalog.Warning, "429 Too Many Requests")
	f("/500", catalog.CheckDefinition{}, catalog.Critical, "500 Internal Server Error Output: down")
	expectLate(t, slow, define(catalog.CheckDefinition{HTTP: srv.URL + "/slow"}), check.Deps{}, catalog.Critical, "deadline exceeded")

	_, output := probe(t, define(catalog.CheckDefinition{HTTP: srv.URL + "/endless"}), check.Deps{}, nil)
	if n := len(output); n > catalog.MaxCheckOutput || n < catalog.MaxCheckOutput-3 || !utf8.ValidString(output) {
		t.Errorf("output of an endless body is %d bytes, want %d of UTF-8", n, catalog.MaxCheckOutput)
	}
	if _, output = probe(t, define(catalog.CheckDefinition{HTTP: srv.URL + "/endless", OutputMaxSize: 100}), check.Deps{}, nil); len(output) > 100 || len(output) < 97 {
		t.Errorf("output_max_size 100 let %d bytes through", len(output))
	}
	login := strings.Replace(srv.URL, "http://", "http://u:hunter2@", 1)
	if _, output = probe(t, define(catalog.CheckDefinition{HTTP: login + "/204"}), check.Deps{}, nil); strings.Contains(output, "hunter2") {
		t.Errorf("output tells the password: %s", output)
	}
	srv.Close()
	f("/204", catalog.CheckDefinition{}, catalog.Critical, "connection refused")
}

// A33: a redirect must not lead the agent to where its definition does not.
func TestHTTPRedirects(t *testing.T) {
	var visits atomic.Int32
	admin := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { visits.Add(1) }))
	defer admin.Close()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/admin":
			http.Redirect(w, r, admin.URL, http.StatusFound) // same address, other port
		case "/metadata":
			http.Redirect(w, r, "http://169.254.169.254/latest", http.StatusTemporaryRedirect)
		case "/chain":
			http.Redirect(w, r, "/admin", http.StatusFound)
		case "/name":
			http.Redirect(w, r, strings.Replace("http://"+r.Host, "127.0.0.1", "localhost", 1)+"/end", http.StatusFound)
		case "/same":
			http.Redirect(w, r, "http://"+r.Host+"/end", http.StatusMovedPermanently)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		}
	}))
	defer srv.Close()
	f := func(path string, disabled bool, want catalog.Status, output string) {
		t.Helper()
		expect(t, define(catalog.CheckDefinition{HTTP: srv.URL + path, DisableRedirects: disabled}), check.Deps{}, want, output)
	}
	f("/admin", false, catalog.Critical, "302 Found: redirect not followed")
	f("/metadata", false, catalog.Critical, "307 Temporary Redirect: redirect not followed")
	f("/chain", false, catalog.Critical, "302 Found: redirect not followed")
	f("/name", false, catalog.Critical, "302 Found: redirect not followed")
	f("/loop", false, catalog.Critical, "302 Found: redirect not followed")
	f("/same", false, catalog.Passing, "200 OK")
	f("/same", true, catalog.Critical, "301 Moved Permanently Output: ")
	if visits.Load() != 0 {
		t.Errorf("the agent asked the other server %d times", visits.Load())
	}
}

func TestHTTPOverTLS(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s sni=%s client=%d", r.Proto, r.TLS.ServerName, len(r.TLS.PeerCertificates))
	}))
	srv.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = quiet
	srv.StartTLS()
	defer srv.Close()
	f := func(d catalog.CheckDefinition, deps check.Deps, want catalog.Status, output string) {
		t.Helper()
		d.HTTP = srv.URL
		expect(t, define(d), deps, want, output)
	}
	f(catalog.CheckDefinition{}, check.Deps{}, catalog.Critical, "certificate signed by unknown authority")
	f(catalog.CheckDefinition{TLSSkipVerify: true}, check.Deps{}, catalog.Passing, "HTTP/2.0")
	f(catalog.CheckDefinition{TLSServerName: "example.com"}, trust(srv), catalog.Passing, "sni=example.com client=0")
	f(catalog.CheckDefinition{TLSServerName: "other.test"}, trust(srv), catalog.Critical, "not other.test")

	agent := trust(srv).TLS() // enable_agent_tls_for_checks
	agent.Certificates, agent.ServerName, agent.InsecureSkipVerify = srv.TLS.Certificates, "server.dc1.consul", true
	f(catalog.CheckDefinition{}, check.Deps{TLS: func() *tls.Config { return agent }}, catalog.Passing, "client=1")
	f(catalog.CheckDefinition{TLSServerName: "other.test"}, check.Deps{TLS: func() *tls.Config { return agent }}, catalog.Critical, "not other.test")
}

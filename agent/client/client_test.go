package client

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

func TestAddress(t *testing.T) {
	f := func(address string, https bool, want, socket string) {
		t.Helper()
		u, s, err := parseAddress(address, https)
		if err != nil || u.String() != want || s != socket {
			t.Errorf("%q: got %v %q %v, want %s %q", address, u, s, err, want, socket)
		}
	}
	f("", false, "http://127.0.0.1:8500", "")
	f("10.0.0.1:1", false, "http://10.0.0.1:1", "")
	f("10.0.0.1:1", true, "https://10.0.0.1:1", "")
	f("http://a:1", true, "http://a:1", "")
	f("https://a/sub/", false, "https://a/sub", "")
	f("[::1]:8500", false, "http://[::1]:8500", "")
	f("unix:///run/curia.sock", false, "http://localhost", "/run/curia.sock")

	bad := func(address, says string) {
		t.Helper()
		if _, _, err := parseAddress(address, false); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: got %v, want an error about %q", address, err, says)
		}
	}
	bad("ftp://a", "scheme")
	bad("http://", "no host")
	bad("unix://", "no socket")
	bad("a:b:c", "malformed")
	bad("http://a?x=1", "query")
	bad("http://me:s3cret@a:1", "CURIA_HTTP_AUTH")
	if _, _, err := parseAddress("http://me:s3cret@a:1", false); strings.Contains(err.Error(), "s3cret") {
		t.Error("an error shows a password")
	}
}

func TestFromEnv(t *testing.T) {
	env := map[string]string{
		"CONSUL_HTTP_ADDR": "old:1", "CURIA_HTTP_ADDR": "new:1", "CONSUL_HTTP_TOKEN": "t", "CONSUL_HTTP_SSL": "true",
		"CURIA_HTTP_SSL_VERIFY": "0", "CONSUL_CACERT": "ca", "CONSUL_TLS_SERVER_NAME": "name", "CONSUL_HTTP_AUTH": "a:b",
	}
	cfg, err := FromEnv(func(k string) string { return env[k] })
	want := Config{Address: "new:1", Token: "t", HTTPS: true, BasicAuth: "a:b", TLS: TLS{CAFile: "ca", ServerName: "name", SkipVerify: true}}
	if err != nil || cfg != want {
		t.Errorf("got %+v %v, want %+v", cfg, err, want)
	}
	if cfg, _ := FromEnv(func(string) string { return "" }); cfg != (Config{}) {
		t.Errorf("an empty environment gives %+v", cfg)
	}
	env["CURIA_HTTP_SSL_VERIFY"] = "perhaps"
	if _, err := FromEnv(func(k string) string { return env[k] }); err == nil || !strings.Contains(err.Error(), "CURIA_HTTP_SSL_VERIFY") {
		t.Errorf("got %v, want an error that names the variable", err)
	}
}

// serve starts an agent of one handler and returns a client of it.
func serve(t *testing.T, cfg Config, h http.HandlerFunc) *Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	cfg.Address = srv.URL
	return dial(t, cfg)
}

func dial(t *testing.T, cfg Config) *Client {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestRequest(t *testing.T) {
	var got *http.Request
	tokens := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(tokens, []byte(" from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := serve(t, Config{Token: "flag", TokenFile: tokens, BasicAuth: "me:pass:word", Datacenter: "dc2", Namespace: "n"}, func(w http.ResponseWriter, r *http.Request) {
		got = r.Clone(context.Background())
		w.Header().Set("X-Consul-Index", "17")
		w.Header().Set("X-Consul-LastContact", "3")
		w.Header().Set("X-Consul-KnownLeader", "true")
		io.WriteString(w, `[]`)
	})
	q := Query{Stale: true, Index: 9, Wait: 2 * time.Second, Filter: `Node == "a b"`, Near: "_agent", NodeMeta: map[string]string{"rack": "r1"}}
	_, meta, err := c.Catalog().Service(t.Context(), "we/b?", []string{"v1", "v2"}, q)
	if err != nil || meta != (Meta{Index: 17, KnownLeader: true, LastContact: 3 * time.Millisecond}) {
		t.Fatalf("got %+v %v", meta, err)
	}
	want := "/v1/catalog/service/we%2Fb%3F?dc=dc2&filter=Node+%3D%3D+%22a+b%22&index=9&near=_agent&node-meta=rack%3Ar1&ns=n&stale=&tag=v1&tag=v2&wait=2000ms"
	if got.RequestURI != want {
		t.Errorf("asked %s\nwant  %s", got.RequestURI, want)
	}
	user, password, _ := got.BasicAuth()
	if got.Header.Get("X-Consul-Token") != "from-file" || user != "me" || password != "pass:word" {
		t.Errorf("headers %v", got.Header)
	}
	if _, err := c.KV().Put(t.Context(), &catalog.KVPair{Key: "/a b/%/../c", Flags: 7}, KVWrite{}, Query{Datacenter: "dc3", Token: "other"}); err == nil {
		t.Error("a list was read as a truth value")
	}
	if got.RequestURI != "/v1/kv/a%20b/%25/../c?dc=dc3&flags=7&ns=n" || got.Method != "PUT" || got.Header.Get("X-Consul-Token") != "other" {
		t.Errorf("asked %s %s", got.Method, got.RequestURI)
	}
}

func TestAnswers(t *testing.T) {
	var answer http.HandlerFunc
	c := serve(t, Config{Token: "s3cret", MaxBody: 64}, func(w http.ResponseWriter, r *http.Request) { answer(w, r) })
	ask := func() error { _, err := c.Catalog().Datacenters(t.Context()); return err }

	answer = func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "Permission denied:\n lacks", http.StatusForbidden)
	}
	err := ask()
	if !IsStatus(err, 403) || err.Error() != "GET /v1/catalog/datacenters: unexpected response code: 403 (Permission denied: lacks)" {
		t.Errorf("got %v", err)
	}
	answer = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500); w.Write(make([]byte, 1<<20)) }
	var e *Error
	if err := ask(); !errors.As(err, &e) || len(e.Body) > maxErrorBody || e.Code() != catalog.Internal {
		t.Errorf("got %.100v", err)
	}
	answer = func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `["`+strings.Repeat("x", 100)+`"]`) }
	var large *http.MaxBytesError
	if err := ask(); !errors.As(err, &large) {
		t.Errorf("an answer over the limit: got %v", err)
	}
	answer = func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `["dc1"`) }
	if err := ask(); err == nil {
		t.Error("half an answer passed")
	}
	stuck := make(chan struct{})
	silent := serve(t, Config{Timeout: 50 * time.Millisecond}, func(http.ResponseWriter, *http.Request) { <-stuck })
	if err := silent.Agent().Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "no answer within 50ms") {
		t.Errorf("a silent agent: got %v", err)
	}
	close(stuck)
	leaked := serve(t, Config{}, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("a redirect was followed with %v", r.Header) })
	answer = func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, leaked.Address(), http.StatusTemporaryRedirect)
	}
	if err := ask(); !IsStatus(err, 307) || !strings.Contains(err.Error(), leaked.Address()) {
		t.Errorf("a redirect: got %v", err)
	}
}

func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	err = dial(t, Config{Address: l.Addr().String()}).Agent().Reload(t.Context())
	if !errors.Is(err, syscall.ECONNREFUSED) || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("got %v", err)
	}
}

func TestSocketAndTLS(t *testing.T) {
	dir := t.TempDir()
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `["dc`+r.Host+`"]`)
	})
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	plain := &httptest.Server{Listener: l, Config: &http.Server{Handler: hello}}
	plain.Start()
	t.Cleanup(plain.Close)
	if dcs, err := dial(t, Config{Address: "unix://" + filepath.Join(dir, "s")}).Catalog().Datacenters(t.Context()); err != nil || len(dcs) != 1 {
		t.Errorf("over a socket: %v %v", dcs, err)
	}

	secure := httptest.NewUnstartedServer(hello)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	secure.StartTLS()
	t.Cleanup(secure.Close)
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	keyDER := pkcs8(t, secure.TLS.Certificates[0].PrivateKey)
	ca := write("ca.pem", "CERTIFICATE", secure.Certificate().Raw)
	key := write("key.pem", "PRIVATE KEY", keyDER)
	ask := func(cfg TLS) error {
		_, err := dial(t, Config{Address: secure.URL, TLS: cfg}).Catalog().Datacenters(t.Context())
		return err
	}
	cas := filepath.Join(dir, "cas")
	if err := os.MkdirAll(cas, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(ca, filepath.Join(cas, "a.pem")); err != nil {
		t.Fatal(err)
	}
	ca = filepath.Join(cas, "a.pem")
	for _, cfg := range []TLS{{CAFile: ca, CertFile: ca, KeyFile: key}, {CAPath: cas, CertFile: ca, KeyFile: key}, {SkipVerify: true, CertFile: ca, KeyFile: key}} {
		if err := ask(cfg); err != nil {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
	for _, cfg := range []TLS{{CertFile: ca, KeyFile: key}, {CAFile: ca}, {CAFile: ca, CertFile: ca, KeyFile: key, ServerName: "other.test"}} {
		if err := ask(cfg); err == nil {
			t.Errorf("%+v: passed", cfg)
		}
	}
	for _, cfg := range []TLS{{CAFile: key}, {CAFile: "absent"}, {CAPath: "absent"}, {CertFile: ca}, {KeyFile: key}} {
		if _, err := New(Config{TLS: cfg}); err == nil {
			t.Errorf("%+v: no error", cfg)
		}
	}
}

func TestEach(t *testing.T) {
	body := `[{"Key":"a","Value":"MQ==","Flags":3},{"Key":"b","Value":null}]`
	c := serve(t, Config{MaxBody: 8}, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/none") {
			w.WriteHeader(404)
			return
		}
		io.WriteString(w, body)
	})
	var got strings.Builder
	each := func(prefix string) error {
		return c.KV().Each(t.Context(), prefix, Query{}, func(p *catalog.KVPair) error {
			got.WriteString(p.Key + "=" + string(p.Value) + ";")
			return nil
		})
	}
	if err := each("x"); err != nil || got.String() != "a=1;b=;" {
		t.Errorf("got %s %v", got.String(), err)
	}
	if err := each("none"); err != nil {
		t.Errorf("no keys: %v", err)
	}
	body = body[:len(body)-1]
	if err := each("x"); err == nil {
		t.Error("half a list passed")
	}
	stop := errors.New("stop")
	if err := c.KV().Each(t.Context(), "x", Query{}, func(*catalog.KVPair) error { return stop }); err != stop {
		t.Errorf("got %v", err)
	}
}

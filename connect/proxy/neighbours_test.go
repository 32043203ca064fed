package proxy_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/connect/proxy"
)

// neighbour is a program of others, found where it is installed; its tests are skipped elsewhere.
func neighbour(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		if path := filepath.Join(dir, name); exec.Command(path, "--version").Run() == nil || exec.Command(path, "-v").Run() == nil {
			return path
		}
	}
	t.Skipf("%s is not installed", name)
	return ""
}

// start runs a program until the test ends, and returns when it takes connections at addr.
func start(t *testing.T, addr, path string, args ...string) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = &said, &said, t.TempDir()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		stop()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s said %s", path, said.String())
		}
	})
	for begun := time.Now(); time.Since(begun) < 20*time.Second; time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return
		}
	}
	t.Fatalf("%s does not listen: %s", path, said.String())
}

// free is an address that nobody listens at.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// curl asks and returns what it prints.
func curl(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command(neighbour(t, "curl"), append([]string{"-sS", "--max-time", "20"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("curl %.200q: %v: %s", args, err, out)
	}
	return string(out)
}

// files makes a directory with a small and a large file.
func files(t *testing.T) (dir string, large []byte) {
	t.Helper()
	dir = t.TempDir()
	large = bytes.Repeat([]byte("0123456789abcdef"), 256<<10)
	for name, text := range map[string][]byte{"small": []byte("hello"), "large": large} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir, large
}

// curl gets files from Python's server, which speaks HTTP/1.0 and closes.
func TestPython(t *testing.T) {
	dir, large := files(t)
	at := free(t)
	_, port, _ := net.SplitHostPort(at)
	start(t, at, neighbour(t, "python3"), "-m", "http.server", "--bind", "127.0.0.1", "--directory", dir, port)
	addr := mesh(t, proxy.HTTP, at, nil).addr
	if got := curl(t, "http://"+addr+"/small", "http://"+addr+"//./large"); got != "hello"+string(large) {
		t.Errorf("got %d bytes", len(got))
	}
	if got := curl(t, "-I", "http://"+addr+"/large"); !strings.Contains(got, fmt.Sprintf("Content-Length: %d\r\n", len(large))) && !strings.Contains(got, fmt.Sprintf("Content-length: %d\r\n", len(large))) {
		t.Errorf("HEAD: %s", got)
	}
	if got := curl(t, "--http2-prior-knowledge", "http://"+addr+"/large"); got != string(large) {
		t.Errorf("HTTP/2: got %d bytes", len(got))
	}
	if got := curl(t, "--http2", "http://"+addr+"/small"); got != "hello" { // an upgrade that is not taken
		t.Errorf("HTTP/2 where it is taken: %q", got)
	}
	if got := curl(t, "-0", "http://"+addr+"/small"); got != "hello" {
		t.Errorf("HTTP/1.0: %q", got)
	}
}

// curl gets files from nginx, compressed as it streams and in ranges, and sends it bodies with and without asking first.
func TestNginx(t *testing.T) {
	dir, large := files(t)
	at := free(t)
	conf := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log stderr error;
events { worker_connections 256; }
http { access_log off; client_max_body_size 8m; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  gzip on; gzip_types *; default_type application/octet-stream;
  server { listen %[2]s; root %[3]s; location /limit { client_max_body_size 1k; proxy_pass http://%[2]s/small; } location /put { client_body_in_file_only clean; proxy_pass http://%[2]s/small; } } }`, t.TempDir(), at, dir)
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, at, neighbour(t, "nginx"), "-c", file)
	p := mesh(t, proxy.HTTP, at, nil)
	addr := p.addr
	if got := curl(t, "http://"+addr+"/large", "--compressed"); got != string(large) {
		t.Errorf("compressed: got %d bytes", len(got))
	}
	if got := curl(t, "-r", "16-31", "http://"+addr+"/large"); got != "0123456789abcdef" {
		t.Errorf("a range: %q", got)
	}
	up := filepath.Join(dir, "large")
	for _, args := range [][]string{{"-H", "Expect:"}, {"-H", "Expect: 100-continue"}, {"-H", "Transfer-Encoding: chunked"}} {
		if got := curl(t, append(args, "-o", os.DevNull, "-w", "%{http_code}", "--data-binary", "@"+up, "http://"+addr+"/limit")...); got != "413" {
			t.Errorf("%v: a body too large: %s", args, got)
		}
	}
	if got := curl(t, "-o", os.DevNull, "-w", "%{http_code} %{size_upload}", "-H", "Expect: 100-continue", "--data-binary", "@"+up, "http://"+addr+"/limit"); !strings.HasPrefix(got, "413 0") {
		t.Errorf("a body was sent that nobody asked for: %s", got)
	}
}

// HAProxy is the hop on either side, over TLS.
func TestHAProxy(t *testing.T) {
	path := neighbour(t, "haproxy")
	dir, large := files(t)
	app := free(t)
	_, port, _ := net.SplitHostPort(app)
	start(t, app, neighbour(t, "python3"), "-m", "http.server", "--bind", "127.0.0.1", "--directory", dir, port)
	keep := func(p *pair, name string) string {
		leaf := p.ca.leaf(t, service(name), nil)
		der, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, name+".pem")
		text := connect.EncodeCertificate(leaf.Certificate[0]) + string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	run := func(p *pair, name, bind, server string) {
		root := filepath.Join(dir, "ca.pem")
		if err := os.WriteFile(root, []byte(connect.EncodeCertificate(p.ca.cert.Raw)), 0o600); err != nil {
			t.Fatal(err)
		}
		const tls = " ca-file CA verify required ssl-min-ver TLSv1.3"
		text := strings.ReplaceAll("global\n  maxconn 256\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n  http-reuse always\nfrontend f\n  bind "+
			strings.ReplaceAll(bind, "TLS", tls)+"\n  default_backend b\nbackend b\n  server s "+strings.ReplaceAll(server, "TLS", tls)+"\n", "CA", root)
		file := filepath.Join(dir, name+".cfg")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		start(t, strings.Fields(bind)[0], path, "-db", "-f", file)
	}
	check := func(what, addr string) {
		t.Helper()
		for range 3 {
			if got := curl(t, "http://"+addr+"/small", "http://"+addr+"/large"); got != "hello"+string(large) {
				t.Errorf("%s: got %d bytes", what, len(got))
			}
		}
	}
	front, front2, back, back2 := free(t), free(t), free(t), free(t)
	p := mesh(t, proxy.HTTP, app, nil)
	run(p, "front", front, p.in.Addr("public").String()+" ssl crt "+keep(p, "web")+"TLS")
	check("HAProxy calls", front)
	run(p, "front2", front2, p.in.Addr("public").String()+" alpn h2 ssl crt "+keep(p, "web")+"TLS")
	check("HAProxy calls with HTTP/2", front2)
	run(p, "back", back+" ssl crt "+keep(p, "api")+"TLS", app)
	run(p, "back2", back2+" alpn h2 ssl crt "+keep(p, "api")+"TLS", app)
	for what, at := range map[string]string{"HAProxy is called": back, "HAProxy is called with HTTP/2": back2} {
		to := p.target(t)
		to.Endpoints[0].Address = at
		next := *p.outgoing
		next.Routes = proxy.Direct(to)
		if err := p.out.Update(&proxy.Snapshot{Listeners: []*proxy.Listener{&next}}); err != nil {
			t.Fatal(err)
		}
		check(what, p.addr)
	}
}

package agent

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/curia-mesh/curia/agent/config"
)

// TestConnectionsOfOneAddress holds as many as the limit allows: the next one hears why, in HTTP, until one of
// them goes or the limit grows.
func TestConnectionsOfOneAddress(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var limit atomic.Int64
	limit.Store(2)
	l := limitPerClient(inner, &limit, tooMany)
	defer l.Close()
	accepted := make(chan net.Conn, 8)
	go func() { // ends with the listener
		defer close(accepted)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	dial := func() net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	refused := func() {
		t.Helper()
		resp, err := http.ReadResponse(bufio.NewReader(dial()), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusTooManyRequests || !strings.HasSuffix(string(body), " here") {
			t.Errorf("refused with %s %q %v", resp.Status, body, err)
		}
	}
	dial()
	first := <-accepted
	dial()
	<-accepted
	refused()
	first.Close()
	first.Close() // counts once
	dial()
	<-accepted
	refused()
	limit.Store(3)
	dial()
	<-accepted
	refused()
	limit.Store(0)
	for range 5 {
		dial()
		<-accepted
	}
}

// TestUnixSockets: a socket that nobody serves any more is replaced; one that somebody serves, and what is no
// socket, stays.
func TestUnixSockets(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) config.Listener {
		return config.Listener{Name: "http", Network: "unix", Address: filepath.Join(dir, name)}
	}
	cfg := &config.Config{UnixSockets: config.UnixSockets{Mode: "0640"}}
	mode := func(name string) os.FileMode {
		t.Helper()
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode()
	}
	l, err := listenHTTP(cfg, at("s"))
	if err != nil {
		t.Fatal(err)
	}
	if got := mode("s"); got != os.ModeSocket|0o640 {
		t.Errorf("the socket has mode %v", got)
	}
	if _, err := listenHTTP(cfg, at("s")); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a socket in use: %v", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // as after kill -9
	l.Close()
	again, err := listenHTTP(cfg, at("s"))
	if err != nil {
		t.Fatalf("a socket that was left behind: %v", err)
	}
	again.Close()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listenHTTP(cfg, at("file")); err == nil {
		t.Error("a file was taken for a socket")
	}
	if text, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(text) != "mine" {
		t.Errorf("the file is %q, %v", text, err)
	}
	for want, to := range map[string]config.UnixSockets{
		"octal digits":       {Mode: "0698"},
		"unix_sockets.user":  {User: "nobody of that name"},
		"unix_sockets.group": {Group: "nobody of that name"},
	} {
		if _, err := listenHTTP(&config.Config{UnixSockets: to}, at("bad")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want one that says %s", to, err, want)
		}
		if _, err := os.Lstat(filepath.Join(dir, "bad")); err == nil {
			t.Errorf("%+v: the socket was left behind", to)
		}
	}
}

// TestFingerprint changes files of the configuration, and some that are none.
func TestFingerprint(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	single, cert := filepath.Join(other, "one.hcl"), filepath.Join(other, "cert.pem")
	look := func() string {
		return fingerprint([]string{dir, single}, config.TLS{InternalRPC: config.TLSInterface{CertFile: cert}})
	}
	last := look()
	f := func(want bool, what string, change func()) {
		t.Helper()
		change()
		now := look()
		if now != look() || (now != last) != want {
			t.Errorf("%s: seen %v, want %v", what, now != last, want)
		}
		last = now
	}
	f(false, "nothing", func() {})
	f(true, "a new file in the directory", func() { write(filepath.Join(dir, "a.hcl"), "x") })
	f(true, "another length", func() { write(filepath.Join(dir, "a.hcl"), "xy") })
	f(true, "a file that is named", func() { write(single, "x") })
	f(true, "a certificate", func() { write(cert, "x") })
	f(false, "a neighbour", func() { write(filepath.Join(other, "b.hcl"), "x") })
	f(true, "one replaced by another of its length", func() {
		write(filepath.Join(other, "next"), "yx")
		info, _ := os.Stat(filepath.Join(dir, "a.hcl"))
		later := info.ModTime().Add(1)
		if err := os.Chtimes(filepath.Join(other, "next"), later, later); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(other, "next"), filepath.Join(dir, "a.hcl")); err != nil {
			t.Fatal(err)
		}
	})
	f(true, "one that goes", func() { os.Remove(filepath.Join(dir, "a.hcl")) })
}

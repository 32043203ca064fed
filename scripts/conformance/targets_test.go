package conformance

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// health is that of something a check looks at.
type health struct{ ill atomic.Bool }

func (h *health) fall() { h.ill.Store(true) }

// webPage serves a page that demands the whole request that its check is to make.
func webPage(t *testing.T, serve func(http.Handler) *httptest.Server) (url string, h *health) {
	h = &health{}
	server := serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Method != "POST" || string(body) != "are you well" || r.Header.Get("X-Asked-By") != "check" || r.URL.Path != "/health" {
			t.Errorf("the check asked %s %s with %q and %v", r.Method, r.URL, body, r.Header)
		}
		if h.ill.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		io.WriteString(w, "all well")
	}))
	t.Cleanup(server.Close)
	return server.URL, h
}

// tcpEcho accepts connections until it is closed.
func tcpEcho(t *testing.T) (address string, end func()) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	end = func() { l.Close() }
	t.Cleanup(end)
	go func() { // ends with the listener
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	return l.Addr().String(), end
}

// udpEcho answers packets until it is closed.
func udpEcho(t *testing.T) (address string, end func()) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	end = func() { conn.Close() }
	t.Cleanup(end)
	go func() { // ends with the socket
		buffer := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			conn.WriteTo(buffer[:n], from)
		}
	}()
	return conn.LocalAddr().String(), end
}

// grpcServer answers the health protocol of gRPC for "my.service" over HTTP/2, until it is closed.
// Source: https://github.com/grpc/grpc/blob/master/doc/health-checking.md
func grpcServer(t *testing.T, secure bool) (address string, h *health, end func()) {
	h = &health{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		message, _ := io.ReadAll(r.Body)
		if r.URL.Path != "/grpc.health.v1.Health/Check" || !strings.HasSuffix(string(message), "my.service") || r.Header.Get("Content-Type") != "application/grpc" {
			t.Errorf("the check called %s with %q and %v", r.URL, message, r.Header)
		}
		const serving, notServing, statusField = 1, 2, 1 << 3
		status := byte(serving)
		if h.ill.Load() {
			status = notServing
		}
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		w.Write([]byte{0, 0, 0, 0, 2, statusField, status})
		w.Header().Set("Grpc-Status", "0")
	}))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Config.Protocols.SetHTTP2(true)
	server.EnableHTTP2 = true
	if secure {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	return server.Listener.Addr().String(), h, server.Close
}

// dockerEngine answers, on a unix socket, the part of the Docker Engine API that runs a command in the
// container "box".
// Source: https://docs.docker.com/reference/api/engine/
func dockerEngine(t *testing.T) (socket string, h *health) {
	dir, err := os.MkdirTemp("", "c") // short enough for a socket's name
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	h, socket = &health{}, filepath.Join(dir, "docker.sock")
	l, err := net.Listen("unix", socket)
	must(t, err)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /containers/box/exec", func(w http.ResponseWriter, r *http.Request) {
		var run struct{ Cmd []string }
		if err := json.NewDecoder(r.Body).Decode(&run); err != nil || strings.Join(run.Cmd, " ") != "/bin/sh -c /bin/check" && strings.Join(run.Cmd, " ") != "/bin/sh /bin/check" {
			t.Errorf("the command to run in the container is %q (%v)", run.Cmd, err)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, `{"Id": "run1"}`)
	})
	mux.HandleFunc("POST /exec/run1/start", func(w http.ResponseWriter, r *http.Request) {
		const stdout, text = 1, "inside the box"
		frame := append([]byte{stdout}, make([]byte, 7)...)
		binary.BigEndian.PutUint32(frame[4:], uint32(len(text)))
		w.Write(append(frame, text...))
	})
	mux.HandleFunc("GET /exec/run1/json", func(w http.ResponseWriter, r *http.Request) {
		code := 0
		if h.ill.Load() {
			code = 2
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"Running": false, "ExitCode": %d}`, code)
	})
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if version, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/"); strings.HasPrefix(version, "v1.") {
			r.URL.Path = "/" + rest
		}
		mux.ServeHTTP(w, r)
	})}
	go server.Serve(l) // ends with the server
	t.Cleanup(func() { server.Close() })
	return socket, h
}

// fakeSystemd is a folder with a systemctl that knows the unit nginx.service, which runs until it fails.
func fakeSystemd(t *testing.T) (path string, fails func()) {
	path = t.TempDir()
	state := func(active, sub string) {
		must(t, os.WriteFile(filepath.Join(path, "state.new"), fmt.Appendf(nil, "LoadState=loaded\nActiveState=%s\nSubState=%s\n", active, sub), 0o600))
		must(t, os.Rename(filepath.Join(path, "state.new"), filepath.Join(path, "state")))
	}
	state("active", "running")
	script := "#!/bin/sh\ncase \"$*\" in *nginx.service*) cat " + filepath.Join(path, "state") + ";; *) exit 4;; esac\n"
	must(t, os.WriteFile(filepath.Join(path, "systemctl"), []byte(script), 0o700))
	return path, func() { state("failed", "failed") }
}

package check_test

import (
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/agent/check"
	"github.com/curia-mesh/curia/catalog"
)

var quiet = log.New(io.Discard, "", 0)

// serve starts a server of HTTP/2, over TLS or with prior knowledge, and returns it with its host:port.
func serve(t *testing.T, overTLS bool, h http.Handler) (*httptest.Server, string) {
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = quiet
	if overTLS {
		srv.EnableHTTP2 = true
		srv.StartTLS()
	} else {
		srv.Config.Protocols = new(http.Protocols)
		srv.Config.Protocols.SetUnencryptedHTTP2(true)
		srv.Start()
	}
	t.Cleanup(srv.Close)
	return srv, srv.Listener.Addr().String()
}

// answering starts a TCP server that answers each connection with text.
func answering(t *testing.T, text string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(conn, text)
			conn.(*net.TCPConn).CloseWrite()
			t.Cleanup(func() { conn.Close() })
		}
	}()
	return l.Addr().String()
}

// mute starts a TCP server that does not answer. asked is closed when it has heard something.
func mute(t *testing.T) (addr string, asked <-chan struct{}) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	heard := make(chan struct{})
	go func() { // ends when it has heard something
		conn, err := l.Accept()
		if err != nil {
			return
		}
		t.Cleanup(func() { conn.Close() })
		conn.Read(make([]byte, 1))
		close(heard)
	}()
	return l.Addr().String(), heard
}

func TestTCP(t *testing.T) {
	srv, _ := serve(t, true, nil)
	addr := srv.Listener.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	expect(t, define(catalog.CheckDefinition{TCP: addr}), check.Deps{}, catalog.Passing, "TCP connect "+addr+": Success")
	expect(t, define(catalog.CheckDefinition{TCP: ":" + port}), check.Deps{}, catalog.Passing, "Success")
	expect(t, define(catalog.CheckDefinition{TCP: addr, TCPUseTLS: true}), trust(srv), catalog.Passing, "Success")
	expect(t, define(catalog.CheckDefinition{TCP: addr, TCPUseTLS: true}), check.Deps{}, catalog.Critical, "TLS handshake with "+addr)
	silent, asked := mute(t)
	expectLate(t, asked, define(catalog.CheckDefinition{TCP: silent, TCPUseTLS: true}), check.Deps{}, catalog.Critical, "deadline exceeded")
	srv.Close()
	expect(t, define(catalog.CheckDefinition{TCP: addr}), check.Deps{}, catalog.Critical, "refused")
}

func TestUDP(t *testing.T) {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	asked, silence := make(chan string, 3), make(chan struct{})
	go func() { // ends when server is closed
		buf := make([]byte, 100)
		for {
			n, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			asked <- string(buf[:n])
			if string(buf[:n]) == "silence" {
				close(silence)
				continue
			}
			server.WriteTo(make([]byte, 1000), from)
		}
	}()
	addr := server.LocalAddr().String()
	expect(t, define(catalog.CheckDefinition{UDP: addr}), check.Deps{}, catalog.Passing, "UDP connect "+addr+": Success")
	expect(t, define(catalog.CheckDefinition{UDP: addr, Body: "ping"}), check.Deps{}, catalog.Passing, "Success")
	expectLate(t, silence, define(catalog.CheckDefinition{UDP: addr, Body: "silence"}), check.Deps{}, catalog.Critical, "no answer within 30s")
	server.Close()
	expect(t, define(catalog.CheckDefinition{UDP: addr}), check.Deps{}, catalog.Critical, "refused")
	if a, b := <-asked, <-asked; a != "Curia Health Check\n" || b != "ping" {
		t.Errorf("the server got %q and %q", a, b)
	}
}

func TestH2Ping(t *testing.T) {
	_, plain := serve(t, false, nil)
	srv, secure := serve(t, true, nil)
	http1 := httptest.NewUnstartedServer(nil)
	http1.Config.ErrorLog = quiet
	http1.StartTLS()
	defer http1.Close()
	f := func(addr string, overTLS bool, deps check.Deps, want catalog.Status, output string) {
		t.Helper()
		d := catalog.CheckDefinition{H2PING: addr, H2PingUseTLS: &overTLS}
		expect(t, define(d), deps, want, "HTTP2 ping "+addr+": "+output)
	}
	f(plain, false, check.Deps{}, catalog.Passing, "Success")
	f(secure, true, trust(srv), catalog.Passing, "Success")
	f(secure, true, check.Deps{}, catalog.Critical, "TLS handshake")
	f(http1.Listener.Addr().String(), true, trust(http1), catalog.Critical, "")
	f(answering(t, "HTTP/1.1 400 Bad Request\r\n\r\n"), false, check.Deps{}, catalog.Critical, "the target does not speak HTTP/2")
	f(answering(t, "\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0b"), false, check.Deps{}, catalog.Critical, "the target closed the connection with HTTP/2 error 11")
	f(answering(t, strings.Repeat("\x00\x00\x00\x08\x00\x00\x00\x00\x00", 100)), false, check.Deps{}, catalog.Critical, "no answer to the ping among 64 frames")
	f(answering(t, "\x00\x00\x08\x06\x00\x00\x00\x00\x00curia\x00\x00\x00"), false, check.Deps{}, catalog.Critical, "read a frame: EOF") // no ACK
	f(answering(t, "\x00\x00\x04\x04"), false, check.Deps{}, catalog.Critical, "read a frame: unexpected EOF")
	silent, asked := mute(t)
	expectLate(t, asked, define(catalog.CheckDefinition{H2PING: silent}), check.Deps{}, catalog.Critical, "no answer within 30s")
}

// health answers as a gRPC server does whose services are in the states given.
func health(states map[string]byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/grpc")
		if r.ProtoMajor != 2 || r.Method != "POST" || r.URL.Path != "/grpc.health.v1.Health/Check" ||
			r.Header.Get("Te") != "trailers" || r.Header.Get("Content-Type") != "application/grpc" || len(body) < 5 {
			http.Error(w, "not gRPC", http.StatusBadRequest)
			return
		}
		name := ""
		if len(body) > 5 && body[5] == 0x0a && int(body[6]) == len(body)-7 && int(body[4]) == len(body)-5 {
			name = string(body[7:])
		}
		state, known := states[name]
		if !known {
			w.Header().Set("Grpc-Status", "5")
			w.Header().Set("Grpc-Message", "no%20such%20service")
			return
		}
		w.Header().Set("Trailer", "Grpc-Status")
		switch state {
		case 255:
			io.WriteString(w, strings.Repeat("x", 1<<20))
		case 0:
			w.Write([]byte{0, 0, 0, 0, 0})
		default:
			w.Write([]byte{0, 0, 0, 0, 2, 1 << 3, state})
		}
		w.Header().Set("Grpc-Status", "0")
	})
}

func TestGRPC(t *testing.T) {
	states := health(map[string]byte{"": 1, "pkg.Sub/x": 1, "down": 2, "unsure": 0, "unknown": 3, "huge": 255})
	_, plain := serve(t, false, states)
	srv, secure := serve(t, true, states)
	f := func(target string, overTLS bool, deps check.Deps, want catalog.Status, output string) {
		t.Helper()
		expect(t, define(catalog.CheckDefinition{GRPC: target, GRPCUseTLS: overTLS}), deps, want, "gRPC check "+target+": "+output)
	}
	f(plain, false, check.Deps{}, catalog.Passing, "success")
	f(plain+"/pkg.Sub/x", false, check.Deps{}, catalog.Passing, "success")
	f(plain+"/down", false, check.Deps{}, catalog.Critical, "failing with status NOT_SERVING")
	f(plain+"/unsure", false, check.Deps{}, catalog.Critical, "failing with status UNKNOWN")
	f(plain+"/unknown", false, check.Deps{}, catalog.Critical, "failing with status SERVICE_UNKNOWN")
	f(plain+"/absent", false, check.Deps{}, catalog.Critical, `gRPC status "5": no such service`)
	f(plain+"/huge", false, check.Deps{}, catalog.Critical, "the answer is longer than")
	f(secure, true, trust(srv), catalog.Passing, "success")
	f(secure, true, check.Deps{}, catalog.Critical, "TLS handshake")
	_, web := serve(t, false, http.NotFoundHandler())
	f(web, false, check.Deps{}, catalog.Critical, "HTTP status 404")
	f(answering(t, "HTTP/1.1 200 OK\r\n\r\n"), false, check.Deps{}, catalog.Critical, "")
}

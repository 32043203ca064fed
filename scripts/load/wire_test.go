//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestHTTP1Framing cuts answers at every byte: the end must be found where it is, and nowhere else.
func TestHTTP1Framing(t *testing.T) {
	f := func(answer string, failures int, fault string) {
		t.Helper()
		for cut := range len(answer) {
			h := newHTTP1("GET", "/", "")
			whole, err := false, error(nil)
			for _, part := range []string{answer[:cut], answer[cut:]} {
				if whole && part != "" {
					t.Fatalf("%q: whole before %d", answer, cut)
				}
				if whole, err = h.take([]byte(part)); err != nil {
					break
				}
			}
			switch {
			case fault != "" && (err == nil || !strings.Contains(err.Error(), fault)):
				if whole || err != nil { // what is cut short may be waiting for more
					t.Fatalf("%q cut at %d: whole %t, %v; want the error %q", answer, cut, whole, err, fault)
				}
			case fault == "" && (err != nil || !whole || h.failed != failures):
				t.Fatalf("%q cut at %d: whole %t, %d failures, %v; want %d", answer, cut, whole, h.failed, err, failures)
			}
		}
	}
	const ok = "HTTP/1.1 200 OK\r\n"
	f(ok+"Content-Length: 5\r\nX-Consul-Index: 7\r\n\r\nhello", 0, "")
	f(ok+"content-length:0\r\n\r\n", 0, "")
	f(ok+"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0\r\n\r\n56789\r\n0\r\n\r\n", 0, "")
	f(ok+"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nSome: trailer\r\n\r\n", 0, "")
	f("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\nno", 1, "")
	f(ok+"Connection: close\r\n\r\nbody", 0, "no known length")
	f(ok+"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n", 0, "size of a chunk")
	f("SSH-2.0-OpenSSH_9.2 Debian\r\n\r\n", 0, "status line")
}

func TestTemplateCountsInPlace(t *testing.T) {
	tmpl := newTemplate("k/#### # p=##### end", among(3, 1, 2), changing)
	var got []string
	for range 3 {
		got = append(got, string(tmpl.fill()))
	}
	want := []string{"k/0001 # p=10000 end", "k/0000 # p=10001 end", "k/0002 # p=10002 end"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestLoopOverStreams drives real servers: every request arrives once, failures are told from answers.
func TestLoopOverStreams(t *testing.T) {
	var asked atomic.Int32
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		n := asked.Add(1)
		grpcCall := r.ProtoMajor == 2
		if grpcCall && (r.Header.Get("Content-Type") != "application/grpc" || string(body) != "\x00\x00\x00\x00\x08key-0000") {
			t.Errorf("call of %s with %q, %q", r.URL.Path, r.Header, body)
		}
		switch {
		case n%10 == 0 && !grpcCall:
			http.Error(w, "the tenth", http.StatusInternalServerError)
		case n%10 == 0:
			w.Header().Set("Grpc-Status", "13")
		case grpcCall:
			w.Header().Set("Trailer", "Grpc-Status")
			w.Write([]byte("\x00\x00\x00\x00\x01x"))
			w.Header().Set("Grpc-Status", "0")
		default:
			fmt.Fprint(w, strings.Repeat("x", 100_000))
		}
	})
	s := httptest.NewUnstartedServer(handler)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	defer s.Close()
	at := netip.MustParseAddrPort(s.Listener.Addr().String())
	for name, wires := range map[string]func(int) wire{
		"http": func(int) wire { return newHTTP1("PUT", "/####", "body", among(9, 0, 1)) },
		"grpc": func(int) wire { return newGRPC("/kv/Put", "key-####", func(int) int { return 0 }) },
	} {
		asked.Store(0)
		e, err := dial("tcp", at, 8, wires)
		if err != nil {
			t.Fatal(err)
		}
		h := new(histogram)
		n, _, err := loop(t.Context(), e, time.Minute, 200, h)
		e.close()
		if err != nil || n != 200 || h.n != 200 || asked.Load() != 200 || e.failures() != 20 || e.reason() == "" {
			t.Errorf("%s: %d answers of 200, %d recorded, %d asked, %d failures of 20 (%s), %v", name, n, h.n, asked.Load(), e.failures(), e.reason(), err)
		}
	}
}

// TestLoopOverDatagrams loses a question, answers one twice and one wrongly.
func TestLoopOverDatagrams(t *testing.T) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var questions atomic.Int32
	s := &dns.Server{PacketConn: c, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		asked := questions.Add(1)
		a := new(dns.Msg).SetReply(q)
		if asked != 7 {
			a.Answer = append(a.Answer, &dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(10, 0, 0, 1)})
		}
		if asked != 5 {
			w.WriteMsg(a)
		}
		if asked == 3 {
			w.WriteMsg(a)
		}
	})}
	done := make(chan error)
	go func() { done <- s.ActivateAndServe() }() // ends with the test
	e, err := dial("udp", netip.MustParseAddrPort(c.LocalAddr().String()), 1, func(int) wire {
		w, err := newDNS("a.service.consul", dns.TypeA, 0, 1)
		if err != nil {
			t.Error(err)
		}
		return w
	})
	if err != nil {
		t.Fatal(err)
	}
	e.patience = time.Second
	n, _, err := loop(t.Context(), e, time.Minute, 20, new(histogram))
	e.close()
	s.Shutdown()
	<-done
	lost := int(questions.Load()) - 20 // more than the one where this machine is slower than the patience
	if err != nil || n != 20 || lost < 1 || int(e.lost) != lost || int(e.failures()) != lost+1 {
		t.Errorf("%d answers of 20, %d lost of %d, %d failures of %d, %v", n, e.lost, lost, e.failures(), lost+1, err)
	}
}

// TestLoopEnds looks that a server that goes silent or away, and an interrupt, end a run.
func TestLoopEnds(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at := netip.MustParseAddrPort(l.Addr().String())
	run := func(ctx context.Context, patience time.Duration, then func(net.Conn)) error {
		e, err := dial("tcp", at, 1, func(int) wire { return newHTTP1("GET", "/", "") })
		if err != nil {
			t.Fatal(err)
		}
		defer e.close()
		e.patience = patience
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		then(c)
		_, _, err = loop(ctx, e, time.Minute, 10, new(histogram))
		return err
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for want, err := range map[string]error{
		"no answer":        run(t.Context(), time.Millisecond, func(net.Conn) {}),
		"closed the conn":  run(t.Context(), time.Minute, func(c net.Conn) { c.(*net.TCPConn).CloseWrite() }),
		"context canceled": run(gone, time.Minute, func(net.Conn) {}),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
}

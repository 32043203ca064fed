package http2_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/curia-mesh/curia/rpc/http1/wire"
	"github.com/curia-mesh/curia/rpc/http2"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// message is a head that a test sends.
type message struct {
	control [][2]string
	lines   string
}

// Encode implements http2.Fields.
func (m *message) Encode(e *http2.Encoder) {
	for _, f := range m.control {
		e.Text(f[0], f[1])
	}
	e.Lines([]byte(m.lines))
}

func get(path string) *message {
	return &message{[][2]string{{":method", "GET"}, {":scheme", "http"}, {":path", path}, {":authority", "a"}}, ""}
}

// serving serves connections with serve until the test ends.
func serving(t testing.TB, o http2.Options) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	all.Go(func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			all.Go(func() { http2.New(c, nil, o).Run() }) // ends with the connection
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return l.Addr().String()
}

// client connects for as long as the test.
func client(t testing.TB, addr string) *http2.Conn {
	t.Helper()
	raw, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c := http2.New(raw, nil, http2.Options{})
	ended := make(chan struct{})
	go func() { // ends with the connection
		defer close(ended)
		c.Run()
	}()
	t.Cleanup(func() {
		raw.Close()
		<-ended
	})
	return c
}

// echo answers a request with its body, and its path in a field and a trailer.
func echo(s *http2.Stream) {
	text, err := s.Head(time.Time{})
	if err != nil {
		return
	}
	var h wire.Head
	if h.Parse(text) != nil {
		s.Reset(http2.InternalError)
		return
	}
	path := string(h.Target.Of(text))
	if s.Send(&message{[][2]string{{":status", "200"}}, "X-Path: " + path + "\r\n"}, nil, false, false) != nil {
		return
	}
	for {
		part, err := s.Next(time.Time{})
		if err == io.EOF {
			s.End([]byte("x-end: " + path + "\r\n"))
			return
		}
		if err != nil || s.Body(part, false, true) != nil {
			return
		}
	}
}

// exchange sends a request with a body and returns head, body and trailers of the response.
func exchange(c *http2.Conn, m *message, body []byte) (head, answer, rear string, err error) {
	s, err := c.Open()
	if err != nil {
		return "", "", "", err
	}
	defer s.Release()
	if err := s.Send(m, nil, len(body) == 0, true); err != nil {
		return "", "", "", err
	}
	sent := make(chan error, 1)
	go func() { // ends with the body
		if len(body) > 0 {
			if err := s.Body(body, false, true); err != nil {
				sent <- err
				return
			}
			sent <- s.End(nil)
			return
		}
		sent <- nil
	}()
	defer func() { <-sent }()
	text, err := s.Head(time.Time{})
	if err != nil {
		return "", "", "", err
	}
	head = string(text)
	var all bytes.Buffer
	for {
		part, err := s.Next(time.Time{})
		if err == io.EOF {
			return head, all.String(), string(s.Trailers()), nil
		}
		if err != nil {
			return head, all.String(), "", err
		}
		all.Write(part)
	}
}

// Many exchanges share a connection, with bodies beyond all windows.
func TestExchanges(t *testing.T) {
	addr := serving(t, http2.Options{Serve: echo})
	c := client(t, addr)
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			for k := range 10 {
				path := fmt.Sprintf("/%d/%d", i, k)
				body := bytes.Repeat([]byte{byte(i)}, i*k*3000)
				head, answer, rear, err := exchange(c, get(path), body)
				if err != nil || answer != string(body) || rear != "x-end: "+path+"\r\n" || !strings.Contains(head, "x-path: "+path+"\r\n") {
					t.Errorf("%s: %q, %d of %d bytes, %q, %v", path, head, len(answer), len(body), rear, err)
				}
			}
		})
	}
	all.Wait()
}

// The client of package net/http is understood.
func TestNeighbourClient(t *testing.T) {
	addr := serving(t, http2.Options{Serve: echo})
	tr := &http.Transport{Protocols: unencrypted()}
	defer tr.CloseIdleConnections()
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			body := strings.Repeat("x", i*50000)
			r, err := tr.RoundTrip(must(http.NewRequest("POST", fmt.Sprintf("http://%s/%d", addr, i), strings.NewReader(body))))
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Body.Close()
			got, err := io.ReadAll(r.Body)
			if err != nil || string(got) != body || r.Trailer.Get("X-End") != fmt.Sprintf("/%d", i) {
				t.Errorf("%d: %d bytes, %v, %v", i, len(got), r.Trailer, err)
			}
		})
	}
	all.Wait()
}

// The server of package net/http is understood.
func TestNeighbourServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Protocols: unencrypted(), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-End")
		w.Header().Set("X-Path", r.URL.Path)
		io.Copy(w, r.Body)
		w.Header().Set("X-End", r.URL.Path)
	})}
	var all sync.WaitGroup
	all.Go(func() { server.Serve(l) }) // ends with the test
	t.Cleanup(all.Wait)
	t.Cleanup(func() { server.Close() })
	c := client(t, l.Addr().String())
	var some sync.WaitGroup
	for i := range 20 {
		some.Go(func() {
			m := get(fmt.Sprintf("/%d", i))
			m.control[0][1] = "POST"
			body := bytes.Repeat([]byte{'y'}, i*50000)
			head, answer, rear, err := exchange(c, m, body)
			if err != nil || answer != string(body) || !strings.HasPrefix(head, "HTTP/1.1 200 \r\n") || rear != fmt.Sprintf("x-end: /%d\r\n", i) {
				t.Errorf("%d: %q, %d bytes, %q, %v", i, head, len(answer), rear, err)
			}
		})
	}
	some.Wait()
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func unencrypted() *http.Protocols {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return p
}

// Who waits for a peer to take what is sent waits no longer than was said, however patient the connection is.
func TestSendBy(t *testing.T) {
	over := make(chan struct{})
	addr := serving(t, http2.Options{Serve: func(*http2.Stream) { <-over }})
	defer close(over)
	s, err := client(t, addr).Open()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Release()
	begun := time.Now()
	s.SendBy(begun.Add(200 * time.Millisecond))
	if err := s.Send(get("/"), make([]byte, 1<<20), true, true); !errors.Is(err, os.ErrDeadlineExceeded) { // more than a window
		t.Errorf("sending ended with %v", err)
	}
	if took := time.Since(begun); took < 200*time.Millisecond || took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}

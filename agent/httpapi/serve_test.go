package httpapi_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/agent/httpapi"
	"github.com/curia-mesh/curia/rpc/memnet"
)

// Connections whose client is slow end in time, wherever it is slow; others live on.
func TestSlowClients(t *testing.T) {
	const head = "PUT / HTTP/1.1\r\nHost: s\r\nContent-Length: 200000\r\n\r\n"
	for what, c := range map[string]struct {
		sent string
		read bool // whether the handler reads the body
		ends time.Duration
	}{
		"says nothing":            {"", true, 10 * time.Second},
		"half a head":             {"PUT / HTTP/1.1\r\nHos", true, 10 * time.Second},
		"no body":                 {head, true, 30 * time.Second},
		"no body, not wanted":     {head, false, 30 * time.Second},
		"half a body":             {head + strings.Repeat("x", 70000), true, 30 * time.Second},
		"chunks without an end":   {strings.Replace(head, "Content-Length: 200000", "Transfer-Encoding: chunked", 1) + "1\r\nx\r\n", true, 30 * time.Second},
		"nothing after an answer": {strings.Replace(head, "200000", "1", 1) + "x", true, 2 * time.Minute},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				network := memnet.New(1)
				l, err := network.Host("s").Listen(80)
				if err != nil {
					t.Fatal(err)
				}
				ctx, stop := context.WithCancel(t.Context())
				done := make(chan error)
				handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if c.read {
						if _, err := io.ReadAll(r.Body); err != nil {
							http.Error(w, err.Error(), http.StatusBadRequest)
						}
					}
				})
				go func() { done <- httpapi.Serve(ctx, l, handler, 0, time.Second, slog.New(slog.DiscardHandler)) }()
				conn, err := network.Host("c").Dial(ctx, "tcp", "s:80")
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				start := time.Now()
				fmt.Fprint(conn, c.sent)
				io.Copy(io.Discard, conn)
				if took := time.Since(start); took < c.ends || took > c.ends+2*time.Second {
					t.Errorf("the connection ended after %v, want %v", took, c.ends)
				}
				stop()
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A body that comes slowly and steadily is taken, and a handler may then take its time.
func TestSteadyBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New(1)
		l, err := network.Host("s").Listen(80)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			select {
			case <-time.After(10 * time.Minute):
			case <-r.Context().Done():
			}
			fmt.Fprint(w, len(body), err, r.Context().Err())
		})
		go func() { done <- httpapi.Serve(ctx, l, handler, 0, time.Second, slog.New(slog.DiscardHandler)) }()
		conn, err := network.Host("c").Dial(ctx, "tcp", "s:80")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, "PUT / HTTP/1.1\r\nHost: s\r\nConnection: close\r\nContent-Length: 655360\r\n\r\n")
		for range 10 {
			time.Sleep(29 * time.Second) // of the bubble's clock
			fmt.Fprint(conn, strings.Repeat("x", 64<<10))
		}
		reply, err := io.ReadAll(conn)
		if err != nil || !strings.HasSuffix(string(reply), "655360 <nil> <nil>") {
			t.Errorf("%v: %s", err, reply)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// Clients that do not take their answer lose it, wherever they stop and however it is sent; who takes it
// slowly and steadily gets it.
func TestSlowReaders(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	for what, c := range map[string]struct {
		handle func(w http.ResponseWriter, r *http.Request)
		pace   time.Duration // between reads of 64 KiB; 0 is no read at all
		ends   time.Duration // 0 is that the whole answer arrives
	}{
		"never reads":  {func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, long) }, 0, 30 * time.Second},
		"reads slowly": {func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, long) }, 20 * time.Second, 0},
		"after a wait": {func(w http.ResponseWriter, r *http.Request) { time.Sleep(time.Hour); io.WriteString(w, long) }, 0, time.Hour + 30*time.Second},
		"a stream that is not read": {func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := io.WriteString(w, long[:1000]); err != nil {
					return
				}
				w.(http.Flusher).Flush()
			}
		}, 0, 30 * time.Second},
		"a stream with pauses": {func(w http.ResponseWriter, r *http.Request) {
			for part := range slices.Chunk([]byte(long), 1<<18) {
				time.Sleep(time.Hour)
				w.Write(part)
				w.(http.Flusher).Flush()
			}
		}, time.Second, 0},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				network := memnet.New(1)
				l, err := network.Host("s").Listen(80)
				if err != nil {
					t.Fatal(err)
				}
				ctx, stop := context.WithCancel(t.Context())
				done, handled := make(chan error), make(chan time.Duration, 1)
				start := time.Now()
				handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					defer func() { handled <- time.Since(start) }()
					c.handle(w, r)
				})
				go func() { done <- httpapi.Serve(ctx, l, handler, 0, time.Second, slog.New(slog.DiscardHandler)) }()
				conn, err := network.Host("c").Dial(ctx, "tcp", "s:80")
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: s\r\nConnection: close\r\n\r\n")
				got := 0
				for part := make([]byte, 64<<10); c.pace > 0; time.Sleep(c.pace) {
					n, err := io.ReadFull(conn, part)
					if got += n; err != nil {
						break
					}
				}
				if c.pace > 0 && got < len(long) {
					t.Errorf("%d of %d bytes arrived", got, len(long))
				}
				if took := <-handled; c.ends > 0 && (took < c.ends || took > c.ends+time.Second) {
					t.Errorf("the handler ended after %v, want %v", took, c.ends)
				}
				stop()
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// What is under way when the server ends may finish.
func TestEndLetsFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New(1)
		l, err := network.Host("s").Listen(80)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(900 * time.Millisecond)
			fmt.Fprint(w, "done ", r.Context().Err())
		})
		go func() { done <- httpapi.Serve(ctx, l, handler, 0, time.Second, slog.New(slog.DiscardHandler)) }()
		conn, err := network.Host("c").Dial(ctx, "tcp", "s:80")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: s\r\n\r\n")
		synctest.Wait()
		stop()
		if reply, err := io.ReadAll(conn); err != nil || !strings.HasSuffix(string(reply), "done <nil>") {
			t.Errorf("%v: %s", err, reply)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

//go:build unix

package http1_test

import (
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"
)

var pong = []byte(`[{"LockIndex":0,"Key":"bench/0001","Flags":0,"Value":"eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4","CreateIndex":12,"ModifyIndex":12}]`)

// BenchmarkServers compares what a short answer costs both ends here and with net/http, on real sockets.
func BenchmarkServers(b *testing.B) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h["Content-Type"] = []string{"application/json"}
		h["X-Consul-Index"] = []string{"12"}
		w.Write(pong)
	})
	for name, serve := range map[string]func(l net.Listener) error{
		"http1": func(l net.Listener) error { return server(handler).Serve(l) },
		"std":   func(l net.Listener) error { return http.Serve(l, handler) },
	} {
		b.Run(name, func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			go serve(l)
			b.ReportAllocs()
			start := used()
			b.SetParallelism(16)
			b.RunParallel(func(p *testing.PB) {
				conn, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					b.Error(err)
					return
				}
				defer conn.Close()
				in := make([]byte, 4096)
				for p.Next() {
					io.WriteString(conn, "GET /v1/kv/bench/0001 HTTP/1.1\r\nHost: 127.0.0.1:8500\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n")
					if n, err := conn.Read(in); err != nil || n < len(pong) {
						b.Error(n, err)
						return
					}
				}
			})
			b.ReportMetric(float64(used()-start)/float64(b.N)/1e3, "cpu-µs/op")
		})
	}
}

// used is the processor time of this process.
func used() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

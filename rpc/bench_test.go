package rpc_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/curia-mesh/curia/rpc"
)

// BenchmarkCalls is 200 B of request and 1 KiB of answer over one mTLS connection, both ends in one process.
func BenchmarkCalls(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(strconv.Itoa(callers), func(b *testing.B) {
			ca := newAuthority(b)
			answer := &reply{Bytes: make([]byte, 1024)}
			l, _ := serve(b, rpc.ServerOptions{Handler: func(context.Context, rpc.Peer, *rpc.Call) (rpc.Answer, error) {
				return rpc.Answer{Meta: rpc.Meta{Index: 7, KnownLeader: true}, Body: rpc.NewBody(answer, nil)}, nil
			}}, ca.serving("server"))
			target := pool(b, rpc.PoolOptions{Conns: 1, Dialer: ca.dialing("client")}).To(l.Addr().String())
			req := &request{Bytes: make([]byte, 200)}
			var n atomic.Int64
			var wg sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			for range callers {
				wg.Go(func() {
					for n.Add(1) <= int64(b.N) {
						if _, _, err := echo.Call(b.Context(), target, rpc.Header{Datacenter: "dc1"}, req); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
		})
	}
}

// BenchmarkParked is the server's memory for a call that waits, 20,000 of them on one connection, and the time
// to wake and answer all.
func BenchmarkParked(b *testing.B) {
	const calls = 20000
	var parked sync.WaitGroup
	var wake chan struct{}
	shared := rpc.NewBody(&reply{Bytes: make([]byte, 1024)}, nil)
	l, _ := serve(b, rpc.ServerOptions{Handler: func(context.Context, rpc.Peer, *rpc.Call) (rpc.Answer, error) {
		parked.Done()
		<-wake
		return rpc.Answer{Body: shared}, nil
	}}, rpc.ListenerOptions{})
	c, err := net.Dial("tcp", l.Addr().String())
	must(b, err)
	defer c.Close()
	c.Write([]byte{1})
	payload := callPayload("Health.ServiceNodes", make([]byte, 200))
	for range b.N {
		wake = make(chan struct{})
		parked.Add(calls)
		before := inUse()
		for id := range uint64(calls) {
			c.Write(frame(kindCall, id, payload))
		}
		parked.Wait()
		b.ReportMetric(float64(inUse()-before)/calls, "B/call")
		start := time.Now()
		close(wake)
		header := make([]byte, 13)
		for n := 0; n < calls; {
			_, err := io.ReadFull(c, header)
			must(b, err)
			if header[4] == kindAnswer {
				n++
			}
			_, err = io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint32(header))-9)
			must(b, err)
		}
		b.ReportMetric(float64(time.Since(start).Milliseconds()), "ms-to-answer-all")
	}
}

func inUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

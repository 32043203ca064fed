package rpc_test

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/curia-mesh/curia/rpc"
)

type benchReply struct{ Value []byte }

// BenchmarkCalls is 200 B of request and 1 KiB of answer over one mTLS connection, both ends in one process.
func BenchmarkCalls(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(map[int]string{1: "1", 64: "64"}[callers], func(b *testing.B) {
			ca := newAuthority(b)
			value := make([]byte, 1024)
			l, _ := serve(b, rpc.ServerOptions{Handler: func(_ context.Context, _ rpc.Peer, call *rpc.Call) (rpc.Answer, error) {
				return rpc.Answer{Meta: rpc.Meta{Index: 7, KnownLeader: true}, Body: rpc.NewBody(&benchReply{value}, nil)}, nil
			}}, ca.serving("server"))
			p := pool(b, rpc.PoolOptions{Conns: 1, Dialer: ca.dialing("client")})
			method := rpc.Method[benchReply, benchReply]{Name: "KV.Get"}
			target := p.To(l.Addr().String())
			req := &benchReply{make([]byte, 200)}
			var n atomic.Int64
			var wg sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			for range callers {
				wg.Go(func() {
					for n.Add(1) <= int64(b.N) {
						if _, _, err := method.Call(b.Context(), target, rpc.Header{Datacenter: "dc1"}, req); err != nil {
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

// BenchmarkParked is the memory of both ends for a call that waits, and the time to wake and answer all.
func BenchmarkParked(b *testing.B) {
	const calls = 10000
	wake := make(chan struct{})
	var parked sync.WaitGroup
	shared := rpc.NewBody(&benchReply{make([]byte, 1024)}, nil)
	l, _ := serve(b, rpc.ServerOptions{Handler: func(ctx context.Context, _ rpc.Peer, call *rpc.Call) (rpc.Answer, error) {
		parked.Done()
		<-wake
		return rpc.Answer{Body: shared}, nil
	}}, rpc.ListenerOptions{})
	p := pool(b, rpc.PoolOptions{Conns: 1})
	target := p.To(l.Addr().String())
	for range b.N {
		wake = make(chan struct{})
		before := heap()
		parked.Add(calls)
		var wg sync.WaitGroup
		for range calls {
			wg.Go(func() {
				if _, err := target.Call(b.Context(), &rpc.Call{Method: "Health.Service", Body: rpc.Raw{0xc0}}); err != nil {
					b.Error(err)
				}
			})
		}
		parked.Wait()
		b.ReportMetric(float64(heap()-before)/calls, "B/call-both-ends")
		start := time.Now()
		close(wake)
		wg.Wait()
		b.ReportMetric(float64(time.Since(start).Milliseconds()), "ms-wake-all")
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

package local

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
)

// slow is servers whose log takes 0.4 ms.
type slow struct{ calls atomic.Int64 }

func (s *slow) Call(_ context.Context, call *rpc.Call) (rpc.Answer, error) {
	if call.Method != api.Sync.Name {
		return rpc.Answer{}, catalog.Errorf(catalog.Unavailable, "not now")
	}
	s.calls.Add(1)
	for begin := time.Now(); time.Since(begin) < 400*time.Microsecond; { // a sleep would take a millisecond
		runtime.Gosched()
	}
	return rpc.Answer{Body: rpc.NewBody(&api.Nothing{}, nil)}, nil
}

func BenchmarkRegister(b *testing.B) {
	for _, clients := range []int{1, 64} {
		for _, kept := range []bool{false, true} {
			b.Run(fmt.Sprintf("clients=%d,disk=%v", clients, kept), func(b *testing.B) { benchmarkRegister(b, clients, kept) })
		}
	}
}

func benchmarkRegister(b *testing.B, clients int, kept bool) {
	cfg := testConfig("")
	if kept {
		cfg.DataDir = b.TempDir()
	}
	c := &slow{}
	s, err := New(cfg, c, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = s.Run(ctx) }()
	b.SetParallelism((clients + 1) / 2) // of 2 cores
	var next atomic.Int64
	b.ReportAllocs()
	b.ResetTimer()
	register := func() {
		def := &catalog.ServiceDefinition{ID: fmt.Sprint("web-", next.Add(1)), Name: "web", Port: 80, Address: "10.0.0.1", Tags: []string{"a", "b"}, Check: ttlCheck("", time.Hour)}
		if err := s.Register(ctx, def, Options{}); err != nil {
			b.Error(err)
		}
	}
	if clients == 1 {
		for b.Loop() {
			register()
		}
	} else {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				register()
			}
		})
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "register/s")
	b.ReportMetric(float64(b.N)/float64(c.calls.Load()), "register/call")
	cancel()
	<-ended
}

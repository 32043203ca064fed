package watch_test

import (
	"testing"

	"github.com/curia-mesh/curia/agent/watch"
	"github.com/curia-mesh/curia/rpc"
)

func BenchmarkHit(b *testing.B) {
	s := newServers()
	s.local, s.stale = true, make(chan struct{})
	c := watch.New(watch.Options{Caller: s})
	q := &question{"web"}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			watch.Get(b.Context(), c, read, rpc.Header{Token: "secret"}, q)
		}
	})
}

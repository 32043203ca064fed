package fsm_test

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/fsm"
)

// fleet returns the log entries that register nodes with services each, in transactions of 64 operations.
func fleet(t testing.TB, c *cluster, nodes, services int) [][]byte {
	var ops []api.TxnOp
	var entries [][]byte
	add := func(op api.TxnOp) {
		if ops = append(ops, op); len(ops) == 64 {
			entries = append(entries, c.entry(t, api.TxnApply.Name, &api.TxnRequest{Ops: ops}))
			ops = nil
		}
	}
	for n := range nodes {
		name := fmt.Sprintf("node-%05d", n)
		add(api.TxnOp{Node: &api.TxnNode{Verb: api.TxnSet, Node: catalog.Node{
			Node: name, ID: fmt.Sprintf("9e0e0bd1-0000-4000-8000-%012d", n), Address: fmt.Sprintf("10.0.%d.%d", n/250, n%250),
			Meta: map[string]string{"rack": fmt.Sprint("r", n%40)},
		}}})
		for s := range services {
			add(api.TxnOp{Service: &api.TxnService{Verb: api.TxnSet, Node: name, Service: catalog.Service{
				ID: fmt.Sprintf("svc-%d-%d", (n*services+s)%500, s), Service: fmt.Sprintf("svc-%d", (n*services+s)%500),
				Port: 8000 + s, Tags: []string{"v1", "primary"}, Meta: map[string]string{"version": "1.2.3"},
			}}})
		}
	}
	if len(ops) > 0 {
		entries = append(entries, c.entry(t, api.TxnApply.Name, &api.TxnRequest{Ops: ops}))
	}
	return entries
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkFleet loads 10,000 nodes with 5 services each, saves and restores them.
func BenchmarkFleet(b *testing.B) {
	const nodes, services, instances = 10_000, 5, 50_000
	for b.Loop() {
		c := newCluster()
		entries := fleet(b, c, nodes, services)
		before := heap()
		start := time.Now()
		for i := 0; i < len(entries); i += 16 {
			for _, out := range c.batch(b, entries[i:min(i+16, len(entries))]) {
				if err := out.(fsm.Outcome).Err; err != nil {
					b.Fatal(err)
				}
			}
		}
		loaded := time.Since(start)
		b.ReportMetric(float64(loaded.Nanoseconds())/instances, "ns/instance")
		b.ReportMetric((float64(heap())-float64(before))/instances, "B/instance")

		var saved bytes.Buffer
		saved.Grow(64 << 20)
		start = time.Now()
		if err := fsm.Save(&saved, c.store.Read(), c.fsm.Applied()); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(start).Seconds()*1000, "ms/save")
		b.ReportMetric(float64(saved.Len())/instances, "B-saved/instance")

		fresh := state.New()
		before = heap()
		start = time.Now()
		if _, _, err := fsm.Load(bytes.NewReader(saved.Bytes()), fresh); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(start).Seconds()*1000, "ms/restore")
		b.ReportMetric((float64(heap())-float64(before))/instances, "B-restored/instance")
		runtime.KeepAlive(fresh)
		runtime.KeepAlive(saved.Bytes())
		runtime.KeepAlive(c)
		runtime.KeepAlive(entries)
	}
}

// BenchmarkPut applies writes of 128 bytes to 10,000 keys.
func BenchmarkPut(b *testing.B) {
	for _, size := range []int{1, 64} {
		b.Run(fmt.Sprint("batch=", size), func(b *testing.B) {
			c := newCluster()
			var logs []*raft.Log
			for i := range 10_000 {
				pair := catalog.KVPair{Key: fmt.Sprintf("app/config/key-%04d", i*7919%10_000), Value: bytes.Repeat([]byte{byte(i)}, 128)}
				logs = append(logs, &raft.Log{Data: c.entry(b, api.KVApply.Name, &api.KVWrite{Op: api.KVSet, Pair: pair})})
			}
			index, at := uint64(0), 0
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; n += size {
				batch := make([]*raft.Log, size)
				for i := range batch {
					index++
					batch[i] = &raft.Log{Index: index, Data: logs[at].Data}
					at = (at + 1) % len(logs)
				}
				if at < size { // values must differ the second time around
					c.wipe(b)
				}
				c.fsm.ApplyBatch(batch)
			}
		})
	}
}

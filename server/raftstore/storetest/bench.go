package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// BenchmarkStoreLogs appends entries of 200 bytes to a real file, compacting
// as raft does. syncs tells how many there were so far.
func BenchmarkStoreLogs(b *testing.B, open Opener, syncs func(OpenStore) uint64) {
	for _, n := range []int{1, 64} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := open.must(b, b.TempDir())
			defer s.Close()
			logs := make([]*raft.Log, n)
			data, now, last := make([]byte, 200), time.Now(), uint64(0)
			b.ReportAllocs()
			for b.Loop() {
				for i := range logs {
					last++
					logs[i] = &raft.Log{Index: last, Term: 1, Data: data, AppendedAt: now}
				}
				if err := s.StoreLogs(logs); err != nil {
					b.Fatal(err)
				}
				if last%20_000 < uint64(n) && last > 10_000 {
					if err := s.DeleteRange(1, last-10_000); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(syncs(s))/float64(b.N), "fsyncs/op")
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}

// BenchmarkGetLog reads entries from a store that has none in memory.
func BenchmarkGetLog(b *testing.B, open Opener) {
	s := open.must(b, b.TempDir())
	defer s.Close()
	var logs []*raft.Log
	for i := uint64(1); i <= 1000; i++ {
		logs = append(logs, Entry(i, 1, 200))
	}
	if err := s.StoreLogs(logs); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	var l raft.Log
	for i := uint64(0); b.Loop(); i++ {
		if err := s.GetLog(1+i%1000, &l); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen opens a store with 20,000 entries of 200 bytes.
func BenchmarkOpen(b *testing.B, open Opener) {
	dir := b.TempDir()
	s := open.must(b, dir)
	for last := uint64(0); last < 20_000; {
		var logs []*raft.Log
		for range 1000 {
			last++
			logs = append(logs, Entry(last, 1, 200))
		}
		if err := s.StoreLogs(logs); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := open.must(b, dir).Close(); err != nil {
			b.Fatal(err)
		}
	}
}

package raftstore

import (
	"testing"

	"github.com/curia-mesh/curia/server/raftstore/storetest"
)

func openDefault(dir string) (storetest.OpenStore, error)  { return Open(dir, Options{}) }
func openUncached(dir string) (storetest.OpenStore, error) { return Open(dir, Options{CacheBytes: -1}) }

func BenchmarkStoreLogs(b *testing.B) {
	storetest.BenchmarkStoreLogs(b, openDefault, func(s storetest.OpenStore) uint64 { return s.(*Store).Stats().Syncs })
}

func BenchmarkGetLog(b *testing.B) { storetest.BenchmarkGetLog(b, openUncached) }

func BenchmarkOpen(b *testing.B) { storetest.BenchmarkOpen(b, openDefault) }

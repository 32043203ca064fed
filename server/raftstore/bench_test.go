package raftstore

import (
	"testing"

	"github.com/curia-mesh/curia/server/raftstore/storetest"
)

func openUncached(dir string) (storetest.OpenStore, error) { return Open(dir, Options{CacheBytes: -1}) }

func BenchmarkStoreLogs(b *testing.B) {
	storetest.BenchmarkStoreLogs(b, openUncached, func(s storetest.OpenStore) uint64 { return s.(*Store).Stats().Syncs })
}

func BenchmarkGetLog(b *testing.B) { storetest.BenchmarkGetLog(b, openUncached) }

package boltstore

import (
	"testing"

	"github.com/curia-mesh/curia/server/raftstore/storetest"
)

func openDefault(dir string) (storetest.OpenStore, error) { return Open(dir, Options{}) }

func BenchmarkStoreLogs(b *testing.B) {
	storetest.BenchmarkStoreLogs(b, openDefault, func(s storetest.OpenStore) uint64 { return s.(*Store).Stats().Syncs })
}

func BenchmarkGetLog(b *testing.B) { storetest.BenchmarkGetLog(b, openDefault) }

func BenchmarkOpen(b *testing.B) { storetest.BenchmarkOpen(b, openDefault) }

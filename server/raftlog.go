package server

import (
	"context"
	"path/filepath"
	"time"

	metrics "github.com/hashicorp/go-metrics"

	"github.com/curia-mesh/curia/rpc/cores"
	"github.com/curia-mesh/curia/server/boltstore"
	"github.com/curia-mesh/curia/server/raftstore"
)

// LogConfig says where Raft keeps its log on disk.
type LogConfig struct {
	// Backend is "wal", which is the default, or "boltdb". When the log is in the other one it is
	// converted at the start.
	Backend string
	// SegmentSize of the WAL in bytes; 0 is its default.
	SegmentSize int64
	// NoFreelistSync is for boltdb: less to write, more to read at the start.
	NoFreelistSync bool
	// VerifyInterval is how often the whole log is read and its checksums are compared; 0 is never.
	VerifyInterval time.Duration
	// Wrap, if set, puts something before the log, for fault tests.
	Wrap func(raftstore.Log) raftstore.Log
}

// Names of the backends, which are those of their directories and metrics.
const (
	backendWAL  = "wal"
	backendBolt = "boltdb"
)

// openLog opens the log below dir in the backend that is wanted.
func openLog(dir string, cfg Config) (raftstore.Log, error) {
	wal := raftstore.Backend{Name: backendWAL, Open: func(dir string) (raftstore.Log, error) {
		return raftstore.Open(dir, raftstore.Options{SegmentSize: cfg.LogStore.SegmentSize, Logger: cfg.Log, Observer: observe(backendWAL, cfg.Cores)})
	}}
	bolt := raftstore.Backend{Name: backendBolt, Open: func(dir string) (raftstore.Log, error) {
		return boltstore.Open(dir, boltstore.Options{NoFreelistSync: cfg.LogStore.NoFreelistSync, Logger: cfg.Log, Observer: observe(backendBolt, cfg.Cores)})
	}}
	dir = filepath.Join(dir, "log")
	if cfg.LogStore.Backend == backendBolt {
		return raftstore.OpenBackend(dir, bolt, wal)
	}
	return raftstore.OpenBackend(dir, wal, bolt)
}

// observe measures each write to the log.
func observe(backend string, g *cores.Governor) raftstore.Observer {
	times, bytes := []string{"raft", backend, "append"}, []string{"raft", backend, "bytes"}
	return func(_, n int, took time.Duration) {
		metrics.AddSample(times, float32(took.Microseconds())/1000)
		metrics.IncrCounter(bytes, float32(n))
		g.Wrote()
	}
}

// verifyLog reads the whole log from time to time, so that damage is known before the entries are needed.
func (s *Server) verifyLog(ctx context.Context) error {
	every := s.cfg.LogStore.VerifyInterval
	if every <= 0 || s.raft.disk == nil {
		return nil
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		entries, err := raftstore.Verify(ctx, s.raft.disk)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			metrics.IncrCounter([]string{"raft", "logstore", "verifier", "read_checksum_failures"}, 1)
			s.log.Error("the raft log is damaged: take this server out of the cluster and let it join anew", "err", err)
		default:
			s.log.Debug("raft log verified", "entries", entries)
		}
	}
}

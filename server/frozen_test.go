package server_test

import (
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/curia-mesh/curia/server"
	"github.com/curia-mesh/curia/server/raftstore"
)

// frozen is a log whose disk hangs from some moment on.
type frozen struct {
	raftstore.Log
	mu     sync.Mutex
	thawed chan struct{} // nil while the disk works
	since  time.Time
}

func (f *frozen) freeze() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.thawed = make(chan struct{})
}

// StoreLogs implements raft.LogStore.
func (f *frozen) StoreLogs(logs []*raft.Log) error {
	f.mu.Lock()
	thawed := f.thawed
	if thawed != nil {
		f.since = time.Now()
	}
	f.mu.Unlock()
	if thawed != nil {
		<-thawed
	}
	return f.Log.StoreLogs(logs)
}

// StoreLog implements raft.LogStore.
func (f *frozen) StoreLog(log *raft.Log) error { return f.StoreLogs([]*raft.Log{log}) }

// Stats implements raftstore.Log.
func (f *frozen) Stats() raftstore.Stats {
	stats := f.Log.Stats()
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.since.IsZero() {
		stats.Writing = time.Since(f.since)
	}
	return stats
}

// A leader whose disk hangs is replaced, and ends, though its heartbeats would go on.
func TestLeaderWithAFrozenDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("a disk that hangs is told from a slow one by time")
	}
	var mu sync.Mutex
	logs := map[string]*frozen{}
	c := newCluster()
	var nodes []*node
	for i := range 3 {
		nodes = append(nodes, c.start(t, i+1, 3, func(c *server.Config) {
			name := c.NodeName
			c.RaftMultiplier = 1
			c.LogStore.Wrap = func(log raftstore.Log) raftstore.Log {
				mu.Lock()
				defer mu.Unlock()
				logs[name] = &frozen{Log: log}
				return logs[name]
			}
		}))
	}
	l := leader(t, nodes...)
	rest := followers(nodes, l)
	put(t, rest[0].Server, "k", "1")
	l.fails = "a write has hung for"
	disk := logs[l.cfg.NodeName]
	disk.freeze()
	go func() { _ = write(l.Server, "k", "hangs") }() // ends with the server
	l.log.wait(t, "a write to the raft log hangs")
	for write(rest[0].Server, "k", "2") != nil { // those that the old leader had taken fail, and nobody knows whether they count
	}
	if got, _ := get(t, rest[1].Server, "k"); got != "2" {
		t.Errorf("k = %q", got)
	}
	leader(t, rest...)
	close(disk.thawed)
	l.stop()
}

package raftstore

import (
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// counters are the moving parts of Stats.
type counters struct {
	appends, entriesWritten, entryBytesWritten atomic.Uint64
	bytesWritten, syncs                        atomic.Uint64
	entriesRead, entryBytesRead                atomic.Uint64
	headTruncated, tailTruncated               atomic.Uint64
	stableSets, stableGets                     atomic.Uint64

	writing atomic.Int64 // when the write in progress began, Unix ns; 0 is none
}

// appended counts a batch of entries.
func (c *counters) appended(logs []*raft.Log) {
	bytes := uint64(0)
	for _, l := range logs {
		bytes += uint64(len(l.Data) + len(l.Extensions))
	}
	c.appends.Add(1)
	c.entriesWritten.Add(uint64(len(logs)))
	c.entryBytesWritten.Add(bytes)
}

// read counts an entry that was read.
func (c *counters) read(l *raft.Log) {
	c.entriesRead.Add(1)
	c.entryBytesRead.Add(uint64(len(l.Data) + len(l.Extensions)))
}

// beginWrite starts the clock that a watchdog reads.
func (m *Memory) beginWrite() time.Time {
	start := time.Now()
	m.counts.writing.Store(start.UnixNano())
	return start
}

func (m *Memory) endWrite() { m.counts.writing.Store(0) }

// wrote counts a durable write and tells the observer.
func (m *Memory) wrote(entries, bytes, syncs int, took time.Duration) {
	m.counts.syncs.Add(uint64(syncs))
	m.counts.bytesWritten.Add(uint64(bytes))
	if m.observer != nil {
		m.observer(entries, bytes, took)
	}
}

// deleted counts what was cut off.
func (c *counters) deleted(old, left Bounds) {
	if left.Empty() {
		c.headTruncated.Add(old.Last - old.First + 1)
		return
	}
	c.headTruncated.Add(left.First - old.First)
	c.tailTruncated.Add(old.Last - left.Last)
}

// Stats are figures since Open; counts only grow.
type Stats struct {
	Appends           uint64 // StoreLogs calls that succeeded
	EntriesWritten    uint64
	EntryBytesWritten uint64 // data and extensions
	BytesWritten      uint64 // to the files, with all that the backend adds
	Syncs             uint64 // on the path of a caller
	EntriesRead       uint64 // GetLog calls that succeeded
	EntryBytesRead    uint64
	HeadTruncated     uint64 // entries deleted by compaction
	TailTruncated     uint64 // entries deleted as conflicting
	Rotations         uint64 // new segments begun
	StableSets        uint64
	StableGets        uint64

	FirstIndex, LastIndex uint64
	Segments              int           // files of the write-ahead log; else 0, as Rotations and SegmentAge
	SegmentAge            time.Duration // of the newest segment, since it was begun or opened
	SizeBytes             int64
	Writing               time.Duration // how long the write in progress has been running; 0 is none
}

// stats returns the figures that all backends have.
func (m *Memory) stats() Stats {
	c := &m.counts
	st := Stats{
		Appends: c.appends.Load(), EntriesWritten: c.entriesWritten.Load(),
		EntryBytesWritten: c.entryBytesWritten.Load(), BytesWritten: c.bytesWritten.Load(),
		Syncs: c.syncs.Load(), EntriesRead: c.entriesRead.Load(), EntryBytesRead: c.entryBytesRead.Load(),
		HeadTruncated: c.headTruncated.Load(), TailTruncated: c.tailTruncated.Load(),
		StableSets: c.stableSets.Load(), StableGets: c.stableGets.Load(),
	}
	if since := c.writing.Load(); since != 0 {
		st.Writing = max(1, time.Duration(time.Now().UnixNano()-since))
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	st.FirstIndex, st.LastIndex = m.bounds.First, m.bounds.Last
	return st
}

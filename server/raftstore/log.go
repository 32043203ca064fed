package raftstore

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sort"

	"github.com/hashicorp/raft"
)

// StoreLog is StoreLogs for one entry.
func (s *Store) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs appends entries and returns when they are durable. Their indexes
// must continue the log; an empty log may start anywhere. After a crash a
// prefix of a batch that was not acknowledged may be found. The store keeps
// references to Data and Extensions, which must not change afterwards.
func (s *Store) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	s.w.Lock()
	defer s.w.Unlock()
	if err := s.checkAppend(logs); err != nil {
		return err
	}
	size := int64(0)
	for _, l := range logs {
		size += frameSize(EntrySize(l))
	}
	if err := s.begin(size); err != nil {
		return err
	}
	b := &s.batch
	s.locations = s.locations[:0]
	for _, l := range logs {
		b.open()
		b.buf = AppendEntry(b.buf, l)
		s.locations = append(s.locations, b.close(kindEntry))
	}
	if err := s.flush(len(logs)); err != nil {
		return err
	}
	s.mu.Lock()
	s.extend(s.advance(), logs)
	s.kick()
	s.mu.Unlock()
	s.counts.appended(logs)
	return nil
}

// extend publishes entries that are durable at s.locations of seg. The caller
// holds w and mu.
func (s *Store) extend(seg *segment, logs []*raft.Log) {
	if s.bounds.Empty() {
		s.bounds.First = logs[0].Index
		for _, old := range s.segments {
			old.first, old.entries = s.bounds.First, nil
		}
	}
	if len(seg.entries) == 0 {
		seg.first = logs[0].Index
	}
	seg.entries = append(seg.entries, s.locations...)
	s.bounds.Last = logs[len(logs)-1].Index
	for _, l := range logs {
		s.tail.push(l)
	}
}

// DeleteRange deletes the entries from lo to hi, durably. They must reach an
// end of the log: what lies outside it is ignored, a hole is refused.
func (s *Store) DeleteRange(lo, hi uint64) error {
	s.w.Lock()
	defer s.w.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	old := s.bounds
	left, err := s.remainder(lo, hi)
	if err != nil || left == old {
		return err
	}
	if err := s.begin(frameSize(16)); err != nil {
		return err
	}
	s.batch.open()
	s.batch.buf = appendBounds(s.batch.buf, left)
	s.batch.close(kindBounds)
	if err := s.flush(0); err != nil {
		return err
	}
	s.mu.Lock()
	s.advance()
	s.cut(left)
	s.kick()
	s.mu.Unlock()
	s.counts.deleted(old, left)
	return nil
}

// cut forgets all entries outside left. The caller holds mu.
func (s *Store) cut(left Bounds) {
	s.bounds = left
	s.tail.cut(left)
	for _, seg := range s.segments {
		switch {
		case left.Empty():
			seg.entries = nil
		case seg.first > left.Last:
			seg.first, seg.entries = left.Last+1, nil
		default:
			keep := min(uint64(len(seg.entries)), left.Last+1-seg.first)
			seg.entries = seg.entries[:keep]
		}
	}
}

// GetLog reads the entry at index into l, or returns raft.ErrLogNotFound. What
// it returns shares memory with the store and must not be changed.
func (s *Store) GetLog(index uint64, l *raft.Log) error {
	s.mu.RLock()
	if err := s.contains(index); err != nil {
		s.mu.RUnlock()
		return err
	}
	cached := s.tail.get(index, l)
	var seg *segment
	var at location
	if !cached {
		seg, at = s.find(index)
		seg.readers.Add(1) // keeps the file while mu is not held
	}
	s.mu.RUnlock()
	if !cached {
		defer seg.readers.Done()
		if err := s.read(seg, at, index, l); err != nil {
			return fmt.Errorf("read raft log entry %d: %w", index, err)
		}
	}
	s.counts.read(l)
	return nil
}

// find returns where the entry at index, which is within bounds, lies. The
// caller holds mu.
func (s *Store) find(index uint64) (*segment, location) {
	i := sort.Search(len(s.segments), func(i int) bool { return s.segments[i].first > index }) - 1
	seg := s.segments[i]
	return seg, seg.entries[index-seg.first]
}

// read reads and verifies one entry.
func (s *Store) read(seg *segment, at location, index uint64, l *raft.Log) error {
	buf := make([]byte, frameHeaderSize+int(at.length))
	off := int64(at.off)
	if _, err := seg.file.ReadAt(buf, off); errors.Is(err, io.EOF) {
		return corrupt(s.path(seg.name), off, "the file ends inside the entry")
	} else if err != nil {
		return err
	}
	h, ok := parseFrameHeader(buf, seg, off)
	payload := buf[frameHeaderSize:]
	if !ok || h.kind != kindEntry || h.length != int64(len(payload)) || h.payloadCRC != crc32.Checksum(payload, castagnoli) {
		return corrupt(s.path(seg.name), off, "the entry at index %d fails its checksum", index)
	}
	if !DecodeEntry(payload, l) || l.Index != index {
		return corrupt(s.path(seg.name), off, "the entry at index %d does not decode", index)
	}
	return nil
}

package raftstore

import (
	"errors"
	"fmt"
	"time"
)

// keepBuffer is the largest batch buffer kept for the next write.
const keepBuffer = 1 << 20

// begin starts a batch with room for size bytes of frames, in the next segment
// if this one is full. The caller holds w.
func (s *Store) begin(size int64) error {
	if err := s.usable(); err != nil {
		return err
	}
	seg := s.active
	if seg.end+size+frameSize(0) <= seg.size {
		s.batch.reset(seg, seg.end, size)
		return nil
	}
	next, err := s.takeNext()
	if err != nil {
		return s.fail(segmentName(seg.seq+1), fmt.Errorf("create the next segment: %w", err))
	}
	s.beginSegment(next, seg.end, size)
	return nil
}

// beginSegment starts the first batch of seg, with the state frame that lets
// older segments go.
func (s *Store) beginSegment(seg *segment, prevEnd, size int64) {
	st := state{bounds: s.bounds, prevEnd: prevEnd, stable: s.stable}
	s.batch.reset(seg, seg.end, size+frameSize(stateSize(st)))
	s.batch.open()
	s.batch.buf = appendState(s.batch.buf, st)
	s.batch.close(kindState)
}

// flush makes the batch durable with one write and one sync, then leaves the
// mark behind it. After an error the batch may or may not be on disk, and the
// store takes no more writes: a second fsync could succeed without having
// written what the first one dropped.
func (s *Store) flush(entries int) error {
	b := &s.batch
	start := s.beginWrite()
	defer s.endWrite()
	_, err := b.seg.file.WriteAt(b.buf, b.start)
	if err == nil {
		err = b.seg.file.Sync()
	}
	took := time.Since(start)
	if err == nil {
		err = s.writeMark(b.seg, b.start+int64(len(b.buf)))
	}
	if err != nil {
		return s.fail(b.seg.name, err)
	}
	s.wrote(entries, len(b.buf)+len(s.mark.buf), 1, took)
	return nil
}

// writeMark writes the mark at off without a sync: it reaches the disk with
// the next batch, at Close, or when the kernel writes the page back.
func (s *Store) writeMark(seg *segment, off int64) error {
	s.mark.reset(seg, off, frameSize(0))
	s.mark.open()
	s.mark.close(kindMark)
	_, err := seg.file.WriteAt(s.mark.buf, off)
	return err
}

// advance moves the end of the log behind the flushed batch, switching to its
// segment if that is new. The caller holds w and mu.
func (s *Store) advance() *segment {
	b := &s.batch
	seg := b.seg
	if seg != s.active {
		seg.first = s.bounds.Last + 1
		s.active, s.segments = seg, append(s.segments, seg)
		s.next, s.nextErr = nil, nil
		s.rotations.Add(1)
		s.rotated.Store(time.Now().UnixNano())
	}
	seg.end = b.start + int64(len(b.buf))
	seg.size = max(seg.size, seg.end+frameSize(0))
	if cap(b.buf) > keepBuffer {
		b.buf = nil
	}
	return seg
}

// takeNext returns the segment made in advance, waiting for it if it is being
// made, or makes it. The caller holds w.
func (s *Store) takeNext() (*segment, error) {
	s.mu.Lock()
	for s.busy && s.next == nil {
		s.idle.Wait()
	}
	next := s.next
	s.mu.Unlock()
	if next != nil {
		return next, nil
	}
	next, err := s.newSegment(s.active.seq + 1)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.next = next
	s.mu.Unlock()
	return next, nil
}

// kick starts maintain if there is work for it. The caller holds w and mu.
func (s *Store) kick() {
	if s.busy || s.closed || s.err != nil || !s.disposable() && (s.next != nil || s.nextErr != nil) {
		return
	}
	s.busy = true
	s.bg.Add(1)
	go s.maintain()
}

// disposable says whether the oldest segment holds nothing of the log any
// more. The caller holds mu.
func (s *Store) disposable() bool {
	if len(s.segments) < 2 {
		return false
	}
	seg := s.segments[0]
	return len(seg.entries) == 0 || seg.first+uint64(len(seg.entries)) <= s.bounds.First
}

// maintain retires old segments and makes the next one, away from the path of
// an append. It ends when nothing is left to do; Close waits for it.
func (s *Store) maintain() {
	defer s.bg.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.err == nil && !s.closed {
		if s.disposable() {
			seg := s.segments[0]
			s.segments = append([]*segment(nil), s.segments[1:]...)
			s.mu.Unlock()
			if err := s.retire(seg); err != nil {
				s.fail(seg.name, fmt.Errorf("retire segment: %w", err))
			}
			s.mu.Lock()
			continue
		}
		if s.next != nil || s.nextErr != nil {
			break
		}
		seq := s.active.seq + 1
		s.mu.Unlock()
		next, err := s.newSegment(seq)
		if errors.Is(err, errSync) {
			s.fail(segmentName(seq), err)
		} else if err != nil {
			// Not fatal yet: there is room until the current segment is full.
			s.opts.Logger.Warn("raft log cannot prepare its next segment", "file", s.path(segmentName(seq)), "err", err)
		}
		s.mu.Lock()
		s.next, s.nextErr = next, err
		s.idle.Broadcast()
	}
	s.busy = false
	s.idle.Broadcast()
}

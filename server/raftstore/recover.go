package raftstore

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// recover reads all segments, verifies them, rebuilds what is kept in memory,
// and makes what it found durable before anyone relies on it.
func (s *Store) recover() error {
	if err := s.removeSpare(); err != nil {
		return err
	}
	// A kill between a rename and its sync leaves names that power loss undoes.
	if err := s.fs.SyncDir(); err != nil {
		return err
	}
	if err := s.openSegments(); err != nil {
		return err
	}
	r := &replay{s: s, stable: map[string][]byte{}}
	ends, err := r.begun()
	if err != nil {
		return err
	}
	for i, seg := range s.segments {
		if err := r.segment(seg, ends[i]); err != nil {
			return err
		}
	}
	return r.finish()
}

// openSegments opens the files of all segments and verifies names and headers.
// The result is left in s.segments, so that a failing Open closes them.
func (s *Store) openSegments() error {
	names, err := s.fs.List()
	if err != nil {
		return err
	}
	var seqs []uint64
	for _, name := range names {
		if seq, ok := parseSegmentName(name); ok {
			seqs = append(seqs, seq)
		}
	}
	slices.Sort(seqs)
	for i, seq := range seqs {
		name := segmentName(seq)
		if i > 0 && seq != seqs[i-1]+1 {
			return corrupt(s.path(segmentName(seqs[i-1]+1)), 0, "the file is missing though %s is there", name)
		}
		f, err := s.fs.Open(name)
		if err != nil {
			return err
		}
		seg := &segment{seq: seq, name: name, file: f, end: fileHeaderSize}
		s.segments = append(s.segments, seg)
		if seg.size, err = f.Size(); err != nil {
			return err
		}
		salt, err := readFileHeader(f, s.path(name), seq)
		if err != nil {
			return err
		}
		seg.seed = frameSeed(seq, salt)
	}
	return nil
}

// replay is the log as read so far.
type replay struct {
	s      *Store
	bounds Bounds
	base   uint64 // entries below it were in segments that are gone
	stable map[string][]byte
	seen   bool  // the first segment's state
	batch  int64 // start of the newest batch of the last segment
}

// begun finds the segments that were written to, by their state frame, and
// leaves only them in s.segments. It returns where each ends as its successor
// tells, 0 for the last. One more file may have been prepared, or its first
// batch torn; in a new store that is the only one.
func (r *replay) begun() (ends []int64, err error) {
	files, n := r.s.segments, 0
	for i, seg := range files {
		w := window{seg: seg}
		h, p, err := w.frame(fileHeaderSize)
		if err != nil {
			return nil, err
		}
		st, ok := decodeState(p)
		if p == nil || h.kind != kindState || !ok {
			continue
		}
		if i > n {
			return nil, corrupt(r.s.path(files[n].name), fileHeaderSize, "the first record is unreadable though %s was begun after it", seg.name)
		}
		if ends = append(ends, 0); i > 0 {
			ends[i-1] = max(st.prevEnd, 1) // 0 would mean the last; 1 is refused as damage
		}
		n++
	}
	if n == len(files) {
		return ends, nil
	}
	next := files[n]
	if len(files) > n+1 || n == 0 && next.seq != 1 {
		return nil, corrupt(r.s.path(next.name), fileHeaderSize, "the first record is unreadable though other segments came before or after")
	}
	r.s.segments, r.s.next = files[:n], next
	return ends, r.endOfLog(next, fileHeaderSize)
}

// segment replays one segment up to limit, or to the end of the log if 0.
func (r *replay) segment(seg *segment, limit int64) error {
	w := window{seg: seg}
	r.batch = fileHeaderSize
	seg.first = r.bounds.Last + 1
	for off := int64(fileHeaderSize); ; {
		if limit > 0 && off == limit {
			seg.end = off
			return nil
		}
		h, p, err := w.frame(off)
		if err != nil {
			return err
		}
		if p == nil || h.kind == kindMark || h.batch != r.batch && h.batch != off {
			if limit > 0 {
				return corrupt(r.s.path(seg.name), off, "a record is unreadable, later ones follow")
			}
			seg.end = off
			return r.endOfLog(seg, off)
		}
		if limit > 0 && off+frameSize(h.length) > limit {
			return corrupt(r.s.path(seg.name), off, "a record crosses the end at %d that the next segment tells", limit)
		}
		if msg := r.apply(seg, h, p, off); msg != "" {
			return corrupt(r.s.path(seg.name), off, "%s", msg)
		}
		r.batch = h.batch
		off += frameSize(h.length)
	}
}

// apply replays one frame and returns what is wrong with it. Its checksums are
// right, so anything wrong is damage beyond single bytes, or a bug.
func (r *replay) apply(seg *segment, h frameHeader, p []byte, off int64) string {
	if (h.kind == kindState) != (off == fileHeaderSize) {
		return "a segment must begin with its state, and hold no other"
	}
	switch h.kind {
	case kindState:
		return r.applyState(p)
	case kindEntry:
		return r.applyEntry(seg, p, location{uint32(off), uint32(h.length)})
	case kindBounds:
		b, ok := decodeBounds(p)
		if !ok || !b.Empty() && (r.bounds.Empty() || b.First < r.bounds.First || b.Last > r.bounds.Last) {
			return fmt.Sprintf("the log cannot shrink from %v to %v", r.bounds, b)
		}
		r.bounds = b
		r.base = min(r.base, b.Last+1)
		r.s.cut(b)
	case kindStable:
		key, val, rest, ok := decodeStable(p)
		if !ok || len(rest) > 0 {
			return "a stable value does not decode"
		}
		r.stable[key] = val
	}
	return ""
}

func (r *replay) applyState(p []byte) string {
	st, ok := decodeState(p)
	switch {
	case !ok:
		return "the state does not decode"
	case !r.seen:
		r.seen, r.bounds, r.base, r.stable = true, st.bounds, st.bounds.Last+1, st.stable
		return ""
	case st.bounds != r.bounds || !maps.EqualFunc(st.stable, r.stable, slices.Equal):
		return fmt.Sprintf("the state says the log was %v, the segments before say %v", st.bounds, r.bounds)
	}
	return ""
}

func (r *replay) applyEntry(seg *segment, p []byte, at location) string {
	var l raft.Log
	if !DecodeEntry(p, &l) || l.Index == 0 || l.Index > maxIndex || !r.bounds.Empty() && l.Index != r.bounds.Last+1 {
		return fmt.Sprintf("an entry with index %d does not follow index %d", l.Index, r.bounds.Last)
	}
	if r.bounds.Empty() {
		r.bounds.First, r.base = l.Index, l.Index
		for _, old := range r.s.segments {
			old.first, old.entries = l.Index, nil
		}
	}
	if len(seg.entries) == 0 {
		seg.first = l.Index
	}
	seg.entries = append(seg.entries, at)
	r.bounds.Last = l.Index
	return ""
}

// endOfLog decides whether the bytes from off on are a batch that a crash tore
// or damage. A later batch, or the mark, is only ever written once the batch
// before it is synced: finding one behind an unreadable record proves damage.
// Remains of a torn batch are wiped, lest a later batch of the same length
// make them look like its continuation.
func (r *replay) endOfLog(seg *segment, off int64) error {
	later, last, err := scan(seg, off)
	if err != nil {
		return err
	}
	if later > 0 {
		return corrupt(r.s.path(seg.name), off, "a record is unreadable, one written later is intact at %d", later)
	}
	if last == 0 {
		return nil
	}
	zeros := make([]byte, 1<<20)
	for end := last + frameHeaderSize; off < end; off += int64(len(zeros)) {
		if _, err := seg.file.WriteAt(zeros[:min(int64(len(zeros)), end-off)], off); err != nil {
			return err
		}
	}
	return seg.file.Sync()
}

// finish checks that the log is complete and hands it to the store, or begins
// a new one.
func (r *replay) finish() error {
	s := r.s
	if !r.bounds.Empty() && r.bounds.First < r.base {
		return corrupt(s.path(segmentName(s.segments[0].seq-1)), 0, "the file is missing, it held entries %d to %d", r.bounds.First, r.base-1)
	}
	s.bounds, s.stable = r.bounds, r.stable
	s.rotated.Store(time.Now().UnixNano())
	if len(s.segments) == 0 {
		return s.bootstrap()
	}
	s.active = s.segments[len(s.segments)-1]
	return s.rewriteLastBatch(r.batch)
}

// bootstrap begins the first segment.
func (s *Store) bootstrap() error {
	if s.next == nil {
		next, err := s.newSegment(1)
		if err != nil {
			return err
		}
		s.next = next
	}
	s.beginSegment(s.next, 0, 0)
	if err := s.flush(0); err != nil {
		return err
	}
	s.mu.Lock()
	s.advance()
	s.mu.Unlock()
	return nil
}

// rewriteLastBatch makes durable what was read from the page cache. The former
// process may have died before its sync, or after the sync failed: then the
// kernel may hold the pages for clean, and only writing them again helps. All
// earlier batches were synced, or there would be no later one.
func (s *Store) rewriteLastBatch(start int64) error {
	seg := s.active
	buf := make([]byte, seg.end-start) // the file may end within the last padding
	_, err := seg.file.ReadAt(buf[:min(seg.end, seg.size)-start], start)
	if err == nil {
		_, err = seg.file.WriteAt(buf, start)
	}
	if err == nil {
		err = seg.file.Sync()
	}
	if err == nil {
		err = s.writeMark(seg, seg.end)
	}
	if err != nil {
		return fmt.Errorf("make the end of %s durable: %w", s.path(seg.name), err)
	}
	seg.size = max(seg.size, seg.end+frameSize(0))
	return nil
}

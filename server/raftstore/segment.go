package raftstore

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// segment is one file of the log. Its entries are consecutive: entry first+i
// lies at entries[i]. A segment without live entries has a first that keeps
// the order of segments by first.
type segment struct {
	seq  uint64
	name string // within the FS
	file File
	seed uint32 // of its frame header checksums

	end int64 // of the last batch, where the next one starts; guarded by Store.w

	// Guarded by Store.mu.
	size    int64 // of the file
	first   uint64
	entries []location

	readers sync.WaitGroup // GetLogs in flight; grows only while Store lists the segment
}

const (
	lockName   = "LOCK"
	spareName  = "spare.tmp" // a file that is being made, or waits to be used again
	namePrefix = "wal-"
	nameSuffix = ".log"
)

func segmentName(seq uint64) string {
	return fmt.Sprintf("%s%016x%s", namePrefix, seq, nameSuffix)
}

// parseSegmentName is the inverse of segmentName.
func parseSegmentName(name string) (uint64, bool) {
	hex, ok := strings.CutSuffix(strings.TrimPrefix(name, namePrefix), nameSuffix)
	if !ok {
		return 0, false
	}
	seq, err := strconv.ParseUint(hex, 16, 64)
	return seq, err == nil && seq > 0 && segmentName(seq) == name
}

// newSegment makes the file of segment seq, durably: zeros written in advance,
// so that appends change no metadata. A recycled spare keeps its old bytes,
// which the new salt makes meaningless.
func (s *Store) newSegment(seq uint64) (*segment, error) {
	f, err := s.openSpare()
	if err != nil {
		return nil, err
	}
	var salt [8]byte
	rand.Read(salt[:]) // never fails
	seg := &segment{seq: seq, name: segmentName(seq), file: f, end: fileHeaderSize, size: s.opts.SegmentSize}
	seg.seed = frameSeed(seq, binary.BigEndian.Uint64(salt[:]))
	_, err = f.WriteAt(encodeFileHeader(seq, binary.BigEndian.Uint64(salt[:])), 0)
	if err == nil {
		err = syncFailure(f.Sync())
	}
	if err == nil {
		err = s.fs.Rename(spareName, seg.name)
	}
	if err == nil {
		err = syncFailure(s.fs.SyncDir())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return seg, nil
}

// errSync marks failures that make the disk untrustworthy, unlike a full disk
// or too many open files.
var errSync = errors.New("sync failed")

func syncFailure(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", errSync, err)
}

// openSpare opens the spare file if there is a good one, or writes one.
func (s *Store) openSpare() (File, error) {
	s.mu.Lock()
	have := s.spare
	s.spare = false // whatever fails now, its contents are not to be trusted again
	s.mu.Unlock()
	if have {
		return s.fs.Open(spareName)
	}
	f, err := s.fs.Create(spareName)
	if err != nil {
		return nil, err
	}
	zeros := make([]byte, min(s.opts.SegmentSize, 1<<20))
	for off := int64(0); off < s.opts.SegmentSize && err == nil; off += int64(len(zeros)) {
		_, err = f.WriteAt(zeros[:min(int64(len(zeros)), s.opts.SegmentSize-off)], off)
	}
	if err != nil {
		// Give the space back: the disk may be full.
		return nil, errors.Join(err, f.Close(), s.fs.Remove(spareName))
	}
	return f, nil
}

// retire disposes of a segment that Store no longer lists. The file becomes
// the spare if it can. The directory is synced before its contents change or
// the next segment goes, so a crash leaves no gap and no half-renamed file.
func (s *Store) retire(seg *segment) error {
	seg.readers.Wait()
	if err := seg.file.Close(); err != nil {
		return err
	}
	s.mu.RLock()
	recycle := !s.spare && seg.size == s.opts.SegmentSize
	s.mu.RUnlock()
	var err error
	if recycle {
		err = s.fs.Rename(seg.name, spareName)
	} else {
		err = s.fs.Remove(seg.name)
	}
	if err == nil {
		err = s.fs.SyncDir()
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.spare = s.spare || recycle
	s.mu.Unlock()
	return nil
}

// removeSpare deletes a spare left by an earlier process, which may be torn.
func (s *Store) removeSpare() error {
	if err := s.fs.Remove(spareName); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (s *Store) path(name string) string { return filepath.Join(s.dir, name) }

package raftstore

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// Options tune a store. The zero value is right for a server.
type Options struct {
	// SegmentSize is the size of a log file in bytes, 4 KiB to 1 GiB; 0 is 8 MiB.
	SegmentSize int64
	// CacheBytes bounds the newest entries kept in memory; 0 is 1 MiB and a
	// negative number keeps none.
	CacheBytes int
	// LockTimeout is how long Open waits for another process to leave the
	// directory; 0 is one second.
	LockTimeout time.Duration
	// Observer, if set, is told of every durable write: how many log entries
	// it held, its bytes, and the time write and sync took. It must not block.
	Observer func(entries, bytes int, d time.Duration)
	// Logger, if set, hears of failures.
	Logger *slog.Logger
	// FS, if set, replaces the operating system's directory (for fault tests).
	FS FS
}

const (
	defaultSegmentSize = 8 << 20
	minSegmentSize     = 4 << 10
	maxSegmentSize     = 1 << 30
	defaultCacheBytes  = 1 << 20
	defaultLockTimeout = time.Second
	lockRetry          = 20 * time.Millisecond
)

func (o *Options) setDefaults() error {
	if o.SegmentSize == 0 {
		o.SegmentSize = defaultSegmentSize
	}
	if o.SegmentSize < minSegmentSize || o.SegmentSize > maxSegmentSize {
		return fmt.Errorf("segment size %d is out of range: choose %d to %d bytes", o.SegmentSize, minSegmentSize, maxSegmentSize)
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = defaultCacheBytes
	}
	if o.LockTimeout == 0 {
		o.LockTimeout = defaultLockTimeout
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Store is a raft.LogStore, raft.MonotonicLogStore and raft.StableStore in one
// directory. All methods may be called from any goroutine.
type Store struct {
	dir  string
	fs   FS
	opts Options
	lock io.Closer

	// w admits one writer at a time, held through write and sync.
	w         sync.Mutex
	batch     batch
	mark      batch
	locations []location

	// Changed under w and mu, so either allows reading.
	bounds bounds
	active *segment // takes the appends, the last of segments
	stable map[string][]byte

	// Guarded by mu, which is never held while the disk works.
	mu       sync.RWMutex
	segments []*segment // by sequence
	tail     tail
	err      error // the first failed write; every later write returns it
	closed   bool

	// Preparing and retiring of files, guarded by mu.
	next    *segment // made in advance
	nextErr error    // why there is none; retried when it is needed
	spare   bool     // spareName holds a full-sized file to use again
	busy    bool     // maintain runs
	idle    *sync.Cond
	bg      sync.WaitGroup

	failed chan struct{}
	counts counters
}

var (
	_ raft.LogStore          = (*Store)(nil)
	_ raft.MonotonicLogStore = (*Store)(nil)
	_ raft.StableStore       = (*Store)(nil)
)

// Open opens the store in dir, creating it if there is none, and reads and
// verifies all of it. The error wraps ErrLocked when another process has it
// and is a *CorruptError when what was written cannot be read back.
func Open(dir string, opts Options) (*Store, error) {
	s, err := open(dir, opts)
	if err != nil {
		return nil, fmt.Errorf("open raft store %s: %w", dir, err)
	}
	return s, nil
}

func open(dir string, opts Options) (*Store, error) {
	if err := opts.setDefaults(); err != nil {
		return nil, err
	}
	s := &Store{dir: dir, fs: opts.FS, opts: opts, failed: make(chan struct{})}
	s.idle = sync.NewCond(&s.mu)
	s.tail.limit = opts.CacheBytes
	if s.fs == nil {
		d, err := openOSFS(dir)
		if err != nil {
			return nil, err
		}
		s.fs = d
	}
	lock, err := takeLock(s.fs, opts.LockTimeout)
	if err != nil {
		return nil, err
	}
	s.lock = lock
	if err := s.recover(); err != nil {
		return nil, errors.Join(err, s.closeFiles())
	}
	return s, nil
}

// takeLock waits a little: a predecessor that was just killed may linger.
func takeLock(fs FS, timeout time.Duration) (io.Closer, error) {
	for deadline := time.Now().Add(timeout); ; time.Sleep(lockRetry) {
		lock, err := fs.Lock(lockName)
		switch {
		case err == nil:
			return lock, nil
		case !errors.Is(err, ErrLocked):
			return nil, fmt.Errorf("take lock file %s: %w", lockName, err)
		case time.Now().After(deadline):
			return nil, fmt.Errorf("%w: stop it, or choose another data directory", err)
		}
	}
}

// Close waits for the write in progress, makes the end of the log verifiable,
// and gives the directory back. A second Close does nothing.
func (s *Store) Close() error {
	s.w.Lock()
	defer s.w.Unlock()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.bg.Wait()
	var err error
	if s.err == nil {
		err = s.active.file.Sync() // the mark was written, not synced
	}
	if err = errors.Join(err, s.closeFiles()); err != nil {
		return fmt.Errorf("close raft store %s: %w", s.dir, err)
	}
	return nil
}

// closeFiles closes whatever is open, once no reader uses it.
func (s *Store) closeFiles() error {
	var errs []error
	for _, seg := range s.segments {
		seg.readers.Wait()
		errs = append(errs, seg.file.Close())
	}
	if s.next != nil {
		errs = append(errs, s.next.file.Close())
	}
	return errors.Join(append(errs, s.lock.Close())...)
}

// usable returns why the store takes no writes, or nil.
func (s *Store) usable() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return ErrClosed
	}
	return s.err
}

// fail makes err, unless there was one before, the answer to every write from
// now on, and returns that answer.
func (s *Store) fail(file string, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = fmt.Errorf("raft log %s: no more writes until a restart, as one failed: %w", s.path(file), err)
		s.opts.Logger.Error("raft log write failed", "file", s.path(file), "err", err)
		close(s.failed)
	}
	return s.err
}

// Failed is closed when the first write fails. What was acknowledged before
// can still be read, so the server can step down in order before it exits.
func (s *Store) Failed() <-chan struct{} { return s.failed }

// Err returns the failure that made the store refuse writes, or nil.
func (s *Store) Err() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.err
}

// Size returns the bytes that the store's files take on disk.
func (s *Store) Size() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var n int64
	for _, seg := range s.segments {
		n += seg.size
	}
	if s.next != nil {
		n += s.next.size
	}
	if s.spare {
		n += s.opts.SegmentSize
	}
	return n
}

// counters are the moving parts of Stats.
type counters struct {
	appends, entriesWritten, entryBytesWritten atomic.Uint64
	bytesWritten, syncs, rotations             atomic.Uint64
	entriesRead, entryBytesRead                atomic.Uint64
	headTruncated, tailTruncated               atomic.Uint64
	stableSets, stableGets                     atomic.Uint64

	writing atomic.Int64 // when the write in progress began, Unix ns; 0 is none
	rotated atomic.Int64 // when the newest segment was begun or opened, Unix ns
}

// Stats are figures since Open; counts only grow.
type Stats struct {
	Appends           uint64 // StoreLogs calls that succeeded
	EntriesWritten    uint64
	EntryBytesWritten uint64 // data and extensions
	BytesWritten      uint64 // to the files, framing and marks included
	Syncs             uint64 // on the path of a caller
	EntriesRead       uint64 // GetLog calls that succeeded
	EntryBytesRead    uint64
	HeadTruncated     uint64 // entries deleted by compaction
	TailTruncated     uint64 // entries deleted as conflicting
	Rotations         uint64 // new segments begun
	StableSets        uint64
	StableGets        uint64

	FirstIndex, LastIndex uint64
	Segments              int
	SegmentAge            time.Duration // of the newest segment, since it was begun or opened
	SizeBytes             int64
	Writing               time.Duration // how long the write in progress has been running; 0 is none
}

// Stats returns the figures of this moment. It does not wait for the disk, so
// a watchdog can see a hanging write in Writing.
func (s *Store) Stats() Stats {
	c := &s.counts
	st := Stats{
		Appends: c.appends.Load(), EntriesWritten: c.entriesWritten.Load(),
		EntryBytesWritten: c.entryBytesWritten.Load(), BytesWritten: c.bytesWritten.Load(),
		Syncs: c.syncs.Load(), EntriesRead: c.entriesRead.Load(), EntryBytesRead: c.entryBytesRead.Load(),
		HeadTruncated: c.headTruncated.Load(), TailTruncated: c.tailTruncated.Load(),
		Rotations: c.rotations.Load(), StableSets: c.stableSets.Load(), StableGets: c.stableGets.Load(),
		SizeBytes: s.Size(), SegmentAge: time.Duration(time.Now().UnixNano() - c.rotated.Load()),
	}
	if since := c.writing.Load(); since != 0 {
		st.Writing = max(1, time.Duration(time.Now().UnixNano()-since))
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	st.FirstIndex, st.LastIndex, st.Segments = s.bounds.first, s.bounds.last, len(s.segments)
	return st
}

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
	// Observer, if set, is told of every durable write.
	Observer Observer
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
		o.LockTimeout = DefaultLockTimeout
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Store is a raft.LogStore, raft.MonotonicLogStore and raft.StableStore in one
// directory. All methods may be called from any goroutine.
type Store struct {
	Memory // its bounds and stable values change under w and mu, so either allows reading

	fs   FS
	opts Options
	lock io.Closer

	// w admits one writer at a time, held through write and sync.
	w         sync.Mutex
	batch     batch
	mark      batch
	locations []location

	active *segment // takes the appends, the last of segments; changed under w and mu

	// Guarded by mu, which is never held while the disk works.
	segments []*segment // by sequence
	tail     tail

	// Preparing and retiring of files, guarded by mu.
	next    *segment // made in advance
	nextErr error    // why there is none; retried when it is needed
	spare   bool     // spareName holds a full-sized file to use again
	busy    bool     // maintain runs
	idle    *sync.Cond
	bg      sync.WaitGroup

	rotations atomic.Uint64
	rotated   atomic.Int64 // when the newest segment was begun or opened, Unix ns
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
	s := &Store{Memory: newMemory(dir, opts.Logger, opts.Observer), fs: opts.FS, opts: opts}
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

// Close waits for the write in progress, makes the end of the log verifiable,
// and gives the directory back. A second Close does nothing.
func (s *Store) Close() error {
	s.w.Lock()
	defer s.w.Unlock()
	if !s.close() {
		return nil
	}
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

// fail is Memory.fail for the file of that name.
func (s *Store) fail(file string, err error) error { return s.Memory.fail(s.path(file), err) }

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

// Stats returns the figures of this moment. It does not wait for the disk, so
// a watchdog can see a hanging write in Writing.
func (s *Store) Stats() Stats {
	st := s.stats()
	st.SizeBytes = s.Size()
	st.Rotations, st.SegmentAge = s.rotations.Load(), time.Duration(time.Now().UnixNano()-s.rotated.Load())
	s.mu.RLock()
	defer s.mu.RUnlock()
	st.Segments = len(s.segments)
	return st
}

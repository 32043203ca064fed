package boltstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/curia-mesh/curia/rpc/durable"
	"github.com/curia-mesh/curia/server/raftstore"
)

// Options tune a store. The zero value is right for a server.
type Options struct {
	// NoFreelistSync does not write the list of free pages with every batch:
	// a little less to write, and damage to which pages are free is not found.
	// (Consul: raft_logstore.boltdb.no_freelist_sync)
	NoFreelistSync bool
	// LockTimeout is how long Open waits for another process to leave the
	// directory; 0 is one second.
	LockTimeout time.Duration
	// Observer, if set, is told of every durable write.
	Observer raftstore.Observer
	// Logger, if set, hears of failures.
	Logger *slog.Logger

	// For tests: small files, fast ones, failing ones.
	mapSize  int
	noSync   bool
	openFile func(string, int, os.FileMode) (*os.File, error)
}

const (
	fileName = "raft.db"
	tempName = "raft.db.tmp"

	// initialMap is address space, not memory or disk: below it the file grows
	// without waiting for readers.
	initialMap = 64 << 20
	// deleteBatch entries are deleted by one transaction.
	deleteBatch = 4096
)

// The buckets. Their names tell the format.
var (
	logsBucket   = []byte("logs.v1")   // big-endian index: the entry, its checksum
	stableBucket = []byte("stable.v1") // key: the value, checksum of both
	castagnoli   = crc32.MakeTable(crc32.Castagnoli)
)

// Store is a raft.LogStore, raft.MonotonicLogStore and raft.StableStore in one
// bbolt file. All methods may be called from any goroutine.
type Store struct {
	*raftstore.Memory // FirstIndex, LastIndex, Get, Failed, Err and the like

	memory raftstore.Writer
	path   string
	lock   io.Closer
	db     *bbolt.DB
	broken atomic.Bool // bbolt panicked: it may hold its locks, never call it again

	w   sync.Mutex // admits one writer at a time, held through the commit
	buf []byte     // what a batch is encoded into
}

var (
	_ raft.LogStore          = (*Store)(nil)
	_ raft.MonotonicLogStore = (*Store)(nil)
	_ raft.StableStore       = (*Store)(nil)
)

// Open opens the store in dir, creating it if there is none, and reads and
// verifies all of it. The error wraps raftstore.ErrLocked when another process
// has it and is a *raftstore.CorruptError when it cannot be read back.
func Open(dir string, opts Options) (*Store, error) {
	if opts.LockTimeout == 0 {
		opts.LockTimeout = raftstore.DefaultLockTimeout
	}
	if opts.mapSize == 0 {
		opts.mapSize = initialMap
	}
	memory := raftstore.NewWriter(dir, opts.Logger, opts.Observer)
	s := &Store{Memory: memory.Memory, memory: memory, path: filepath.Join(dir, fileName)}
	lock, err := raftstore.Lock(dir, opts.LockTimeout)
	if err == nil {
		s.lock = lock
		if err = s.open(dir, opts); err != nil {
			err = errors.Join(err, s.closeFiles())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open raft store %s: %w", dir, err)
	}
	return s, nil
}

func (s *Store) open(dir string, opts Options) error {
	if _, err := os.Stat(s.path); errors.Is(err, os.ErrNotExist) {
		if err := s.create(dir, opts); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	// A kill between a rename and its sync leaves a name that power loss undoes.
	if err := durable.SyncDir(dir); err != nil {
		return err
	}
	if err := s.verify(); err != nil {
		return err
	}
	return s.guard(func() (err error) {
		s.db, err = openDB(s.path, opts)
		return err
	})
}

// create makes an empty file under another name first: one that is there under
// its own is complete.
func (s *Store) create(dir string, opts Options) error {
	temp := filepath.Join(dir, tempName)
	if err := os.Remove(temp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	opts.openFile = nil
	db, err := openDB(temp, opts)
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err1 := tx.CreateBucket(logsBucket)
		_, err2 := tx.CreateBucket(stableBucket)
		return errors.Join(err1, err2)
	})
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	return os.Rename(temp, s.path)
}

func openDB(path string, opts Options) (*bbolt.DB, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout: opts.LockTimeout, FreelistType: bbolt.FreelistMapType, NoFreelistSync: opts.NoFreelistSync,
		InitialMmapSize: opts.mapSize, NoSync: opts.noSync, OpenFile: opts.openFile,
	})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fmt.Errorf("%s: %w: stop it, or choose another data directory", path, raftstore.ErrLocked)
	}
	return db, err
}

// damage is a CorruptError at no known offset.
func (s *Store) damage(format string, args ...any) error {
	return &raftstore.CorruptError{File: s.path, Offset: -1, Reason: fmt.Sprintf(format, args...)}
}

// guard calls f, which calls bbolt. bbolt trusts its pages: damage since Open
// makes it panic or read where nothing is mapped. That becomes the store's
// failure. Where bbolt would go in circles, nothing helps.
func (s *Store) guard(f func() error) (err error) {
	if s.broken.Load() {
		return s.Err()
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			s.broken.Store(true)
			err = s.memory.Fail(s.path, s.damage("bbolt panicked: %v", p))
		}
	}()
	return f()
}

// Close waits for the write in progress and gives the directory back. A second
// Close does nothing.
func (s *Store) Close() error {
	s.w.Lock()
	defer s.w.Unlock()
	if !s.memory.Close() {
		return nil
	}
	if err := s.closeFiles(); err != nil {
		return fmt.Errorf("close raft store %s: %w", s.path, err)
	}
	return nil
}

// closeFiles leaves a broken bbolt to the end of the process.
func (s *Store) closeFiles() error {
	var err error
	if s.db != nil && !s.broken.Load() {
		err = s.guard(s.db.Close)
	}
	return errors.Join(err, s.lock.Close())
}

// Size returns the bytes of the file, which holds free pages too and never
// shrinks.
func (s *Store) Size() int64 {
	info, err := os.Stat(s.path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// Stats returns the figures of this moment. It does not wait for a commit, so
// a watchdog can see a hanging one in Writing.
func (s *Store) Stats() raftstore.Stats {
	st := s.memory.Stats()
	st.SizeBytes = s.Size()
	return st
}

// seal appends the checksum of key and b[from:] to b.
func seal(b []byte, from int, key []byte) []byte {
	return binary.BigEndian.AppendUint32(b, checksum(key, b[from:]))
}

// unseal returns what seal was given.
func unseal(b, key []byte) ([]byte, bool) {
	n := len(b) - crc32.Size
	if n < 0 || binary.BigEndian.Uint32(b[n:]) != checksum(key, b[:n]) {
		return nil, false
	}
	return b[:n:n], true
}

func checksum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

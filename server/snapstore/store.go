// Package snapstore keeps Raft's snapshots on disk, so that each is there wholly or not at all, and damage
// is found and named.
//
// A snapshot is a directory whose name is its id (term, index and the time in milliseconds):
//
//	meta.json  what it is of: a line of JSON that begins with the CRC-32C of the rest of it
//	state.bin  what the state machine saved; its length and its CRC-32C are in meta.json
//
// It is made under a name that ends in .tmp, synced, and then renamed. Those with that ending are what a
// crash left, and removed when the store is opened; those that end in .damaged were set aside.
package snapstore

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/raft"

	"github.com/curia-mesh/curia/rpc/durable"
)

const (
	metaFile      = "meta.json"
	stateFile     = "state.bin"
	tempSuffix    = ".tmp"
	damagedSuffix = ".damaged"
)

// Options tune a store.
type Options struct {
	// Keep is how many snapshots stay, the newest ones; at least 1.
	Keep int
	// Doubt is told when a sync failed after which nobody knows whether a snapshot will be there after a
	// restart: nothing that follows the present state may be acknowledged any more. It is called before
	// the snapshot's Close returns, from its goroutine.
	Doubt func(error)
	// Logger hears of what does not go into an answer.
	Logger *slog.Logger
	// SyncDir, if set, replaces the sync of a directory, for fault tests.
	SyncDir func(dir string) error
}

// Store is a raft.SnapshotStore in one directory. All methods may be called from any goroutine.
type Store struct {
	dir  string
	opts Options
}

var _ raft.SnapshotStore = (*Store)(nil)

// DamagedError tells that a snapshot cannot be read as it was written.
type DamagedError struct{ File, Reason string }

func (e *DamagedError) Error() string { return "raft snapshot " + e.File + " is damaged: " + e.Reason }

func damaged(file, format string, args ...any) error {
	return &DamagedError{File: file, Reason: fmt.Sprintf(format, args...)}
}

// Open opens the store in dir, making it if there is none, and removes what a crash left of snapshots that
// were being made or removed.
func Open(dir string, opts Options) (*Store, error) {
	s := &Store{dir: dir, opts: opts}
	if s.opts.SyncDir == nil {
		s.opts.SyncDir = durable.SyncDir
	}
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = durable.SyncDir(filepath.Dir(dir))
	}
	if err == nil {
		err = s.tidy()
	}
	if err != nil {
		return nil, fmt.Errorf("snapshots in %s: %w", dir, err)
	}
	return s, nil
}

// tidy removes leftovers, and finds out whether the directory can be written: better now than when a
// snapshot is due.
func (s *Store) tidy() error {
	probe := s.path("probe" + tempSuffix)
	if err := os.Mkdir(probe, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), tempSuffix) {
			if err := os.RemoveAll(s.path(e.Name())); err != nil {
				return err
			}
		}
	}
	// A kill between a rename and its sync leaves a name that power loss undoes.
	return s.opts.SyncDir(s.dir)
}

func (s *Store) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

// ID names a snapshot.
type ID struct{ Term, Index, Millis uint64 }

func (id ID) String() string { return fmt.Sprintf("%d-%d-%d", id.Term, id.Index, id.Millis) }

func (id ID) compare(other ID) int {
	return cmp.Or(cmp.Compare(id.Term, other.Term), cmp.Compare(id.Index, other.Index), cmp.Compare(id.Millis, other.Millis))
}

// parseID is the inverse of ID.String.
func parseID(name string) (ID, bool) {
	parts := strings.Split(name, "-")
	if len(parts) != 3 {
		return ID{}, false
	}
	var numbers [3]uint64
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 64)
		if err != nil {
			return ID{}, false
		}
		numbers[i] = n
	}
	id := ID{numbers[0], numbers[1], numbers[2]}
	return id, id.String() == name
}

// IDs returns what snapshots are there by their names, whole or damaged, the newest first.
func (s *Store) IDs() ([]ID, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("snapshots: %w", err)
	}
	var ids []ID
	for _, e := range entries {
		if id, ok := parseID(e.Name()); ok && e.IsDir() {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b ID) int { return b.compare(a) })
	return ids, nil
}

// List implements raft.SnapshotStore with the newest snapshot whose meta.json can be read, and no more:
// where Raft cannot load one it would try the next, behind which the log may be gone.
func (s *Store) List() ([]*raft.SnapshotMeta, error) {
	ids, err := s.IDs()
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		m, err := s.readMeta(id.String())
		if err == nil {
			return []*raft.SnapshotMeta{&m.SnapshotMeta}, nil
		}
		s.opts.Logger.Error("a snapshot cannot be read", "err", err)
	}
	return nil, nil
}

// Open implements raft.SnapshotStore. The state is read and verified as a whole first. The error is a
// *DamagedError if it is not what was written.
func (s *Store) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	m, f, err := s.open(id)
	if err != nil {
		return nil, nil, err
	}
	return &m.SnapshotMeta, f, nil
}

// Verify reads all of a snapshot and returns what Open would answer.
func (s *Store) Verify(id ID) error {
	_, f, err := s.open(id.String())
	if err != nil {
		return err
	}
	return f.Close()
}

func (s *Store) open(id string) (*meta, *os.File, error) {
	m, err := s.readMeta(id)
	if err != nil {
		return nil, nil, err
	}
	path := s.path(id, stateFile)
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, damaged(path, "the file is missing")
	} else if err != nil {
		return nil, nil, err
	}
	sum := newSum()
	n, err := io.Copy(sum, f)
	switch {
	case err != nil:
	case n != m.Size:
		err = damaged(path, "it has %d bytes, %d were written", n, m.Size)
	case sum.Sum32() != m.StateSum:
		err = damaged(path, "its checksum is %08x, that of what was written %08x", sum.Sum32(), m.StateSum)
	default:
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return m, f, nil
}

// SetAside gives a snapshot a name that ends in .damaged, for whoever can still read it.
func (s *Store) SetAside(id ID) (path string, err error) {
	path = s.path(id.String() + damagedSuffix)
	if err := os.Rename(s.path(id.String()), path); err != nil {
		return "", fmt.Errorf("setting a damaged snapshot aside: %w", err)
	}
	return path, s.opts.SyncDir(s.dir)
}

// Path is the directory of a snapshot.
func (s *Store) Path(id ID) string { return s.path(id.String()) }

// reap removes all snapshots but the newest. What cannot be removed takes room, and no more.
func (s *Store) reap() {
	ids, err := s.IDs()
	if err != nil {
		s.opts.Logger.Warn("old snapshots stay", "err", err)
		return
	}
	for _, id := range ids[min(len(ids), max(s.opts.Keep, 1)):] {
		// Renamed first: half a snapshot must not pass for a damaged one.
		going := s.path(id.String() + tempSuffix)
		err := os.Rename(s.path(id.String()), going)
		if err == nil {
			err = os.RemoveAll(going)
		}
		if err != nil {
			s.opts.Logger.Warn("an old snapshot stays", "err", err)
		}
	}
}

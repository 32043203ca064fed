package raftstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Memory is what every backend keeps in memory and answers alike: where the log
// begins and ends, the stable values, and the failure that ended writing.
// Embedded, it gives a store these methods. All are safe for concurrent use.
type Memory struct {
	dir      string
	log      *slog.Logger
	observer Observer
	counts   counters
	failed   chan struct{}

	mu     sync.RWMutex
	bounds Bounds
	stable map[string][]byte
	err    error // the first failed write; every later write returns it
	closed bool
}

// Observer is told of every durable write: how many log entries it held, its
// bytes, and the time write and sync took. It must not block.
type Observer func(entries, bytes int, d time.Duration)

func newMemory(dir string, log *slog.Logger, observer Observer) Memory {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return Memory{dir: dir, log: log, observer: observer, failed: make(chan struct{})}
}

// IsMonotonic tells raft that indexes must be consecutive: after a snapshot is
// restored it deletes the whole log instead of leaving a gap.
func (m *Memory) IsMonotonic() bool { return true }

// FirstIndex returns the first index of the log, 0 if it is empty.
func (m *Memory) FirstIndex() (uint64, error) {
	b, err := m.readBounds()
	return b.First, err
}

// LastIndex returns the last index of the log, 0 if it is empty.
func (m *Memory) LastIndex() (uint64, error) {
	b, err := m.readBounds()
	return b.Last, err
}

func (m *Memory) readBounds() (Bounds, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return Bounds{}, ErrClosed
	}
	return m.bounds, nil
}

// Get returns the value of key, or ErrNotFound.
func (m *Memory) Get(key []byte) ([]byte, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return nil, ErrClosed
	}
	m.counts.stableGets.Add(1)
	val, ok := m.stable[string(key)]
	if !ok {
		return nil, ErrNotFound
	}
	return bytes.Clone(val), nil
}

// GetUint64 returns the number stored under key, or ErrNotFound.
func (m *Memory) GetUint64(key []byte) (uint64, error) {
	val, err := m.Get(key)
	if err != nil {
		return 0, err
	}
	if len(val) != 8 {
		return 0, fmt.Errorf("raft store %s: the value of %.40q has %d bytes, a number has 8", m.dir, key, len(val))
	}
	return binary.BigEndian.Uint64(val), nil
}

// StableValues returns all stable keys and values; the values are shared.
func (m *Memory) StableValues() map[string][]byte {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return maps.Clone(m.stable)
}

// Failed is closed when the first write fails. What was acknowledged before
// can still be read, so the server can step down in order before it exits.
func (m *Memory) Failed() <-chan struct{} { return m.failed }

// Err returns the failure that made the store refuse writes, or nil.
func (m *Memory) Err() error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.err
}

// usable returns why the store takes no writes, or nil.
func (m *Memory) usable() error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return ErrClosed
	}
	return m.err
}

// Refuse makes err the answer to every write from now on, as a failed write does: what is beside the log
// may be lost in a way that the log must not go on from.
func (m *Memory) Refuse(err error) { _ = m.fail(m.dir, err) }

// fail makes err, unless there was one before, the answer to every write from
// now on, and returns that answer.
func (m *Memory) fail(path string, err error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil {
		m.err = fmt.Errorf("raft log %s: no more writes until a restart, as one failed: %w", path, err)
		m.log.Error("raft log write failed", "file", path, "err", err)
		close(m.failed)
	}
	return m.err
}

// close makes every later call answer ErrClosed, and says whether this is the
// first close.
func (m *Memory) close() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	first := !m.closed
	m.closed = true
	return first
}

// contains returns nil if the entry at index can be read, else what GetLog is
// to answer. The caller holds mu.
func (m *Memory) contains(index uint64) error {
	switch {
	case m.closed:
		return ErrClosed
	case m.bounds.Empty() || index < m.bounds.First || index > m.bounds.Last:
		return raft.ErrLogNotFound
	}
	return nil
}

// checkAppend says whether logs continue the log and are not too large.
func (m *Memory) checkAppend(logs []*raft.Log) error {
	want, size := logs[0].Index, int64(0)
	if want == 0 || !m.bounds.Empty() && want != m.bounds.Last+1 {
		return fmt.Errorf("append to raft log %s: index %d does not follow the last index %d", m.dir, want, m.bounds.Last)
	}
	for _, l := range logs {
		if l.Index != want {
			return fmt.Errorf("append to raft log %s: index %d follows %d in one batch", m.dir, l.Index, want-1)
		}
		if want++; want > maxIndex {
			return fmt.Errorf("append to raft log %s: index %d is out of range", m.dir, l.Index)
		}
		if size += frameSize(EntrySize(l)); size > maxBatch {
			return fmt.Errorf("append to raft log %s: the batch up to index %d exceeds %d bytes: write smaller values", m.dir, l.Index, maxBatch)
		}
	}
	return nil
}

// remainder returns what is left of the log without lo to hi.
func (m *Memory) remainder(lo, hi uint64) (Bounds, error) {
	left, ok := m.bounds.without(lo, hi)
	if !ok {
		return left, fmt.Errorf("delete from raft log %s: %d to %d would leave a hole in %d to %d", m.dir, lo, hi, m.bounds.First, m.bounds.Last)
	}
	return left, nil
}

const (
	// maxStable bounds all stable keys and values together: each new segment
	// repeats them. raft needs about a hundred bytes.
	maxStable = 64 << 10
	// maxStableKey is the longest stable key, as bbolt has it.
	maxStableKey = 32 << 10
)

// checkValue says whether val can be stored under key.
func (m *Memory) checkValue(key, val []byte) error {
	if len(key) == 0 || len(key) > maxStableKey {
		return fmt.Errorf("set in raft store %s: a key has 1 to %d bytes, this one %d", m.dir, maxStableKey, len(key))
	}
	if stateSize(state{stable: m.stable})+int64(stableOverhead+len(key)+len(val)) > maxStable {
		return fmt.Errorf("set %.40q in raft store %s: values exceed %d bytes in all: keep only what raft votes with here", key, m.dir, maxStable)
	}
	return nil
}

package raftstore

import (
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/hashicorp/raft"
)

// Writer is the side of a Memory that another backend drives; the write-ahead
// log uses the Memory itself. Its methods are for one writer at a time, except
// Contains and Read.
type Writer struct{ *Memory }

// NewWriter returns the memory of an empty store in dir. log and observer may
// be nil.
func NewWriter(dir string, log *slog.Logger, observer Observer) Writer {
	m := newMemory(dir, log, observer)
	return Writer{&m}
}

// Load sets what was found on disk. The error says why it cannot be a log.
func (w Writer) Load(b Bounds, stable map[string][]byte) error {
	if !b.valid() {
		return fmt.Errorf("a log cannot reach from %d to %d", b.First, b.Last)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bounds, w.stable = b, maps.Clone(stable)
	return nil
}

// CheckAppend says whether logs, at least one, may be stored now.
func (w Writer) CheckAppend(logs []*raft.Log) error { return w.checkAppend(logs) }

// CheckValue says whether val may be stored under key.
func (w Writer) CheckValue(key, val []byte) error { return w.checkValue(key, val) }

// Remainder returns the log as it is and as it is without lo to hi, or an error
// if that would leave a hole.
func (w Writer) Remainder(lo, hi uint64) (old, left Bounds, err error) {
	left, err = w.remainder(lo, hi)
	return w.bounds, left, err
}

// Write runs one durable write and returns its first error, now and from then
// on. It returns the bytes and syncs that went to the file at path.
func (w Writer) Write(path string, entries int, write func() (bytes, syncs int, err error)) error {
	if err := w.usable(); err != nil {
		return err
	}
	start := w.beginWrite()
	defer w.endWrite()
	bytes, syncs, err := write()
	if err != nil {
		return w.fail(path, err)
	}
	w.wrote(entries, bytes, syncs, time.Since(start))
	return nil
}

// Fail makes err the answer to all later writes.
func (w Writer) Fail(path string, err error) error { return w.fail(path, err) }

// Appended makes logs, which are durable, visible.
func (w Writer) Appended(logs []*raft.Log) {
	w.mu.Lock()
	if w.bounds.Empty() {
		w.bounds.First = logs[0].Index
	}
	w.bounds.Last = logs[len(logs)-1].Index
	w.mu.Unlock()
	w.counts.appended(logs)
}

// Cut makes everything outside left invisible.
func (w Writer) Cut(left Bounds) {
	w.mu.Lock()
	old := w.bounds
	w.bounds = left
	w.mu.Unlock()
	w.counts.deleted(old, left)
}

// Stored makes val, which is durable, visible.
func (w Writer) Stored(key, val []byte) {
	w.mu.Lock()
	w.stable[string(key)] = append([]byte{}, val...)
	w.mu.Unlock()
	w.counts.stableSets.Add(1)
}

// Contains returns nil if the entry at index is visible, else what GetLog is
// to answer.
func (w Writer) Contains(index uint64) error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.contains(index)
}

// Read counts an entry that was read.
func (w Writer) Read(l *raft.Log) { w.counts.read(l) }

// Stats returns the figures that all backends have.
func (w Writer) Stats() Stats { return w.stats() }

// Close makes all calls answer ErrClosed; it says whether it is the first.
func (w Writer) Close() bool { return w.close() }

// Usable returns why the store takes no writes, or nil.
func (w Writer) Usable() error { return w.usable() }

package raftstore

import (
	"errors"
	"fmt"
)

var (
	// ErrNotFound is returned by Get and GetUint64 for a key that was never
	// set. hashicorp/raft knows it by its text.
	ErrNotFound = errors.New("not found")

	// ErrClosed is returned by every call after Close.
	ErrClosed = errors.New("raft store is closed")

	// ErrLocked is returned, wrapped, when another process uses the directory.
	ErrLocked = errors.New("in use by another process")
)

// CorruptError tells that acknowledged data can no longer be read as it was
// written. It is never repaired silently.
type CorruptError struct {
	File   string // path of the damaged file
	Offset int64  // of the damage, in bytes; negative is unknown
	Reason string
}

// Error names the file, the offset and the ways out.
func (e *CorruptError) Error() string {
	at := ""
	if e.Offset >= 0 {
		at = fmt.Sprintf(" at offset %d", e.Offset)
	}
	return fmt.Sprintf("raft log %s is damaged%s: %s; if other servers hold the data, move the raft directory away and let this server rejoin, else restore it from a backup or snapshot",
		e.File, at, e.Reason)
}

func corrupt(file string, off int64, format string, args ...any) error {
	return &CorruptError{File: file, Offset: off, Reason: fmt.Sprintf(format, args...)}
}

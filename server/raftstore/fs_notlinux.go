//go:build !linux

package raftstore

import "os"

// datasync flushes everything: fdatasync is not in every system's package.
func datasync(f *os.File) error { return f.Sync() }

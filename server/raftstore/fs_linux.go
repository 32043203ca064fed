package raftstore

import (
	"os"
	"syscall"
)

// datasync flushes data, and only the metadata needed to read it back: writes
// inside a preallocated file then cost one disk flush and no journal commit.
func datasync(f *os.File) error {
	for {
		if err := syscall.Fdatasync(int(f.Fd())); err != syscall.EINTR {
			return err
		}
	}
}

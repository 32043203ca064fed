package local

import (
	"os"
	"syscall"
)

// syncData waits until what was written is on the disk, but not the file's times: that saves a write of
// the file system's journal for each record.
func syncData(f *os.File) error {
	for {
		if err := syscall.Fdatasync(int(f.Fd())); err != syscall.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}

//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package raftstore

import (
	"os"
	"syscall"
)

// lockFile takes an exclusive lock that ends with the file, hence with the
// process, and does not wait.
func lockFile(f *os.File) error {
	for {
		switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err {
		case syscall.EINTR:
		case syscall.EWOULDBLOCK:
			return ErrLocked
		default:
			return err
		}
	}
}

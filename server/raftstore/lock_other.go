//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package raftstore

import (
	"errors"
	"os"
)

// lockFile refuses: without a lock two processes could share one log.
func lockFile(*os.File) error {
	return errors.New("file locks are not implemented on this platform")
}
